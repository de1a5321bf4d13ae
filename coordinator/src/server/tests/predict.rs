//! Predictions: their scores are the final state, whoever computed them and whenever.

use std::fs;
use std::path::Path;

use common::dataset::{Dataset, Examples, Features};
use common::digest::Digest;
use common::id::{RunId, SubmissionKey};
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::{TestPeer, TestServer};
use super::{kinds, test_model};
use crate::reference::ParallelBatchProcessor;
use crate::server::ServerConfig;

const RUN: RunId = RunId(1);

/// Scores of an example: four examples are a step.
const OUTPUTS: u32 = 20_000;

/// 53 examples: fourteen steps, of up to two shards each.
fn dataset() -> Dataset {
    let split = |count: usize| {
        let features = (0..count).map(|at| 1.5 + at as f32).collect();
        Examples::new(Features::F32(features), vec![0; count], 1, OUTPUTS, 1.0).unwrap()
    };
    Dataset { train: split(53), test: split(0) }
}

fn spec() -> RunSpec {
    let text = format!(
        "model = \"toy\"\nupdate_weights = false\npredict = true\n\
         evaluation = {{ split = \"train\", shard_size = 2 }}\n\
         dataset = {{ source = \"digits\" }}\nparameters = {{ outputs = {OUTPUTS} }}\n"
    );
    RunSpec::from_toml(&text).unwrap()
}

fn expected() -> NetworkState {
    let processor = ParallelBatchProcessor::new(1, 1).with_registry(test_model::registry());
    processor.run_spec(&spec(), &dataset(), None).unwrap().0
}

async fn submit(client: &mut TestPeer) {
    let key = SubmissionKey::draw().unwrap();
    let answer = client.submit_over(key, &spec(), None, &dataset()).await;
    assert_eq!(answer, Some(ToClient::Accepted { run: RUN, passed_over: None }));
}

fn digest(events: &[RunEvent]) -> Digest {
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    *digest
}

#[test]
fn scores_are_in_the_order_of_the_examples() {
    let state = expected();
    let scores = state.f32("scores").unwrap();
    assert_eq!(scores.shape(), [53, OUTPUTS as usize]);
    for (example, scores) in scores.outer_iter().enumerate() {
        assert_eq!((scores[0], scores[1]), (1.5 + example as f32, 1.5));
    }
}

#[tokio::test]
async fn any_cluster_gives_the_scores_of_the_reference() {
    for (workers, mortal) in [(1, 0), (3, 0), (2, 2)] {
        let server = TestServer::start(ServerConfig::default());
        let mut client = server.client().await;
        for index in 0..mortal {
            server.worker(&format!("mortal-{index}"), 2 + index).await;
        }
        for index in 0..workers {
            server.worker(&format!("worker-{index}"), usize::MAX).await;
        }
        submit(&mut client).await;
        let events = client.follow(RUN).await;
        assert_eq!(digest(&events), expected().digest());
        let steps = kinds(&events);
        assert_eq!(steps, [&["started"], &["predicted"; 14][..], &["finished"]].concat());
        client.say(FromClient::Fetch { run: RUN }).await;
        let Some(ToClient::State { layout, .. }) = client.hear_client().await else {
            panic!("a state")
        };
        assert_eq!(layout, expected().layout());
        server.shut_down().await;
    }
}

/// A prediction of which a server computed `blocks` blocks, and was then stopped.
async fn interrupted(folder: &Path, blocks: usize) {
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    let worker = server.worker("mortal", blocks).await;
    submit(&mut client).await;
    worker.await.unwrap();
    client.say(FromClient::Follow { run: RUN }).await;
    loop {
        let message = client.hear_client().await.unwrap();
        if matches!(message, ToClient::Event(RunEvent::Predicted { .. })) {
            break;
        }
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_prediction_that_was_interrupted_begins_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    interrupted(folder, 9).await;
    let is_state = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("round-");
    let states = fs::read_dir(folder.join("1")).unwrap().flatten().filter(is_state);
    assert_eq!(states.count(), 0, "no part of the scores is kept");
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("other", usize::MAX).await;
    let events = server.client().await.follow(RUN).await;
    assert_eq!(digest(&events), expected().digest());
    server.shut_down().await;
}

#[tokio::test]
async fn a_prediction_whose_end_was_not_written_is_not_computed_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    submit(&mut client).await;
    let told = digest(&client.follow(RUN).await);
    server.shut_down().await;
    fs::remove_file(folder.join("1/outcome.json")).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    let idle = server.idle_worker("idle").await;
    let events = server.client().await.follow(RUN).await;
    assert_eq!((digest(&events), told), (expected().digest(), expected().digest()));
    // What was told before comes from the history.
    let resumed = events.iter().position(|event| matches!(event, RunEvent::Resumed { .. }));
    let later = kinds(&events[resumed.expect("it goes on")..]);
    assert_eq!(later, ["finished"], "{events:#?}");
    drop(idle);
    server.shut_down().await;
}
