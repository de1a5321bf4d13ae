//! A run that is cancelled and resumed, while work of its first incarnation continues.

use std::path::Path;

use common::digest::Digest;
use common::id::RunId;
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient, ToWorker};

use super::fake_worker::Lie;
use super::peers::TestServer;
use super::{BIG, reference, test_model};
use crate::server::ServerConfig;

#[tokio::test]
async fn a_coordinator_answers_while_a_model_settles_a_small_state() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    let spec = test_model::spec("held_small = true");
    client.submit(&spec, None).await;
    test_model::HELD_SMALL.meet().await;
    assert!(client.is_served().await);
    test_model::HELD_SMALL.meet().await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&test_model::spec("")).digest());
    server.shut_down().await;
}

#[tokio::test]
async fn a_state_that_a_cancelled_run_left_behind_is_nothing_to_the_resumed_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), ServerConfig::default());
    let mut client = server.client().await;
    let worker = server.worker("first", usize::MAX).await;
    let (run, spec) = (RunId(1), test_model::spec(&format!("{BIG}\nheld = true")));
    client.submit(&spec, None).await;
    test_model::HELD.meet().await;
    // No worker repeats the step before the old state arrives.
    worker.abort();
    client.say(FromClient::Cancel { run }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
    let settings = RunSettings::default();
    client.say(FromClient::Resume { run, settings, fork: None }).await;
    let accepted = ToClient::Accepted { run, passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    // The run is active again when the old state arrives, and no worker computes the step.
    let mut idle = server.idle_worker("idle").await;
    let assigns = |message| matches!(message, ToWorker::Assign { .. });
    while !idle.hear(&ToWorker::Heartbeat).await.is_some_and(assigns) {}
    test_model::HELD.meet().await;
    assert!(client.is_served().await);
    drop(idle);
    server.worker("second", usize::MAX).await;
    let events = client.follow(run).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&test_model::spec(BIG)).digest());
    // The work of the first incarnation was cancelled, not finished.
    let rounds = events.iter().filter(|event| matches!(event, RunEvent::Round { round: 1, .. }));
    assert_eq!(rounds.count(), 1, "{events:#?}");
    server.shut_down().await;
}

/// Reports blocks that only other workers were given, in a run that begins or continues. Returns
/// whether the connection was closed, and the digest.
async fn with_unasked_work(folder: &Path, is_new: bool) -> (bool, Option<Digest>) {
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    let liar = server.liar(Lie::Beside).await;
    server.worker("honest", usize::MAX).await;
    if is_new {
        client.submit(&test_model::spec(""), None).await;
    }
    let events = client.follow(RunId(1)).await;
    let digest = match events.last() {
        Some(RunEvent::Finished { digest, .. }) => Some(*digest),
        _ => None,
    };
    let was_sent_away = liar.is_finished();
    server.shut_down().await;
    (was_sent_away, digest)
}

#[tokio::test]
async fn what_a_run_that_goes_on_did_not_ask_for_ends_no_connection() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let expected = Some(reference(&test_model::spec("")).digest());
    assert_eq!(with_unasked_work(folder, true).await, (true, expected));
    // A worker may have got further with an earlier coordinator.
    for entry in std::fs::read_dir(folder.join("1")).unwrap().flatten() {
        let name = entry.file_name();
        if name != "run.json" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(with_unasked_work(folder, false).await, (false, expected));
}
