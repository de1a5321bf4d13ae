//! A run that is cancelled and taken up again, while work of its first life goes
//! on.

use std::path::Path;
use std::sync::Arc;

use common::digest::Digest;
use common::id::{Block, RunId, StepId};
use common::model::DataShape;
use common::run_settings::RunSettings;
use common::spec::RunSpec;
use common::wire::message::{FromClient, RunEvent, ToClient, ToWorker};
use tokio::time::Instant;

use super::peers::{Lie, TestServer};
use super::{BIG, reference, toy};
use crate::runs::RunsFolder;
use crate::server::Config;
use crate::server::jobs::{Found, Incarnation};
use crate::server::merge::{Content, Cut, Piece, StepMerge};

#[tokio::test]
async fn a_coordinator_answers_while_a_model_settles_a_small_state() {
    let server = TestServer::start(Config::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    let spec = toy::spec("held_small = true");
    client.submit(&spec, None).await;
    toy::HELD_SMALL.meet().await;
    assert!(client.is_served().await);
    toy::HELD_SMALL.meet().await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&toy::spec("")).digest());
    server.shut_down().await;
}

#[tokio::test]
async fn a_state_that_a_cancelled_run_left_behind_is_nothing_to_the_resumed_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), Config::default());
    let mut client = server.client().await;
    let worker = server.worker("first", usize::MAX).await;
    let (run, spec) = (RunId(1), toy::spec(&format!("{BIG}\nheld = true")));
    client.submit(&spec, None).await;
    toy::HELD.meet().await;
    // Nobody is there to do the step again before the old state comes.
    worker.abort();
    client.say(FromClient::Cancel { run }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
    let settings = RunSettings::default();
    client.say(FromClient::Resume { run, settings, fork: None }).await;
    let accepted = ToClient::Accepted { run, passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    // It is under way again as the old state comes, and nobody does the step.
    let mut idle = server.idle_worker("idle").await;
    let assigns = |message| matches!(message, ToWorker::Assign { .. });
    while !idle.hear(&ToWorker::Heartbeat).await.is_some_and(assigns) {}
    toy::HELD.meet().await;
    assert!(client.is_served().await);
    drop(idle);
    server.worker("second", usize::MAX).await;
    let events = client.follow(run).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&toy::spec(BIG)).digest());
    // The work of the first life was cancelled, not done.
    let rounds = events.iter().filter(|event| matches!(event, RunEvent::Round { round: 1, .. }));
    assert_eq!(rounds.count(), 1, "{events:#?}");
    server.shut_down().await;
}

/// Tells of blocks that only others were given, in a run that begins or that goes
/// on; whether its connection ended, and the digest.
async fn with_unasked_work(folder: &Path, is_new: bool) -> (bool, Option<Digest>) {
    let server = TestServer::start_in(folder, Config::default());
    let mut client = server.client().await;
    let liar = server.liar(Lie::Beside).await;
    server.worker("honest", usize::MAX).await;
    if is_new {
        client.submit(&toy::spec(""), None).await;
    }
    let events = client.follow(RunId(1)).await;
    let digest = match events.last() {
        Some(RunEvent::Finished { digest, .. }) => Some(*digest),
        _ => None,
    };
    let was_sent_away = liar.is_finished();
    server.shut_down().await;
    (was_sent_away, digest)
}

#[tokio::test]
async fn what_a_run_that_goes_on_did_not_ask_for_ends_no_connection() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let expected = Some(reference(&toy::spec("")).digest());
    assert_eq!(with_unasked_work(folder, true).await, (true, expected));
    // A worker may have gone further with the coordinator before this one.
    for entry in std::fs::read_dir(folder.join("1")).unwrap().flatten() {
        let name = entry.file_name();
        if name != "run.json" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(with_unasked_work(folder, false).await, (false, expected));
}

/// What merging the first step comes to where nobody contributes anything.
fn pieces_of_nothing(spec: &RunSpec) -> Vec<Found> {
    let shape = DataShape { features: 1, classes: 1 };
    let model = toy::registry().build("toy", &spec.parameters, shape, spec.seed).unwrap();
    let base = Arc::new(model.initial_state().unwrap());
    let layout = base.layout();
    let cut = Arc::new(Cut { segments: layout.merge_segments(), layout });
    let (step, next) = (StepId { run: RunId(1), index: 0 }, (*base).clone());
    let mut merge = StepMerge::new(step, spec.replicas, cut, base, next, u64::MAX);
    merge.resume(vec![Piece { block: Block::root(spec.replicas), weight: 0, holder: None }]);
    let mut found = Vec::new();
    while let Some(fetch) = merge.next_fetch(Instant::now()) {
        merge.take_in(fetch, Content::Decoded(None));
        found.push(Found::Merged(merge.next_job().unwrap().run()));
    }
    found
}

/// All that is told of a run for which this was found in its first life. It is heard of
/// in that one or the second one, while all of the first step is done, and nothing of
/// it merged.
async fn told_after(found: Vec<Found>, life: u64) -> Vec<RunEvent> {
    let folder = tempfile::tempdir().unwrap();
    let runs = RunsFolder::open(folder.path()).unwrap();
    let jobs = found.iter().filter(|found| matches!(found, Found::Merged(_))).count();
    let server = TestServer::start_with(runs, Config::default(), |engine| engine.merging = jobs);
    let mut client = server.client().await;
    let mute = server.liar(Lie::Mute).await;
    let run = RunId(1);
    client.submit(&toy::spec(BIG), None).await;
    while client.workers().await[0].shards_done < 5 {}
    if life == 2 {
        client.say(FromClient::Cancel { run }).await;
        assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run }));
        let settings = RunSettings::default();
        client.say(FromClient::Resume { run, settings, fork: None }).await;
        let accepted = ToClient::Accepted { run, passed_over: None };
        assert_eq!(client.hear_client().await, Some(accepted));
    }
    while client.workers().await[0].shards_done < 5 * life {}
    for found in found {
        server.find(Incarnation::default().next(), found).await;
    }
    assert!(client.is_served().await, "the engine has heard of it");
    mute.abort();
    server.worker("second", usize::MAX).await;
    let events = client.follow(run).await;
    server.shut_down().await;
    events
}

#[tokio::test]
async fn a_final_digest_from_before_a_cancel_is_of_no_state_of_the_resumed_run() {
    let stale = Digest::of(b"stale");
    for (life, is_of_it) in [(1, true), (2, false)] {
        let events = told_after(vec![Found::Digested(stale)], life).await;
        let is_it = |event: &RunEvent| match event {
            RunEvent::Checkpoint { digest, .. } | RunEvent::Finished { digest, .. } => {
                *digest == stale
            }
            _ => false,
        };
        assert_eq!(events.iter().any(is_it), is_of_it, "life {life}: {events:#?}");
    }
}

#[tokio::test]
async fn pieces_that_were_merged_before_a_cancel_are_in_no_state_of_the_resumed_run() {
    let spec = toy::spec(BIG);
    let right = reference(&spec).digest();
    for (life, is_right) in [(1, false), (2, true)] {
        let events = told_after(pieces_of_nothing(&spec), life).await;
        let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
        assert_eq!(*digest == right, is_right, "life {life}: {events:#?}");
    }
}
