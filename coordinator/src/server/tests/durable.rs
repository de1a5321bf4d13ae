//! What a coordinator keeps on disk, and finds there again.

use std::fs;
use std::path::Path;

use common::id::RunId;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::TestServer;
use super::toy;
use crate::ledger::befalls::forget_ends;
use crate::ledger::{LedgerReader, RunState};
use crate::server::Config;

/// Removes the history of a folder that nobody uses.
fn lose_history(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("history.sqlite") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// A folder with run 1, which has finished; what was told of it.
async fn finished(folder: &Path) -> Vec<RunEvent> {
    let server = TestServer::start_in(folder, Config::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    client.submit(&toy::spec(""), None).await;
    let events = client.follow(RunId(1)).await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:?}");
    server.shut_down().await;
    events
}

#[tokio::test]
async fn the_end_of_a_run_is_told_whatever_became_of_the_history() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let events = finished(folder).await;
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    client.submit(&toy::spec(""), None).await;
    client.say(FromClient::Cancel { run: RunId(2) }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RunId(2) }));
    server.shut_down().await;

    lose_history(folder);
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    assert_eq!(client.follow(RunId(1)).await, events[events.len() - 1..]);
    assert_eq!(client.follow(RunId(2)).await, [RunEvent::Cancelled { run: RunId(2) }]);
    server.shut_down().await;

    // And a new history has it, and says what it lacks.
    let known = LedgerReader::open(folder).unwrap();
    let first = known.run(RunId(1)).unwrap().unwrap();
    let steps = first.steps;
    assert!(steps > 0);
    assert_eq!((first.state, first.missing), (Some(RunState::Finished), steps));
    assert_eq!((first.round, first.digest.is_some()), (first.rounds, true));
    assert_eq!(known.run(RunId(2)).unwrap().unwrap().state, Some(RunState::Cancelled));
}

#[tokio::test]
async fn an_end_that_the_history_lacks_is_filled_in() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let events = finished(folder).await;
    forget_ends(folder);
    let server = TestServer::start_in(folder, Config::default());
    let told = server.client().await.follow(RunId(1)).await;
    assert_eq!(told.last(), events.last());
    server.shut_down().await;
    let known = LedgerReader::open(folder).unwrap().run(RunId(1)).unwrap().unwrap();
    assert_eq!((known.state, known.missing), (Some(RunState::Finished), 0));
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(known.digest, Some(*digest));
}

#[tokio::test]
async fn the_status_says_that_the_history_cannot_be_written() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    fs::create_dir(folder.join("history.sqlite")).unwrap();
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    client.say(FromClient::Status).await;
    let Some(ToClient::Status(status)) = client.hear_client().await else { panic!("a status") };
    let unrecorded = status.unrecorded.expect("a cause");
    assert!(unrecorded.contains("history.sqlite: "), "{unrecorded}");
    server.shut_down().await;
}

#[tokio::test]
async fn the_ends_of_runs_of_long_ago_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let events = finished(folder).await;
    // More than those of which all events are kept.
    for copy in 2..=20 {
        let to = folder.join(copy.to_string());
        fs::create_dir(&to).unwrap();
        let submission = fs::read_to_string(folder.join("1/run.json")).unwrap();
        let submission = submission.replacen("\"run\": 1,", &format!("\"run\": {copy},"), 1);
        fs::write(to.join("run.json"), submission).unwrap();
        fs::copy(folder.join("1/outcome.json"), to.join("outcome.json")).unwrap();
    }
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    assert_eq!(client.follow(RunId(1)).await, events[events.len() - 1..]);
    let told = client.follow(RunId(2)).await;
    assert!(matches!(told[..], [RunEvent::Finished { run: RunId(2), .. }]), "{told:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_that_cannot_go_on_says_why_to_those_who_follow_it() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    // As if it had not ended, and its examples were lost.
    fs::remove_file(folder.join("1/outcome.json")).unwrap();
    fs::remove_dir_all(folder.join("data")).unwrap();
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    let told = client.follow(RunId(1)).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(reason.contains("it cannot go on: ") && reason.contains("resume 1"), "{reason}");
    server.shut_down().await;
}
