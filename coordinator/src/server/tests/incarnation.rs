//! A run that is cancelled and taken up again, while work of its first life goes
//! on.

use common::id::RunId;
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::TestServer;
use super::{BIG, reference, toy};
use crate::server::Config;

/// Waits where a held state waits.
async fn meet() {
    tokio::task::spawn_blocking(|| toy::HELD.wait()).await.unwrap();
}

#[tokio::test]
async fn a_state_that_a_cancelled_run_left_behind_is_nothing_to_the_resumed_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), Config::default());
    let mut client = server.client().await;
    let worker = server.worker("first", usize::MAX).await;
    let (run, spec) = (RunId(1), toy::spec(&format!("{BIG}\nheld = true")));
    client.submit(&spec, None).await;
    meet().await;
    // Nobody is there to do the step again before the old state comes.
    worker.abort();
    client.say(FromClient::Cancel { run }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
    let settings = RunSettings::default();
    client.say(FromClient::Resume { run, settings, fork: None }).await;
    let accepted = ToClient::Accepted { run, passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    meet().await;
    server.worker("second", usize::MAX).await;
    let events = client.follow(run).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&toy::spec(BIG)).digest());
    // The work of the first life was cancelled, not done.
    let rounds = events.iter().filter(|event| matches!(event, RunEvent::Round { round: 1, .. }));
    assert_eq!(rounds.count(), 1, "{events:#?}");
    server.shut_down().await;
}
