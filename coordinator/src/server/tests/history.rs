//! The reports of a run are part of its checkpoints: the history in its final state is the same as
//! for a run that was never stopped.

use std::sync::Arc;

use common::id::RunId;
use common::plan::StepKind;
use common::spec::Split;
use common::wire::message::{FromClient, RunEvent, ToClient};
use tokio::time::Instant;

use super::durable::finished;
use super::peers::{TestPeer, TestServer};
use super::test_model;
use crate::runs::{History, HistorySoFar, Progress, RunsFolder};
use crate::server::ServerConfig;
use crate::server::jobs::Incarnation;
use crate::server::persistence::Draft;
use crate::server::run_table::{NewRun, Run};
use crate::server::step::{Start, StepExecutor};

const RUN: RunId = RunId(1);

/// The history in the final state of run 1.
async fn history(client: &mut TestPeer) -> History {
    client.say(FromClient::Fetch { run: RUN }).await;
    let Some(ToClient::State { history_bytes, .. }) = client.hear_client().await else {
        panic!("a state");
    };
    let mut text = Vec::new();
    while (text.len() as u64) < history_bytes {
        match client.hear_client().await {
            Some(ToClient::StateSegment { .. }) => {}
            Some(ToClient::History { payload, .. }) => text.extend_from_slice(&payload),
            other => panic!("{other:?}"),
        }
    }
    History::from_json(&String::from_utf8(text).unwrap()).unwrap()
}

/// The history from the events of a run that was never stopped.
fn told(events: &[RunEvent]) -> History {
    let mut so_far = HistorySoFar::default();
    events.iter().for_each(|event| so_far.take(event));
    so_far.history()
}

#[tokio::test]
async fn equal_runs_have_equal_histories_whatever_was_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let expected = told(&finished(scratch.path()).await);
    assert_eq!((expected.rounds.len(), expected.evaluations.len()), (6, 2));
    // A worker finishes this many blocks, and then its coordinator stops as well.
    for blocks in [1, 3, 5, 7, 9, 11] {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let server = TestServer::start_in(folder, ServerConfig::default());
        let mut client = server.client().await;
        client.submit(&test_model::spec(""), None).await;
        let mortal = server.worker("mortal", blocks).await;
        tokio::select! {
            ended = mortal => ended.unwrap(),
            // The worker may finish fewer.
            _ = client.follow(RUN) => {}
        }
        server.shut_down().await;

        let server = TestServer::start_in(folder, ServerConfig::default());
        server.worker("worker", usize::MAX).await;
        let mut client = server.client().await;
        client.follow(RUN).await;
        assert_eq!(history(&mut client).await, expected, "after {blocks} blocks, from memory");
        server.shut_down().await;

        let server = TestServer::start_in(folder, ServerConfig::default());
        let history = history(&mut server.client().await).await;
        assert_eq!(history, expected, "after {blocks} blocks, from disk");
        server.shut_down().await;
    }
}

#[tokio::test]
async fn a_checkpoint_is_followed_by_the_step_after_the_last_one_that_it_tells_of() {
    let scratch = tempfile::tempdir().unwrap();
    let events = finished(scratch.path()).await;
    let record = RunsFolder::read(scratch.path()).unwrap().submission(RUN).unwrap();
    let draft = Draft::new(&test_model::registry(), record).unwrap();
    let run = draft.into_run(NewRun::queued(RUN)).0;
    let submission = run.submission.clone().unwrap();
    let (state, run) = (Arc::new(submission.model.initial_state().unwrap()), Run::new(run));
    let now = Instant::now();
    let mut progress = Progress::default();
    let mut evaluations = 0;
    for index in 0..submission.plan.steps() {
        // As if each step were the first one after a restart.
        let mut executor = StepExecutor::new(u64::MAX, 1);
        let start = Start {
            run: RUN,
            incarnation: Incarnation::default(),
            submission: submission.clone(),
            state: state.clone(),
            step: index,
            goes_on: true,
            progress,
        };
        executor.start(start, now).unwrap();
        let active = executor.active_mut().unwrap();
        assert_eq!(active.step_id().index, index);
        let is_its = |event: &&RunEvent| match (active.kind(), event) {
            (StepKind::Train { round, .. }, RunEvent::Round { round: told, .. }) => {
                round + 1 == *told
            }
            (StepKind::Evaluate { epochs, .. }, RunEvent::Evaluation { epochs: told, .. }) => {
                epochs == *told
            }
            _ => false,
        };
        let event = events.iter().find(is_its).unwrap();
        evaluations += u32::from(matches!(event, RunEvent::Evaluation { split: Split::Test, .. }));
        active.take_outcome(event, None);
        assert_eq!(active.base_step(), index + 1, "a checkpoint would do step {index} again");
        progress = active.progress(&run, now);
    }
    assert_eq!((progress.history.history(), evaluations), (told(&events), 2));
}
