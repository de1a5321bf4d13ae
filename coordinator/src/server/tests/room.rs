//! Runs for which there is not enough memory when their turn comes.

use std::path::Path;

use common::dataset::{Dataset, SplitManifest};
use common::id::{RunId, SubmissionKey};
use common::wire::message::{FromClient, RunEvent, ToClient, ToWorker};

use super::peers::{TestPeer, TestServer};
use super::test_model;
use crate::server::ServerConfig;

/// Examples of the two runs.
const SIZES: [usize; 2] = [53, 54];

fn bytes(data: &Dataset) -> u64 {
    let of = |split: SplitManifest| {
        (0..split.chunks.len()).map(|chunk| split.chunk_bytes(chunk) as u64).sum::<u64>()
    };
    of(data.train.manifest()) + of(data.test.manifest())
}

async fn submit(client: &mut TestPeer, examples: usize, run: u64) {
    let (key, data) = (SubmissionKey::draw().unwrap(), test_model::dataset_of(examples));
    let answer = client.submit_over(key, &test_model::spec(""), None, &data).await;
    assert_eq!(answer, Some(ToClient::Accepted { run: RunId(run), passed_over: None }));
}

/// A coordinator whose run 1 is in the folder and whose run 2 uses the memory that run 1 needs.
async fn crowded(folder: &Path) -> TestServer {
    let server = TestServer::start_in(folder, ServerConfig::default());
    submit(&mut server.client().await, SIZES[0], 1).await;
    server.shut_down().await;
    // Memory for one of them, and the initial state of run 2.
    let data_memory = bytes(&test_model::dataset_of(SIZES[1])) + 64;
    let server =
        TestServer::start_in(folder, ServerConfig { data_memory, ..ServerConfig::default() });
    submit(&mut server.client().await, SIZES[1], 2).await;
    server
}

#[tokio::test]
async fn a_run_without_room_lets_others_go_first_and_starts_when_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let server = crowded(folder.path()).await;
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    for run in [2, 1] {
        let events = client.follow(RunId(run)).await;
        assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{run}: {events:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_that_waits_for_room_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let server = crowded(folder.path()).await;
    // A worker that does nothing: run 2 stays active as long as the test wants.
    let mut idle = server.idle_worker("idle").await;
    let opens = |message: ToWorker| match message {
        ToWorker::OpenRun { run, .. } => run == RunId(2),
        _ => false,
    };
    while !idle.hear(&ToWorker::Heartbeat).await.is_some_and(opens) {}
    let mut client = server.client().await;
    for run in [1, 2].map(RunId) {
        client.say(FromClient::Cancel { run }).await;
        assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
    }
    server.shut_down().await;
}
