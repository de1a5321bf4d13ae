//! The runs folder is read in order with its writes.

use common::id::RunId;
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::durable::finished;
use super::gate::Gated;
use super::peers::{TestPeer, TestServer};
use super::{reference, test_model};
use crate::server::ServerConfig;

/// Checks of something that must not happen: more than enough for it to happen if it could.
const LOOKS: usize = 200;

/// The file that delays everything else.
const GATE: &str = "outcome.json";

/// Asks for the status repeatedly; returns another message, if there is one.
async fn disturbance(client: &mut TestPeer) -> Option<ToClient> {
    for _ in 0..LOOKS {
        client.say(FromClient::Status).await;
        match client.hear_client().await {
            Some(ToClient::Status(_)) => {}
            other => return other,
        }
    }
    None
}

/// Cancels a run whose end is not written before the gate is opened.
async fn cancel(gated: Gated, client: &mut TestPeer, run: RunId) -> Gated {
    client.say(FromClient::Cancel { run }).await;
    gated.reached().await
}

#[tokio::test]
async fn what_clients_ask_of_the_folder_waits_for_what_is_being_written() {
    let held = &test_model::BUILDS[4];
    let scratch = tempfile::tempdir().unwrap();
    finished(scratch.path()).await;
    let gated = Gated::on(scratch, GATE);
    let mut client = gated.server.client().await;
    for (run, parameters) in [(2, "held_build = 4"), (3, "")] {
        let accepted = ToClient::Accepted { run: RunId(run), passed_over: None };
        assert_eq!(client.submit(&test_model::spec(parameters), None).await, Some(accepted));
    }
    gated.open.send(Ok(())).unwrap();
    let gated = cancel(gated, &mut client, RunId(2)).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RunId(2) }));
    let gated = cancel(gated, &mut client, RunId(3)).await;

    let mut fetches = gated.server.client().await;
    fetches.say(FromClient::Fetch { run: RunId(1) }).await;
    assert_eq!(disturbance(&mut fetches).await, None, "the state was read");
    held.close();
    let (settings, fork) = (RunSettings::default(), None);
    let mut resumes = gated.server.client().await;
    resumes.say(FromClient::Resume { run: RunId(2), settings, fork }).await;
    assert_eq!(disturbance(&mut resumes).await, None);
    // A reader that is held there would delay the end of a failing test.
    let was_read = !held.is_closed();

    // The end is written, and the end of the other run is removed.
    (0..2).for_each(|_| gated.open.send(Ok(())).unwrap());
    let state = fetches.hear_client().await;
    assert!(matches!(state, Some(ToClient::State { .. })), "{state:?}");
    held.meet().await;
    held.meet().await;
    let accepted = ToClient::Accepted { run: RunId(2), passed_over: None };
    assert_eq!(resumes.hear_client().await, Some(accepted));
    assert!(!was_read, "the submission was read before it");
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_run_whose_turn_comes_is_read_behind_what_is_being_written() {
    let held = &test_model::BUILDS[5];
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    server.client().await.submit(&test_model::spec("held_build = 5"), None).await;
    server.shut_down().await;
    held.close();
    let gated = Gated::on(scratch, GATE);
    let mut client = gated.server.client().await;
    client.submit(&test_model::spec(""), None).await;
    gated.server.worker("worker", usize::MAX).await;
    held.meet().await;
    let gated = cancel(gated, &mut client, RunId(2)).await;
    // Its model is made, and nothing else is missing.
    held.meet().await;
    let mut follows = gated.server.client().await;
    for _ in 0..LOOKS {
        follows.say(FromClient::Status).await;
        let answer = follows.hear_client().await;
        let Some(ToClient::Status(status)) = answer else { panic!("{answer:?}") };
        assert_eq!(status.runs[0].state.name(), "queued", "the run was read");
    }
    (0..2).for_each(|_| gated.open.send(Ok(())).unwrap());
    let events = follows.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(*digest, reference(&test_model::spec("")).digest());
    gated.server.shut_down().await;
}
