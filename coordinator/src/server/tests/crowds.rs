//! Many workers, all of which but one are lost at once.

use std::time::Duration;

use common::id::RunId;
use common::spec::RunSpec;
use common::wire::message::{FromClient, FromWorker, RunEvent, ToClient};
use common::worker_event::WorkerEvent;

use super::peers::TestServer;
use super::{reference, test_model};
use crate::server::ServerConfig;

const WORKERS: usize = 200;

/// So many workers that each has several blocks.
const MAX_REPLICAS: u32 = 31 * WORKERS as u32;

#[tokio::test]
async fn who_survives_all_others_can_take_in_what_it_is_given() {
    let mut config = ServerConfig::default();
    // These peers send no heartbeats.
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let survivor = server.idle_worker("survivor").await;
    let mut others = Vec::new();
    for _ in 1..WORKERS {
        others.push(server.idle_worker("other").await);
    }
    let spec = RunSpec { replicas: MAX_REPLICAS, ..test_model::spec("") };
    let mut client = server.client().await;
    let accepted = ToClient::Accepted { run: RunId(1), passed_over: None };
    assert_eq!(client.submit(&spec, None).await, Some(accepted));
    while client.workers().await.iter().any(|worker| worker.state != "busy") {}
    for other in &mut others {
        other.say(FromWorker::Goodbye).await;
    }
    TestServer::put_to_work(survivor);
    client.say(FromClient::Follow { run: RunId(1) }).await;
    let digest = loop {
        match client.hear_client().await {
            Some(ToClient::Event(RunEvent::Finished { digest, .. })) => break digest,
            Some(ToClient::Event(RunEvent::Worker { what, detail, .. })) => {
                assert_ne!(what, WorkerEvent::Lost, "{detail}");
            }
            Some(ToClient::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(digest, reference(&spec).digest());
    server.shut_down().await;
}
