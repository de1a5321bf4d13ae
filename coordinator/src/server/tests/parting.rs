//! Workers that are well, but whose connections end.

use std::time::Duration;

use common::id::{AssignmentId, RunId};
use common::spec::RunSpec;
use common::wire::codec::encode;
use common::wire::message::{FromWorker, RunEvent, ToWorker};
use common::worker_event::WorkerEvent;
use tokio::io::AsyncWriteExt;

use super::super::ServerConfig;
use super::peers::{TestPeer, TestServer};
use super::test_model;

/// A server at which one crash fails a run. One crash has happened, and a worker was given the
/// suspects, and has begun them.
async fn beginning_a_suspect() -> (TestServer, TestPeer) {
    let mut config = ServerConfig::default();
    config.scheduler.crash_limit = 1;
    // These peers send no heartbeats.
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut first = server.idle_worker("first").await;
    let mut client = server.client().await;
    // So few workers that all of their shards are suspects at once.
    client.submit(&RunSpec { replicas: 1, ..test_model::spec("") }, None).await;
    assigned(&mut first, false).await;
    drop(first);
    while !client.workers().await.is_empty() {}
    let mut second = server.idle_worker("second").await;
    let assignment = assigned(&mut second, true).await;
    second.say(FromWorker::Started { assignment }).await;
    // So close to its limit that it may have been killed for it.
    second.say(FromWorker::Heartbeat { memory: 1 << 30, progress: vec![] }).await;
    (server, second)
}

/// The first assignment that a worker receives.
async fn assigned(peer: &mut TestPeer, is_suspect: bool) -> AssignmentId {
    loop {
        let message = peer.hear(&ToWorker::Heartbeat).await.expect("it is given something to do");
        if let ToWorker::Assign { assignment, confirm, .. } = message {
            assert_eq!(confirm, is_suspect);
            return assignment;
        }
    }
}

/// Ends the run with another worker. Returns the events about the loss of the second one.
async fn told_of_second(server: TestServer) -> String {
    server.worker("other", usize::MAX).await;
    let events = server.client().await.follow(RunId(1)).await;
    server.shut_down().await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:#?}");
    let mut told = events.into_iter().filter_map(|event| match event {
        RunEvent::Worker { worker, what: WorkerEvent::Lost, detail, .. } if worker == "second" => {
            Some(detail)
        }
        _ => None,
    });
    let detail = told.next().expect("it is lost");
    assert_eq!(told.next(), None);
    detail
}

#[tokio::test]
async fn who_hangs_up_with_a_reason_has_died_of_nothing() {
    let (server, mut worker) = beginning_a_suspect().await;
    worker.say(FromWorker::HangsUp { reason: "a bit flipped".into() }).await;
    assert_eq!(told_of_second(server).await, "it hung up: a bit flipped");
}

#[tokio::test]
async fn who_is_sent_away_for_what_it_said_has_died_of_nothing() {
    let damaged = {
        let mut frame = encode(FromWorker::Draining).head.to_vec();
        *frame.last_mut().unwrap() ^= 1;
        frame
    };
    let out_of_turn = encode(FromWorker::Cannot { run: RunId(9), reason: "".into() }).head.to_vec();
    for (bytes, words) in [(damaged, "expected the checksum"), (out_of_turn, "out of turn")] {
        let (server, mut worker) = beginning_a_suspect().await;
        worker.writer.write_all(&bytes).await.unwrap();
        let told = told_of_second(server).await;
        assert!(told.contains(words) && !told.contains("memory"), "{told}");
    }
}
