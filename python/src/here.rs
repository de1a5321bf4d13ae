//! A run in this process.

use std::collections::BTreeMap;
use std::time::Instant;

use common::dataset::DataDigests;
use common::id::RunId;
use common::memory;
use common::plan::{RunPlan, StepKind};
use common::results::Results;
use common::wire::message::RunEvent;
use coordinator::client::{Fetched, Loaded};
use coordinator::reference::{StepResults, Steps};
use coordinator::runs::HistorySoFar;
use tokio::sync::watch;

use crate::error::Error;
use crate::work::{Outcome, Work};

/// The number of a run that no coordinator has numbered.
const RUN: RunId = RunId(0);

/// Runs it to its end on the threads of the current pool.
pub(crate) fn run(mut work: Work, cancelled: &watch::Receiver<bool>) -> Result<Outcome, Error> {
    let Loaded { spec, dataset, mut schema, state, .. } = work.load()?;
    let model = work.registry.build(&spec.model, &spec.parameters, dataset.shape(), spec.seed)?;
    let plan = RunPlan::new(&spec, dataset.train.size(), dataset.test.len())?;
    let mut state = match state {
        Some(state) => state,
        None => model.initial_state()?,
    };
    state.set_rules(&spec.merge)?;
    if spec.update_weights {
        let (train, test) = (dataset.train.manifest().digest(), dataset.test.manifest().digest());
        schema.data = Some(DataDigests { train, test });
    }
    let (start, mut so_far) = (Instant::now(), Progress::new(&plan));
    work.tell(&RunEvent::Started {
        run: RUN,
        model: spec.model.clone(),
        rounds: plan.rounds(),
        state_bytes: state.bytes(),
        workers: 0,
    });
    let mut steps = Steps::new(&plan, &*model, &dataset);
    let (mut scores, of) = (Vec::new(), dataset.split(spec.evaluation.split).len());
    for index in 0..plan.steps() {
        if *cancelled.borrow() || cancelled.has_changed().is_err() {
            work.tell(&RunEvent::Cancelled { run: RUN });
            return Err(Error::Cancelled("the run was cancelled".into()));
        }
        let (began, busy) = (Instant::now(), steps.computing());
        let mut done = steps.run(index, &mut state)?;
        scores.append(&mut done.results.scores);
        let seconds = began.elapsed().as_secs_f64();
        let threads = rayon::current_num_threads().min(done.step.replicas.max(1) as usize);
        let computing = (steps.computing() - busy).as_secs_f64() / threads as f64;
        let event = so_far.event(&done, seconds, computing.min(seconds), of);
        work.tell(&event);
    }
    let state = plan.scores_state(scores).unwrap_or(state);
    let last = so_far.last.take().unwrap_or_default();
    work.tell(&RunEvent::Finished {
        run: RUN,
        digest: state.digest(),
        rounds: plan.rounds(),
        examples: so_far.examples,
        seconds: start.elapsed().as_secs_f64(),
        loss: last.loss(),
        accuracy: last.accuracy(),
        synchronisation_share: so_far.synchronisation_share(),
        warnings: so_far.warnings,
        offered: 0,
        audited: 0,
        unaudited: 0,
        unsaved: None,
    });
    let history = so_far.history.history();
    let memory = vec![(format!("process {}", std::process::id()), memory::unshared())];
    Ok(Outcome { fetched: Fetched { state, spec, schema: Some(schema), history }, memory })
}

/// What a run has done so far.
struct Progress<'a> {
    plan: &'a RunPlan,
    history: HistorySoFar,
    /// The results of the last evaluation.
    last: Option<Results>,
    warnings: BTreeMap<String, u64>,
    /// Examples of training rounds.
    examples: u64,
    /// Seconds of training rounds, and those of them that were not computing.
    seconds: f64,
    synchronising: f64,
}

impl<'a> Progress<'a> {
    fn new(plan: &'a RunPlan) -> Self {
        Self {
            plan,
            history: HistorySoFar::default(),
            last: None,
            warnings: BTreeMap::new(),
            examples: 0,
            seconds: 0.0,
            synchronising: 0.0,
        }
    }

    fn synchronisation_share(&self) -> f64 {
        if self.seconds > 0.0 { self.synchronising / self.seconds } else { 0.0 }
    }

    /// The event of a step, which took so many seconds and computed for so many of them. `of` is the
    /// number of examples that a prediction has.
    fn event(&mut self, done: &StepResults, seconds: f64, computing: f64, of: u64) -> RunEvent {
        let StepResults { step, results } = done;
        for (name, count) in results.warnings() {
            *self.warnings.entry(name.to_owned()).or_default() += count;
        }
        let event = match step.kind {
            StepKind::Train { round, epoch, .. } => {
                self.examples += results.examples;
                self.seconds += seconds;
                self.synchronising += seconds - computing;
                RunEvent::Round {
                    run: RUN,
                    round: round + 1,
                    rounds: self.plan.rounds(),
                    epoch: epoch + 1,
                    examples: results.examples,
                    loss: results.loss(),
                    accuracy: results.accuracy(),
                    metrics: results.metrics(),
                    partial_bytes: 0,
                    compute_ms: computing * 1e3,
                    synchronisation_ms: (seconds - computing) * 1e3,
                    examples_per_second: results.examples as f64 / seconds.max(1e-9),
                    workers: 0,
                }
            }
            StepKind::Label { epochs } => {
                RunEvent::Labelled { run: RUN, epochs, examples: results.examples }
            }
            StepKind::Evaluate { split, epochs } => {
                self.last = Some(results.clone());
                RunEvent::Evaluation {
                    run: RUN,
                    epochs,
                    split,
                    results: results.clone(),
                    loss: results.loss(),
                    accuracy: results.accuracy(),
                }
            }
            StepKind::Predict { first, .. } => {
                RunEvent::Predicted { run: RUN, examples: first + results.examples, of }
            }
        };
        self.history.take(&event);
        event
    }
}
