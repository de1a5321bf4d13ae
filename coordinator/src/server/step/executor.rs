//! Moves the active run from stage to stage. See the [module above](super).

use std::sync::Arc;

use common::digest::Digest;
use common::id::{Block, RunId, StepId};
use common::limits;
use common::model::Model;
use common::plan::StepKind;
use common::state::NetworkState;
use common::wire::message::RunEvent;
use tokio::time::Instant;
use tracing::debug;

use super::active_run::{ActiveRun, Stage};
use super::effect::{Done, Effect, JobResult};
use super::finalise::{finalise, label};
use super::merge::{PartialSource, StepMerge};
use crate::runs::Progress;
use crate::scheduler::PartialRef;
use crate::server::jobs::Incarnation;
use crate::server::run_table::RunDefinition;

/// States up to this many bytes are merged and checked in the engine's own task: handing them to
/// another thread would take longer. The model's own work still runs on another thread.
pub(super) const SMALL_STATE: u64 = 256 << 10;

/// A run that begins or continues.
#[derive(Debug)]
pub(in crate::server) struct Start {
    pub(in crate::server) run: RunId,
    pub(in crate::server) incarnation: Incarnation,
    pub(in crate::server) submission: Arc<RunDefinition>,
    pub(in crate::server) state: Arc<NetworkState>,
    /// The step that starts from the state.
    pub(in crate::server) step: u64,
    /// Whether it continues after an interruption.
    pub(in crate::server) goes_on: bool,
    /// Its progress so far.
    pub(in crate::server) progress: Progress,
}

/// The result of a merged step.
#[derive(Debug)]
pub(in crate::server) struct StepOutcome {
    /// The event for clients.
    pub(in crate::server) event: RunEvent,
    /// New warnings of the model: number of examples, by warning.
    pub(in crate::server) warnings: Vec<(String, u64)>,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct StepExecutor {
    pub(super) active: Option<ActiveRun>,
    /// Running merge jobs, of any run, and their maximum.
    pub(super) merging: usize,
    pub(super) cores: usize,
    /// Most bytes of pulled segments in memory at one time.
    pub(super) merge_memory: u64,
}

impl StepExecutor {
    /// No active run. Merges take at most `merge_memory` bytes of pulled segments at one time, and
    /// `cores` threads.
    pub(in crate::server) fn new(merge_memory: u64, cores: usize) -> Self {
        Self { active: None, merging: 0, cores, merge_memory }
    }

    /// The active run.
    pub(in crate::server) fn active(&self) -> Option<&ActiveRun> {
        self.active.as_ref()
    }

    /// The same, mutable.
    pub(in crate::server) fn active_mut(&mut self) -> Option<&mut ActiveRun> {
        self.active.as_mut()
    }

    /// The active run, if it is this one.
    pub(in crate::server) fn active_run(&self, run: RunId) -> Option<&ActiveRun> {
        self.active.as_ref().filter(|active| active.run() == run)
    }

    /// The same, mutable.
    pub(in crate::server) fn active_run_mut(&mut self, run: RunId) -> Option<&mut ActiveRun> {
        self.active.as_mut().filter(|active| active.run() == run)
    }

    /// The active run, if its current step is this one.
    pub(in crate::server) fn at_mut(&mut self, step: StepId) -> Option<&mut ActiveRun> {
        self.active.as_mut().filter(|active| active.step_id() == step)
    }

    /// Makes a run the active one; `None` if its plan has no such step.
    pub(in crate::server) fn start(&mut self, start: Start, now: Instant) -> Option<&ActiveRun> {
        let Start { run, incarnation, submission, state, step, goes_on, progress } = start;
        let of = (run, incarnation);
        self.active = ActiveRun::new(of, submission, state, (step, goes_on), &progress, now);
        self.active.as_ref()
    }

    /// Ends the active run.
    pub(in crate::server) fn stop(&mut self) {
        self.active = None;
    }

    pub(super) fn merge_mut(&mut self) -> Option<&mut StepMerge> {
        match &mut self.active.as_mut()?.stage {
            Stage::Merging(merge) => Some(merge),
            _ => None,
        }
    }

    /// Starts or continues the merge of a complete step.
    pub(in crate::server) fn merge(
        &mut self,
        now: Instant,
        step: StepId,
        parts: &[PartialRef],
    ) -> Vec<Effect> {
        let Some(active) = self.at_mut(step) else { return Vec::new() };
        if !matches!(active.stage, Stage::Working | Stage::Merging(_)) {
            return Vec::new();
        }
        let weight = |block: &Block| active.outcomes.get(block).map_or(0, |it| it.weight);
        let piece = |part: &PartialRef| PartialSource {
            block: part.block,
            weight: weight(&part.block),
            holder: part.holder,
        };
        active.parts = parts.iter().map(piece).collect();
        match active.step.kind {
            StepKind::Evaluate { .. } | StepKind::Predict { .. } => {
                vec![Effect::Merged { next: None, digest: None }]
            }
            StepKind::Label { .. } => vec![self.label()].into_iter().flatten().collect(),
            StepKind::Train { .. } => self.merge_round(now),
        }
    }

    /// Handles the result of a job. It is dropped unless the run's incarnation is still the one
    /// that ordered it.
    pub(in crate::server) fn on_done(&mut self, now: Instant, done: Done) -> Vec<Effect> {
        let Done { of, result } = done;
        let mut effects = Vec::new();
        if matches!(result, JobResult::Merged(_)) {
            // The job's thread is free again, whichever run it worked for.
            self.merging -= 1;
            self.run_jobs(&mut effects);
        }
        if self.active.as_ref().is_none_or(|active| active.incarnation != of) {
            debug!("dropped, as its run was ended meanwhile: {result:?}");
            return effects;
        }
        effects.extend(match result {
            JobResult::Merged(done) => self.on_merged(now, &done),
            JobResult::Finalised(step, state) => {
                self.on_finalised(step, state).into_iter().collect()
            }
            JobResult::Digested(digest) => vec![Effect::Digested(digest)],
        });
        effects
    }

    /// Lets the model finalise a merged state, and checks the result.
    pub(super) fn finalise(&mut self, next: NetworkState) -> Option<Effect> {
        let base = self.active.as_ref()?.state.clone();
        self.finalise_by(move |model| finalise(model, &base, next))
    }

    /// [`StepExecutor::finalise`] for a state whose merged values are finite: unless the model
    /// changes it, it needs no more checks.
    pub(super) fn finalise_finite(&mut self, next: NetworkState) -> Option<Effect> {
        let active = self.active.as_mut()?;
        if !active.is_base_as_merged() {
            return self.finalise(next);
        }
        active.stage = Stage::Finalising;
        let step = active.step_id();
        self.on_finalised(step, Ok((Box::new(next), None)))
    }

    /// Lets the model write labels into a copy of the base.
    fn label(&mut self) -> Option<Effect> {
        let active = self.active.as_mut()?;
        let (base, spare, results) = (active.state.clone(), active.take_spare(), active.results());
        self.finalise_by(move |model| label(model, &base, spare, &results))
    }

    /// Has the model make the state of the next step on another thread, as that may take long. If
    /// the model does nothing and the state is small, it is done here.
    fn finalise_by(
        &mut self,
        work: impl FnOnce(&dyn Model) -> Result<Box<NetworkState>, String> + Send + 'static,
    ) -> Option<Effect> {
        let active = self.active.as_mut()?;
        active.stage = Stage::Finalising;
        let (step, of) = (active.step_id(), active.incarnation);
        let (model, is_replay) = (active.submission.model.clone(), active.submission.is_replay);
        let work = move |model: &dyn Model| {
            let state = work(model)?;
            let digest = is_replay.then(|| state.digest());
            Ok((state, digest))
        };
        let is_round = matches!(active.step.kind, StepKind::Train { .. });
        if is_round && !model.has_finish_round() && active.state.bytes() <= SMALL_STATE {
            return self.on_finalised(step, work(&*model));
        }
        Some(Effect::Run(Box::new(move || Done {
            of,
            result: JobResult::Finalised(step, work(&*model)),
        })))
    }

    /// Handles the state after the current step.
    fn on_finalised(
        &mut self,
        step: StepId,
        state: Result<(Box<NetworkState>, Option<Digest>), String>,
    ) -> Option<Effect> {
        let active = self.active.as_ref().filter(|active| active.step_id() == step)?;
        Some(match state {
            Ok((next, digest)) => Effect::Merged { next: Some(next), digest },
            Err(cause) => {
                let what = match active.step.kind {
                    StepKind::Label { .. } => "labelled",
                    StepKind::Train { .. }
                    | StepKind::Evaluate { .. }
                    | StepKind::Predict { .. } => "merged",
                };
                Effect::GiveUp(format!("the {what} state of {step}: {cause}"))
            }
        })
    }

    /// Reports the merged step. `now` is the present time, not the time of an earlier event, so
    /// that durations count for the right round.
    pub(in crate::server) fn outcome(
        &mut self,
        now: Instant,
        workers: usize,
    ) -> Option<StepOutcome> {
        let active = self.active.as_mut()?;
        let (run, results) = (active.run(), active.results());
        let (loss, accuracy) = (results.loss(), results.accuracy());
        let warnings = active.new_warnings(&results);
        let event = match active.step.kind {
            StepKind::Train { round, epoch, .. } => {
                let examples = active.submission.plan.examples(&active.step);
                let (compute, whole) = active.timing.end_round(now, examples);
                let compute_ms = compute.as_secs_f64() * 1e3;
                RunEvent::Round {
                    run,
                    round: round + 1,
                    rounds: active.submission.plan.rounds(),
                    epoch: epoch + 1,
                    examples,
                    loss,
                    accuracy,
                    metrics: results.metrics(),
                    partial_bytes: active.partial_bytes(),
                    compute_ms,
                    synchronisation_ms: whole.as_secs_f64() * 1e3 - compute_ms,
                    examples_per_second: examples as f64 / whole.as_secs_f64().max(1e-9),
                    workers: workers as u32,
                }
            }
            StepKind::Label { epochs } => {
                RunEvent::Labelled { run, epochs, examples: results.examples }
            }
            StepKind::Evaluate { split, epochs } => {
                active.timing.evaluated = (loss, accuracy);
                RunEvent::Evaluation { run, epochs, split, results, loss, accuracy }
            }
            StepKind::Predict { first, .. } => {
                active.scores.extend_from_slice(&results.scores);
                let (examples, of) = (first + results.examples, active.submission.plan.predicted());
                RunEvent::Predicted { run, examples, of }
            }
        };
        Some(StepOutcome { event, warnings })
    }

    /// Digests of the current step's shards, for clients that compare them.
    pub(in crate::server) fn shard_events(&self) -> Vec<RunEvent> {
        let Some(active) = &self.active else { return Vec::new() };
        let (run, step, all) = (active.run(), active.step.index, active.shards_done());
        let part = |(place, shards): (usize, &[_])| {
            let first = place as u32 * limits::BLOCK_REPLICAS;
            RunEvent::Shards { run, step, first, shards: shards.to_vec() }
        };
        all.chunks(limits::BLOCK_REPLICAS as usize).enumerate().map(part).collect()
    }

    /// Computes the final state's digest: the last step is over.
    pub(in crate::server) fn digest(&mut self) -> Option<Effect> {
        let active = self.active.as_mut()?;
        active.stage = Stage::Digesting;
        active.take_scores();
        let (state, of) = (active.state.clone(), active.incarnation);
        Some(if state.bytes() <= SMALL_STATE {
            Effect::Digested(state.digest())
        } else {
            Effect::Run(Box::new(move || Done { of, result: JobResult::Digested(state.digest()) }))
        })
    }
}
