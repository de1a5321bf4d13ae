//! Workers that cannot work on a run.

use common::id::RunId;
use common::plan::Task;
use common::wire::message::{FromClient, FromWorker, RunEvent, ToClient, ToWorker};
use common::worker_event::WorkerEvent;

use super::super::ServerConfig;
use super::peers::{TestPeer, TestServer};
use super::{reference, test_model};

const REASON: &str = "model `toy` is unknown";

/// Answers that it cannot work on the run.
async fn refuse(peer: &mut TestPeer, run: RunId) {
    let opened = peer.hear(&ToWorker::Heartbeat).await;
    assert!(matches!(opened, Some(ToWorker::OpenRun { run: of, .. }) if of == run), "{opened:?}");
    peer.say(FromWorker::Cannot { run, reason: REASON.into() }).await;
}

/// The reasons in the status of workers that cannot work on the active run.
async fn told(client: &mut TestPeer) -> Vec<(String, Option<String>)> {
    client.workers().await.into_iter().map(|worker| (worker.name, worker.cannot)).collect()
}

#[tokio::test]
async fn a_run_goes_on_without_a_worker_that_cannot_work_on_it() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let mut stock = server.idle_worker("stock").await;
    let spec = test_model::spec("");
    client.submit(&spec, None).await;
    refuse(&mut stock, RunId(1)).await;
    let mut watcher = server.client().await;
    watcher.say(FromClient::Follow { run: RunId(1) }).await;
    let is_told = |event: &RunEvent| match event {
        RunEvent::Worker { worker, what, detail, .. } => {
            (worker.as_str(), *what, detail.as_str()) == ("stock", WorkerEvent::Cannot, REASON)
        }
        _ => false,
    };
    loop {
        let message = watcher.hear_client().await;
        let Some(ToClient::Event(event)) = message else { panic!("{message:?}") };
        if is_told(&event) {
            break;
        }
    }
    assert_eq!(told(&mut client).await, [("stock".to_owned(), Some(REASON.to_owned()))]);
    server.worker("own", usize::MAX).await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&spec).digest());
    assert_eq!(events.iter().filter(|event| is_told(event)).count(), 1, "{events:#?}");
    let is_lost =
        |event: &RunEvent| matches!(event, RunEvent::Worker { what: WorkerEvent::Lost, .. });
    assert!(!events.iter().any(is_lost), "{events:#?}");
    // The worker is available for the next run, and is asked again.
    let of = told(&mut client).await;
    assert!(of.iter().all(|(_, cannot)| cannot.is_none()), "{of:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_worker_may_find_out_later_that_it_cannot() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let mut late = server.idle_worker("late").await;
    let (spec, run) = (test_model::spec(""), RunId(1));
    client.submit(&spec, None).await;
    loop {
        match late.hear(&ToWorker::Heartbeat).await.expect("it is not sent away") {
            ToWorker::OpenRun { run, .. } => late.say(FromWorker::Opened { run }).await,
            ToWorker::Assign { plan, .. } => {
                assert_eq!((plan.task, plan.epoch, plan.positions[0]), (Task::Train, 0, 0));
                late.say(FromWorker::Cannot { run, reason: REASON.into() }).await;
                break;
            }
            _ => {}
        }
    }
    server.worker("own", usize::MAX).await;
    let events = client.follow(run).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&spec).digest());
    let told_of_late = |event: &RunEvent| match event {
        RunEvent::Worker { worker, what, .. } if worker == "late" => Some(*what),
        _ => None,
    };
    let told: Vec<WorkerEvent> = events.iter().filter_map(told_of_late).collect();
    assert!(told.contains(&WorkerEvent::Cannot), "{told:?}");
    assert!(!told.contains(&WorkerEvent::Lost), "{told:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn nobody_speaks_of_a_run_that_was_not_opened() {
    let server = TestServer::start(ServerConfig::default());
    let mut wrong = server.idle_worker("wrong").await;
    wrong.say(FromWorker::Cannot { run: RunId(9), reason: REASON.into() }).await;
    let last = wrong.hear(&ToWorker::Heartbeat).await;
    let Some(ToWorker::Goodbye { reason }) = last else { panic!("{last:?}") };
    assert!(reason.contains("no run 9 was opened"), "{reason}");
    server.shut_down().await;
}
