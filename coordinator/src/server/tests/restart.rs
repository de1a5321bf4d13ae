//! The reads of a coordinator on a folder with many runs, and their times.

use std::fs;
use std::path::Path;

use common::dataset::SplitManifest;
use common::id::RunId;
use common::wire::message::RunEvent;

use super::peers::TestServer;
use super::{BIG, reference, test_model};
use crate::ledger::HISTORY_BYTES;
use crate::runs::RunsFolder;
use crate::server::ServerConfig;
use crate::server::persistence::recover;
use common::run_state::RunState;

const RUN: RunId = RunId(1);

/// A folder with a queued run.
async fn queued(folder: &Path) {
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.client().await.submit(&test_model::spec(""), None).await;
    server.shut_down().await;
}

/// Flips a bit of all examples, so that a read reports damage.
fn damage_examples(folder: &Path) {
    for chunk in fs::read_dir(folder.join("data")).unwrap().flatten() {
        let mut bytes = fs::read(chunk.path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(chunk.path(), bytes).unwrap();
    }
}

/// Bytes that this thread has read so far, from all files.
fn bytes_read() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

fn has_finished(events: &[RunEvent]) -> bool {
    matches!(events.last(), Some(RunEvent::Finished { .. }))
}

#[tokio::test]
async fn a_restart_reads_neither_states_nor_examples() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let spec = test_model::spec(BIG);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    client.submit(&spec, None).await;
    assert!(has_finished(&client.follow(RUN).await));
    server.shut_down().await;
    // One continues from its last checkpoint, and one starts from a client's state.
    fs::remove_file(folder.join("1/outcome.json")).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let state = reference(&spec);
    server.client().await.submit(&spec, Some(&state)).await;
    server.shut_down().await;
    damage_examples(folder);

    let runs = RunsFolder::open(folder).unwrap();
    let before = bytes_read();
    let (recovered, _history) = recover(&runs, HISTORY_BYTES);
    let read = bytes_read() - before;
    assert!(read < state.bytes() / 4, "{read} bytes were read");
    let phases: Vec<RunState> = recovered.iter().map(|recovered| recovered.run.phase()).collect();
    assert_eq!(phases, [RunState::Queued, RunState::Queued]);
    assert!(recovered.iter().all(|recovered| recovered.run.state().is_none()));
}

#[tokio::test]
async fn examples_that_are_in_memory_are_not_read_for_another_run() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    queued(folder).await;
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    // Its client sends the same examples, which were not read so far.
    client.submit(&test_model::spec(""), None).await;
    damage_examples(folder);
    server.worker("worker", usize::MAX).await;
    for run in [RUN, RunId(2)] {
        let events = client.follow(run).await;
        assert!(has_finished(&events), "{run}: {events:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_from_disk_begins_only_where_there_is_room_for_its_examples() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    queued(folder).await;
    let data = test_model::dataset();
    let bytes = |split: SplitManifest| {
        (0..split.chunks.len()).map(|chunk| split.chunk_bytes(chunk) as u64).sum::<u64>()
    };
    let bytes = bytes(data.train.manifest()) + bytes(data.test.manifest());
    let server = TestServer::start_in(
        folder,
        ServerConfig { data_memory: bytes - 1, ..ServerConfig::default() },
    );
    server.worker("worker", usize::MAX).await;
    let told = server.client().await.follow(RUN).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    let named = format!("it cannot continue: the coordinator has {} bytes for the data", bytes - 1);
    assert!(reason.contains(&named) && reason.contains("raise `data_memory`"), "{reason}");
    server.shut_down().await;
    // It continues if there is enough.
    let server = TestServer::start_in(
        folder,
        ServerConfig { data_memory: bytes, ..ServerConfig::default() },
    );
    server.worker("worker", usize::MAX).await;
    let told = server.client().await.follow(RUN).await;
    assert!(has_finished(&told), "{told:?}");
    server.shut_down().await;
}
