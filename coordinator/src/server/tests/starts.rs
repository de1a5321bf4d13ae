//! Runs that kill their coordinators.

use std::fs;
use std::path::Path;

use common::id::RunId;
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient, ToWorker};

use super::peers::{TestPeer, TestServer};
use super::{reference, test_model};
use crate::runs::RunsFolder;
use crate::server::ServerConfig;
use crate::server::persistence::STARTS;

const RUN: RunId = RunId(1);

/// A folder with a queued run that was started this many times without progress.
async fn begun(folder: &Path, starts: u32) {
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.client().await.submit(&test_model::spec(""), None).await;
    server.shut_down().await;
    let runs = RunsFolder::open(folder).unwrap();
    let submission = runs.submission(RUN).unwrap();
    (0..starts).for_each(|_| runs.count_start(&submission, 0).unwrap());
}

fn is_counted(folder: &Path) -> bool {
    folder.join("1/starts.json").exists()
}

async fn state(client: &mut TestPeer) -> String {
    client.say(FromClient::Status).await;
    let Some(ToClient::Status(status)) = client.hear_client().await else { panic!("a status") };
    status.runs[0].state.to_string()
}

fn digest(events: &[RunEvent]) -> Option<common::digest::Digest> {
    match events.last() {
        Some(RunEvent::Finished { digest, .. }) => Some(*digest),
        _ => None,
    }
}

#[tokio::test]
async fn a_run_that_no_coordinator_survives_is_set_aside_until_somebody_wants_it() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    begun(folder, STARTS).await;
    // A second coordinator reports the same, and the next run has its turn.
    for run in [RunId(2), RunId(3)] {
        let server = TestServer::start_in(folder, ServerConfig::default());
        server.worker("worker", usize::MAX).await;
        let mut client = server.client().await;
        assert_eq!(state(&mut client).await, "set aside");
        let told = client.follow(RUN).await;
        let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
        assert!(reason.contains("started 3 times after round 0"), "{reason}");
        assert!(reason.contains("repair it, then `coordinator resume 1`"), "{reason}");
        client.submit(&test_model::spec(""), None).await;
        assert!(digest(&client.follow(run).await).is_some());
        server.shut_down().await;
    }
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    let settings = RunSettings::default();
    client.say(FromClient::Resume { run: RUN, settings, fork: None }).await;
    let accepted = ToClient::Accepted { run: RUN, passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    let expected = Some(reference(&test_model::spec("")).digest());
    assert_eq!(digest(&client.follow(RUN).await), expected);
    server.shut_down().await;
    assert!(!is_counted(folder));
}

#[tokio::test]
async fn a_run_that_goes_on_is_counted_no_more() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    begun(folder, STARTS - 1).await;
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let events = server.client().await.follow(RUN).await;
    assert!(digest(&events).is_some(), "{events:?}");
    server.shut_down().await;
    assert!(!is_counted(folder));
}

#[tokio::test]
async fn a_coordinator_that_leaves_in_order_was_not_killed_by_its_run() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    for _ in 0..=STARTS {
        let server = TestServer::start_in(folder, ServerConfig::default());
        let mut client = server.client().await;
        if !folder.join("1").exists() {
            client.submit(&test_model::spec(""), None).await;
        }
        // It does no work: no step is ever finished.
        let mut idle = server.idle_worker("idle").await;
        while !matches!(idle.hear(&ToWorker::Heartbeat).await, Some(ToWorker::OpenRun { .. })) {}
        assert!(is_counted(folder));
        server.shut_down().await;
        assert!(!is_counted(folder));
    }
    // A run with a damaged count continues, too.
    let record = RunsFolder::open(folder).unwrap().submission(RUN).unwrap();
    RunsFolder::open(folder).unwrap().count_start(&record, 0).unwrap();
    fs::write(folder.join("1/starts.json"), "{").unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let events = server.client().await.follow(RUN).await;
    assert!(digest(&events).is_some(), "{events:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_coordinator_that_leaves_as_a_model_is_made_was_not_killed_by_it() {
    let held = &test_model::BUILDS[3];
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.client().await.submit(&test_model::spec("held_build = 3"), None).await;
    server.shut_down().await;
    held.close();
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    held.meet().await;
    let was_counted = is_counted(folder);
    server.shut_down().await;
    held.meet().await;
    assert!(was_counted && !is_counted(folder));
}
