use std::sync::Arc;

use common::dataset::{FeatureType, SplitManifest, TargetType};
use common::digest::Digest;
use common::id::{RunId, RunIdentity};
use common::model::{DataShape, Registry};
use common::plan::RunPlan;
use common::spec::RunSpec;
use tokio::time::Instant;

use super::effect::JobResult;
use super::*;
use crate::server::jobs::Incarnation;
use crate::server::run_table::RunDefinition;

/// A run of the smallest network with this many classes: many classes make its state large.
fn submission(classes: u32) -> RunDefinition {
    let text = "model = \"softmax\"\nreplicas = 2\nepochs = 1\nbatch_size = 1\n\
                dataset = { source = \"digits\" }";
    let spec = RunSpec::from_toml(text).unwrap();
    let train = SplitManifest {
        examples: 4,
        features: 4,
        shape: vec![4],
        targets: TargetType::Classes(classes),
        element: FeatureType::U8,
        scale: 1.0,
        chunk_examples: 4,
        chunks: vec![Digest::of(b"chunk")],
    };
    let test = SplitManifest { examples: 0, chunks: Vec::new(), ..train.clone() };
    let plan = RunPlan::new(&spec, train.size(), 0).unwrap();
    let shape = DataShape::of(&train, &test);
    let model = Registry::standard().build("softmax", &spec.parameters, shape, 1).unwrap();
    let steps = 0..plan.steps();
    RunDefinition {
        identity: RunIdentity(7),
        text: text.into(),
        schema: String::new(),
        complete: text.into(),
        spec,
        model: Arc::from(model),
        plan,
        train,
        test,
        initial: None,
        steps,
        is_replay: false,
    }
}

/// Starts a run in this incarnation, at its last step.
fn start(executor: &mut StepExecutor, incarnation: Incarnation) {
    let submission = Arc::new(submission(1 << 16));
    let (state, step) = (submission.model.initial_state().unwrap(), submission.steps.end);
    let (state, progress) = (Arc::new(state), Default::default());
    let run = RunId(1);
    let start = Start { run, incarnation, submission, state, step, goes_on: true, progress };
    assert!(executor.start(start, Instant::now()).unwrap().is_done());
}

#[test]
fn a_final_digest_from_before_a_cancel_is_of_no_state_of_the_resumed_run() {
    let now = Instant::now();
    let mut executor = StepExecutor::new(u64::MAX, 2);
    let first = Incarnation::default().next();
    start(&mut executor, first);
    let Some(Effect::Run(job)) = executor.digest() else { panic!("the state is large") };
    let done = job();
    assert!(matches!(done.result, JobResult::Digested(_)));
    // The same run continues in another incarnation, at the same point.
    executor.stop();
    start(&mut executor, first.next());
    assert!(executor.on_done(now, done).is_empty(), "it is of the life before");
    let Some(Effect::Run(job)) = executor.digest() else { panic!("the state is large") };
    let effects = executor.on_done(now, job());
    assert!(matches!(effects[..], [Effect::Digested(_)]), "it is of this one");
}

#[test]
fn nothing_is_done_for_a_run_that_is_not_worked_on() {
    let now = Instant::now();
    let mut executor = StepExecutor::new(u64::MAX, 2);
    let step = common::id::StepId { run: RunId(1), index: 0 };
    assert!(executor.merge(now, step, &[]).is_empty());
    assert!(executor.digest().is_none() && executor.outcome(now, 1).is_none());
    assert!(executor.stalled(now).is_none() && executor.shard_events().is_empty());
    let (worker, block) = (common::id::WorkerId(1), common::id::Block::of_replica(0));
    let place = (step, block, 0);
    let found = executor.on_segment(now, worker, place, Payload::Sent(Default::default()), true);
    assert!(found.is_ok_and(|effects| effects.is_empty()), "of a run that is over");
    let error = executor.on_segment(now, worker, place, Payload::Sent(Default::default()), false);
    assert!(error.is_err_and(|error| error.contains("was not asked for")));
}
