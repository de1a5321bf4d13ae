//! Events about workers that fail repeatedly.

use std::time::Duration;

use common::id::RunId;
use common::spec::RunSpec;
use common::wire::message::RunEvent;

use super::fake_worker::Lie;
use super::peers::TestServer;
use super::{reference, test_model};
use crate::server::ServerConfig;

#[tokio::test]
async fn the_status_says_who_is_set_aside() {
    let mut config = ServerConfig::default();
    // These peers send no heartbeats.
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut client = server.client().await;
    server.liar(Lie::Failure).await;
    server.worker("other", usize::MAX).await;
    // Far more rounds than necessary.
    let spec = RunSpec {
        replicas: 8,
        batch_size: 1,
        update_interval: 1,
        epochs: Some(4),
        ..test_model::spec("")
    };
    client.submit(&spec, None).await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&spec).digest());
    let told: Vec<_> = client.workers().await.into_iter().map(|it| (it.name, it.state)).collect();
    let expected = [("liar", "set aside"), ("other", "idle")];
    assert_eq!(told, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
    server.shut_down().await;
}
