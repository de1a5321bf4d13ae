//! Runs that are loaded from the runs folder: their memory, and that nobody is delayed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::RunId;
use common::merge_rule::MergeRule;
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::{TestPeer, TestServer};
use super::{BIG, reference, test_model};
use crate::reference::ParallelBatchProcessor;
use crate::server::ServerConfig;

const RUN: RunId = RunId(1);

/// The changes of a fork.
type Changes = Option<Vec<(String, String)>>;

fn change(key: &str, value: &str) -> Changes {
    Some(vec![(key.into(), value.into())])
}

async fn resume(client: &mut TestPeer, fork: Changes) {
    client.say(FromClient::Resume { run: RUN, settings: RunSettings::default(), fork }).await;
}

async fn cancel(client: &mut TestPeer, run: RunId) {
    client.say(FromClient::Cancel { run }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
}

async fn is_accepted(client: &mut TestPeer) -> bool {
    match client.hear_client().await {
        Some(ToClient::Accepted { .. }) => true,
        Some(ToClient::Rejected { .. }) => false,
        answer => panic!("{answer:?}"),
    }
}

/// The reason why a run is not resumed, and whether the request is at fault.
async fn refusal(client: &mut TestPeer, fork: Changes) -> (String, bool) {
    resume(client, fork).await;
    match client.hear_client().await {
        Some(ToClient::Rejected { bad_input, reason }) => (reason, bad_input),
        answer => panic!("{answer:?}"),
    }
}

fn digest(events: &[RunEvent]) -> Option<Digest> {
    match events.last() {
        Some(RunEvent::Finished { digest, .. }) => Some(*digest),
        _ => None,
    }
}

/// The next message, within a bound.
async fn in_time<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(10), answer).await.ok()
}

/// Whether another run is accepted and cancelled on disk, within a bound.
async fn is_answered(server: &TestServer) -> bool {
    let mut client = server.client().await;
    let answered = in_time(async {
        let answer = client.submit(&test_model::spec(""), None).await;
        let Some(ToClient::Accepted { run, .. }) = answer else { panic!("{answer:?}") };
        cancel(&mut client, run).await;
    });
    answered.await.is_some()
}

#[tokio::test]
async fn a_coordinator_answers_while_the_model_is_made_of_a_run_whose_turn_comes() {
    let held = &test_model::BUILDS[0];
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    server.client().await.submit(&test_model::spec("held_build = 0"), None).await;
    server.shut_down().await;
    held.close();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    held.meet().await;
    let is_answered = is_answered(&server).await;
    held.meet().await;
    assert!(is_answered);
    let events = server.client().await.follow(RUN).await;
    assert_eq!(digest(&events), Some(reference(&test_model::spec("")).digest()), "{events:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_coordinator_answers_while_the_model_is_made_of_a_run_that_is_taken_up() {
    let held = &test_model::BUILDS[1];
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&test_model::spec("held_build = 1"), None).await;
    cancel(&mut client, RUN).await;
    for fork in [None, change("epochs", "1")] {
        held.close();
        resume(&mut client, fork).await;
        held.meet().await;
        let is_answered = is_answered(&server).await;
        // A client may resume one run at a time.
        let (reason, _) =
            if is_answered { refusal(&mut client, None).await } else { Default::default() };
        held.meet().await;
        assert!(is_answered && reason.contains("being resumed for this client"), "{reason}");
        assert!(is_accepted(&mut client).await);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_read_for_a_turn_that_is_over_is_nothing_to_the_run_that_goes_on() {
    let held = &test_model::BUILDS[2];
    let scratch = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    server.client().await.submit(&test_model::spec("held_build = 2"), None).await;
    server.shut_down().await;
    held.close();
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let worker = server.worker("first", usize::MAX).await;
    held.meet().await;
    // No worker starts it again before the old one arrives.
    worker.abort();
    let mut client = server.client().await;
    let goes_on = in_time(async {
        cancel(&mut client, RUN).await;
        resume(&mut client, None).await;
        is_accepted(&mut client).await
    });
    let goes_on = goes_on.await;
    held.meet().await;
    assert_eq!(goes_on, Some(true));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(client.is_served().await);
    }
    client.say(FromClient::Status).await;
    let Some(ToClient::Status(status)) = client.hear_client().await else { panic!("a status") };
    assert_eq!(status.runs[0].state.name(), "queued");
    server.worker("second", usize::MAX).await;
    let events = client.follow(RUN).await;
    assert_eq!(digest(&events), Some(reference(&test_model::spec("")).digest()), "{events:?}");
    server.shut_down().await;
}

/// A folder with a run that was cancelled in the queue, with a client's initial state.
async fn cancelled(folder: &Path, parameters: &str) {
    let spec = test_model::spec(parameters);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&spec, Some(&reference(&spec))).await;
    cancel(&mut client, RUN).await;
    server.shut_down().await;
}

/// Flips a bit of the last value of a file, or flips it back.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_state_that_there_is_no_room_for_is_not_read() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    cancelled(folder, BIG).await;
    // A read of it reports the damage.
    flip(&folder.join("1/start.safetensors"));
    let config = ServerConfig { data_memory: 1 << 20, ..ServerConfig::default() };
    let server = TestServer::start_in(folder, config);
    let mut client = server.client().await;
    for fork in [None, change("epochs", "1")] {
        let (reason, bad_input) = refusal(&mut client, fork).await;
        assert!(reason.contains("found 2400016; wait for other runs to end"), "{reason}");
        assert!(!bad_input);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn room_is_given_back_whatever_keeps_a_run_from_being_taken_up() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    cancelled(folder, "").await;
    let data = test_model::dataset();
    let bytes = |split: SplitManifest| {
        (0..split.chunks.len()).map(|chunk| split.chunk_bytes(chunk) as u64).sum::<u64>()
    };
    let state = reference(&test_model::spec("")).bytes();
    let data_memory = state + bytes(data.train.manifest()) + bytes(data.test.manifest());
    let server =
        TestServer::start_in(folder, ServerConfig { data_memory, ..ServerConfig::default() });
    let mut client = server.client().await;
    let start = folder.join("1/start.safetensors");
    let chunk = fs::read_dir(folder.join("data")).unwrap().flatten().next().unwrap().path();
    for _ in 0..2 {
        for path in [&start, &chunk] {
            for fork in [None, change("epochs", "1")] {
                flip(path);
                let (reason, _) = refusal(&mut client, fork).await;
                assert!(reason.contains(path.file_name().unwrap().to_str().unwrap()), "{reason}");
                flip(path);
            }
        }
        let (reason, _) = refusal(&mut client, change("parameters.size", "4")).await;
        assert!(reason.contains("expected `w` of f32 [4]"), "{reason}");
    }
    resume(&mut client, None).await;
    assert!(is_accepted(&mut client).await);
    // There is memory for the examples, but not for another state.
    let (reason, _) = refusal(&mut client, change("epochs", "1")).await;
    assert!(reason.contains("expected at most 0 more"), "{reason}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_from_a_state_of_its_own_goes_on_before_its_first_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let spec = test_model::spec("");
    let start = reference(&spec);
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&spec, Some(&start)).await;
    cancel(&mut client, RUN).await;
    resume(&mut client, change("merge.w", "max")).await;
    assert!(is_accepted(&mut client).await, "a fork with another rule");
    resume(&mut client, None).await;
    assert!(is_accepted(&mut client).await);
    server.shut_down().await;
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut forked = spec.clone();
    forked.merge.insert("w".into(), MergeRule::Max);
    let processor = ParallelBatchProcessor::new(1, 1).with_registry(test_model::registry());
    for (run, spec) in [(RUN, spec), (RunId(2), forked)] {
        let events = server.client().await.follow(run).await;
        let (expected, _) =
            processor.run_spec(&spec, &test_model::dataset(), Some(&start)).unwrap();
        assert_eq!(digest(&events), Some(expected.digest()), "{events:?}");
    }
    server.shut_down().await;
}
