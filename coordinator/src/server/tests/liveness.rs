//! A coordinator that was suspended: its process was stopped, or got no CPU time. For the
//! coordinator, its clock jumps.

use std::time::Duration;

use common::id::RunId;
use common::wire::message::{FromClient, RunEvent, ToClient};
use common::worker_event::WorkerEvent;
use tokio::time::{advance, pause};

use super::fake_worker::Lie;
use super::peers::{TestPeer, TestServer};
use super::{BIG, test_model};
use crate::server::ServerConfig;

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_was_away_loses_nobody() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let _silent = server.idle_worker("silent").await;
    advance(Duration::from_secs(3600)).await;
    assert!(client.is_served().await);
    assert_eq!(client.workers().await.len(), 1);
    // A peer that is silent while the coordinator runs is lost, even if each turn is a little late.
    for _ in 0..6 {
        advance(Duration::from_secs(2)).await;
        assert!(client.is_served().await);
    }
    assert_eq!(client.workers().await.len(), 0);
    server.shut_down().await;
}

/// The events for a follower until now. Waiting events go out behind the first answer, and before
/// the second one.
async fn told_by_now(follower: &mut TestPeer) -> Vec<RunEvent> {
    let mut told = Vec::new();
    for _ in 0..2 {
        follower.say(FromClient::Status).await;
        loop {
            match follower.hear_client().await {
                Some(ToClient::Event(event)) => told.push(event),
                Some(ToClient::Status(_)) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

#[tokio::test]
async fn who_keeps_a_partial_has_its_time_anew_after_its_coordinator_was_away() {
    let mut config = ServerConfig::default();
    // Longer than the coordinator is suspended: no peer is silent for too long.
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut client = server.client().await;
    let mute = server.liar(Lie::Mute).await;
    client.submit(&test_model::spec(BIG), None).await;
    // All blocks are done, and requested.
    while client.workers().await[0].shards_done < 5 {}
    client.say(FromClient::Follow { run: RunId(1) }).await;
    told_by_now(&mut client).await;
    pause();
    advance(Duration::from_secs(1000)).await;
    assert_eq!(told_by_now(&mut client).await, [], "it could not answer");
    // From now on the merge can continue.
    let told = client.hear_client().await;
    let Some(ToClient::Event(RunEvent::Worker { worker, what, detail, .. })) = told else {
        panic!("{told:?}")
    };
    assert_eq!((worker.as_str(), what), ("liar", WorkerEvent::Failed));
    assert!(detail.contains("sent nothing of it for 1"), "{detail}");
    server.shut_down().await;
    mute.await.unwrap();
}
