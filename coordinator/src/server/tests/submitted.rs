//! Submissions that are sent again, because their client did not receive the answer.

use std::collections::BTreeSet;

use common::id::{RunId, RunIdentity, SubmissionKey};
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient, ToWorker};

use super::peers::{TestPeer, TestServer};
use super::test_model;
use crate::runs::{LAST_NUMBER, RunsFolder};
use crate::server::ServerConfig;

const KEY: SubmissionKey = SubmissionKey(0xbeef);

fn accepted(run: u64) -> Option<ToClient> {
    Some(ToClient::Accepted { run: RunId(run), passed_over: None })
}

/// Runs in the status.
async fn runs(client: &mut TestPeer) -> usize {
    client.say(FromClient::Status).await;
    match client.hear_client().await {
        Some(ToClient::Status(status)) => status.runs.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_submission_that_was_accepted_is_found_again() {
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let spec = test_model::spec("");
    let mut client = server.client().await;
    assert_eq!(client.submit_as(KEY, &spec, None).await, accepted(1));
    assert_eq!(client.submit_as(KEY, &spec, None).await, accepted(1), "here");
    drop(client);
    let mut client = server.client().await;
    assert_eq!(client.submit_as(KEY, &spec, None).await, accepted(1), "on another connection");
    assert_eq!(client.submit(&spec, None).await, accepted(2), "another one is another run");
    server.shut_down().await;

    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    assert_eq!(client.submit_as(KEY, &spec, None).await, accepted(1), "by another coordinator");
    let events = client.follow(RunId(1)).await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:?}");
    client.follow(RunId(2)).await;
    let (settings, fork) = (RunSettings::default(), Some(Vec::new()));
    client.say(FromClient::Resume { run: RunId(1), settings, fork }).await;
    assert_eq!(client.hear_client().await, accepted(3));
    server.shut_down().await;

    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut client = server.client().await;
    assert_eq!(client.submit_as(KEY, &spec, None).await, accepted(1), "after its end");
    assert_eq!(runs(&mut client).await, 3);
    server.shut_down().await;
    let fork = RunsFolder::read(scratch.path()).unwrap().submission(RunId(3)).unwrap();
    assert_eq!((fork.key, fork.forked_from.is_some()), (None, true), "a fork was not sent");
}

#[tokio::test]
async fn two_uploads_of_one_submission_are_one_run() {
    let server = TestServer::start(ServerConfig::default());
    let data = test_model::dataset();
    let mut slow = server.client().await;
    let (spec, settings) = (test_model::spec("").to_toml(), RunSettings::default());
    let (train, test) = (data.train.manifest(), data.test.manifest());
    let (state, replay) = (None, None);
    slow.say(FromClient::Submit {
        key: KEY,
        spec,
        schema: String::new(),
        train,
        test,
        state,
        settings,
        replay,
    })
    .await;
    let mut wanted = Vec::new();
    while wanted.len() < 2 {
        match slow.hear_client().await {
            Some(ToClient::NeedChunks { split, chunks }) => {
                wanted.extend(chunks.into_iter().map(|chunk| (split, chunk)));
            }
            other => panic!("{other:?}"),
        }
    }
    let mut quick = server.client().await;
    assert_eq!(quick.submit_as(KEY, &test_model::spec(""), None).await, accepted(1));
    for (split, chunk) in wanted {
        let payload = data.split(split).chunk(chunk as usize);
        slow.say(FromClient::Chunk { split, chunk, payload }).await;
    }
    assert_eq!(slow.hear_client().await, accepted(1));
    assert_eq!(runs(&mut slow).await, 1);
    server.shut_down().await;
}

#[tokio::test]
async fn numbers_end_and_are_never_given_twice() {
    let scratch = tempfile::tempdir().unwrap();
    // The first one is not a valid number, the second one is the last but one.
    for name in [u64::MAX, LAST_NUMBER - 1] {
        std::fs::create_dir(scratch.path().join(name.to_string())).unwrap();
    }
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut client = server.client().await;
    assert_eq!(client.submit(&test_model::spec(""), None).await, accepted(LAST_NUMBER));
    match client.submit(&test_model::spec(""), None).await {
        Some(ToClient::Rejected { bad_input: false, reason }) => {
            assert!(reason.contains("no number is left for a run"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    server.shut_down().await;
}

/// The next run that is opened at a worker, and its identity.
async fn opened(worker: &mut TestPeer) -> (RunId, RunIdentity) {
    loop {
        match worker.hear(&ToWorker::Heartbeat).await {
            Some(ToWorker::OpenRun { run, identity, .. }) => return (run, identity),
            Some(_) => {}
            None => panic!("it is told of a run"),
        }
    }
}

#[tokio::test]
async fn every_run_has_an_identity_of_its_own_by_which_workers_know_it() {
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut worker = server.idle_worker("worker").await;
    let mut client = server.client().await;
    assert_eq!(client.submit(&test_model::spec(""), None).await, accepted(1));
    let mut told = vec![opened(&mut worker).await];
    assert_eq!(client.submit(&test_model::spec(""), None).await, accepted(2));
    let (settings, fork) = (RunSettings::default(), Some(Vec::new()));
    client.say(FromClient::Resume { run: RunId(1), settings, fork }).await;
    assert_eq!(client.hear_client().await, accepted(3));
    for run in [1, 2].map(RunId) {
        client.say(FromClient::Cancel { run }).await;
        assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
        told.push(opened(&mut worker).await);
    }
    server.shut_down().await;

    let runs = RunsFolder::read(scratch.path()).unwrap();
    let kept = [1, 2, 3].map(|run| (RunId(run), runs.submission(RunId(run)).unwrap().identity));
    assert_eq!(told, kept);
    // The partials that workers keep of a run are useful to the next coordinator.
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut worker = server.idle_worker("worker").await;
    assert_eq!(opened(&mut worker).await, kept[2]);
    server.shut_down().await;

    let elsewhere = TestServer::start(ServerConfig::default());
    let mut worker = elsewhere.idle_worker("worker").await;
    elsewhere.client().await.submit(&test_model::spec(""), None).await;
    told.push(opened(&mut worker).await);
    elsewhere.shut_down().await;
    let identities: BTreeSet<RunIdentity> = told.iter().map(|(_, identity)| *identity).collect();
    assert_eq!(identities.len(), told.len(), "{told:?}");
}
