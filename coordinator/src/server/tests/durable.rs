//! The files that a coordinator keeps on disk, and their recovery.

use std::fs;
use std::path::Path;

use common::id::{RunId, RunIdentity};
use common::run_settings::RunSettings;
use common::run_state::RunEnd;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::TestServer;
use super::test_model;
use crate::ledger::test_faults::forget_ends;
use crate::ledger::{EventKind, LedgerReader};
use crate::runs::{Outcome, RunsFolder, SubmissionRecord};
use crate::server::{RunsConfig, ServerConfig, serve};

/// Removes the history of a folder that is not in use.
fn lose_history(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("history.sqlite") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// A folder with the finished run 1, and its events.
pub(super) async fn finished(folder: &Path) -> Vec<RunEvent> {
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    client.submit(&test_model::spec(""), None).await;
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
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&test_model::spec(""), None).await;
    client.say(FromClient::Cancel { run: RunId(2) }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RunId(2) }));
    server.shut_down().await;

    lose_history(folder);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    assert_eq!(client.follow(RunId(1)).await, events[events.len() - 1..]);
    assert_eq!(client.follow(RunId(2)).await, [RunEvent::Cancelled { run: RunId(2) }]);
    server.shut_down().await;

    // A new history has the run, and reports its gaps.
    let known = LedgerReader::open(folder).unwrap();
    let first = known.run(RunId(1)).unwrap().unwrap();
    let steps = first.steps;
    assert!(steps > 0);
    assert_eq!((first.state, first.missing), (Some(RunEnd::Finished), steps));
    assert_eq!((first.round, first.digest.is_some()), (first.rounds, true));
    assert_eq!(known.run(RunId(2)).unwrap().unwrap().state, Some(RunEnd::Cancelled));
}

#[tokio::test]
async fn an_end_that_the_history_lacks_is_filled_in() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let events = finished(folder).await;
    forget_ends(folder);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let told = server.client().await.follow(RunId(1)).await;
    assert_eq!(told.last(), events.last());
    server.shut_down().await;
    let known = LedgerReader::open(folder).unwrap().run(RunId(1)).unwrap().unwrap();
    assert_eq!((known.state, known.missing), (Some(RunEnd::Finished), 0));
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(known.digest, Some(*digest));
}

#[tokio::test]
async fn the_status_says_that_the_history_cannot_be_written() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    fs::create_dir(folder.join("history.sqlite")).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
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
    let runs = RunsFolder::open(folder).unwrap();
    let submission = runs.submission(RunId(1)).unwrap();
    let outcome = runs.outcome(&submission).unwrap().unwrap();
    // More runs than keep all their events.
    for copy in 2..=20 {
        let (run, identity) = (RunId(copy), RunIdentity(copy.into()));
        let submission = SubmissionRecord { run, identity, ..submission.clone() };
        runs.write_submission(&submission, None).unwrap();
        runs.write_outcome(run, &Outcome { run, identity, ..outcome.clone() }).unwrap();
    }
    drop(runs);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    assert_eq!(client.follow(RunId(1)).await, events[events.len() - 1..]);
    let told = client.follow(RunId(2)).await;
    assert!(matches!(told[..], [RunEvent::Finished { run: RunId(2), .. }]), "{told:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_of_another_version_of_its_model_does_not_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    let runs = RunsFolder::open(folder).unwrap();
    let submission = runs.submission(RunId(1)).unwrap();
    assert_eq!(submission.model_version, 1);
    let (run, identity) = (RunId(2), RunIdentity(2));
    let other = SubmissionRecord { run, identity, model_version: 2, ..submission };
    runs.write_submission(&other, None).unwrap();
    drop(runs);
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    let told = client.follow(run).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(reason.contains("expected version 2 of model `toy`"), "{reason}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_that_cannot_go_on_says_why_to_those_who_follow_it() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    // As if the run had not ended, and its examples were lost.
    fs::remove_file(folder.join("1/outcome.json")).unwrap();
    fs::remove_dir_all(folder.join("data")).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    let told = client.follow(RunId(1)).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(reason.contains("it cannot continue: ") && reason.contains("resume 1"), "{reason}");
    server.shut_down().await;
}

/// Flips a bit of the last value of a checkpoint's state.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_is_told_of_where_a_run_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let expected = finished(folder).await;
    let Some(RunEvent::Finished { digest, rounds, .. }) = expected.last() else { panic!() };
    let last = format!("round-{rounds}.safetensors");
    let is_named = |what: &str| {
        let used = "check the disk; the checkpoint of round ";
        what.contains(&last) && what.contains(used) && what.ends_with(" is used instead")
    };
    // As if the run had not ended.
    fs::remove_file(folder.join("1/outcome.json")).unwrap();
    damage(&folder.join("1").join(&last));
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    let events = client.follow(RunId(1)).await;
    let resumed = events.iter().find_map(|event| match event {
        RunEvent::Resumed { passed_over, .. } => passed_over.clone(),
        _ => None,
    });
    assert!(is_named(&resumed.expect("a checkpoint")), "{events:?}");
    let Some(RunEvent::Finished { digest: found, .. }) = events.last() else { panic!() };
    assert_eq!(found, digest);

    damage(&folder.join("1").join(&last));
    let fork = Some(vec![("epochs".to_owned(), "1".to_owned())]);
    let settings = RunSettings::default();
    client.say(FromClient::Resume { run: RunId(1), settings, fork }).await;
    let answer = client.hear_client().await;
    let Some(ToClient::Accepted { run: RunId(2), passed_over }) = answer else {
        panic!("{answer:?}")
    };
    assert!(is_named(&passed_over.expect("a checkpoint")));
    client.follow(RunId(2)).await;
    server.shut_down().await;

    let known = LedgerReader::open(folder).unwrap();
    for run in [RunId(1), RunId(2)] {
        let events = known.events(run).map(Result::unwrap);
        let mut told = events.filter(|event| event.kind == EventKind::PassedOver);
        assert!(is_named(&told.next().expect("an event").detail));
        assert!(told.next().is_none());
    }
}

#[tokio::test]
async fn a_coordinator_that_reads_its_folder_can_be_stopped() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    // A reader waits for a writer.
    let pipe = folder.join("1/outcome.json");
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runs = Some(RunsConfig::new(RunsFolder::open(folder).unwrap()));
    let config = ServerConfig { runs, ..ServerConfig::default() };
    serve(listener, test_model::registry(), config, std::future::ready(())).await.unwrap();
    // Otherwise the test would wait for the thread that reads.
    fs::OpenOptions::new().write(true).open(&pipe).unwrap();
}

#[tokio::test]
async fn a_queue_on_disk_takes_memory_for_one_run_at_a_time() {
    const RUNS: u64 = 4;
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    for _ in 0..RUNS {
        client.submit(&test_model::spec(""), None).await;
    }
    server.shut_down().await;
    // Memory for the examples, which are the same, and for less than another byte.
    let runs = RunsFolder::read(folder).unwrap();
    let submission = runs.submission(RunId(1)).unwrap();
    drop(runs);
    let bytes = |split: &common::dataset::SplitManifest| {
        (0..split.chunks.len()).map(|index| split.chunk_bytes(index) as u64).sum::<u64>()
    };
    let data_memory = bytes(&submission.train) + bytes(&submission.test);
    let server =
        TestServer::start_in(folder, ServerConfig { data_memory, ..ServerConfig::default() });
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    for run in 1..=RUNS {
        let events = client.follow(RunId(run)).await;
        assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{run}: {events:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_whose_examples_are_damaged_is_set_aside_and_the_next_one_starts() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&test_model::spec(""), None).await;
    server.shut_down().await;
    let chunk = fs::read_dir(folder.join("data")).unwrap().flatten().next().unwrap().path();
    let whole = fs::read(&chunk).unwrap();
    damage(&chunk);
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    let told = client.follow(RunId(1)).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    let name = chunk.file_name().unwrap().to_str().unwrap();
    assert!(reason.contains(name) && reason.contains("it cannot continue"), "{reason}");
    server.shut_down().await;
    // Nothing on disk says that it is over: it continues after the repair.
    fs::write(&chunk, whole).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let told = server.client().await.follow(RunId(1)).await;
    assert!(matches!(told.last(), Some(RunEvent::Finished { .. })), "{told:?}");
    server.shut_down().await;
}
