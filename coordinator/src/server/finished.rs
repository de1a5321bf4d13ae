//! Blocks that workers have finished: checked, compared with other answers, and
//! told to the scheduler.

use std::time::Duration;

use common::id::{Block, RunId, StepId, WorkerId};
use common::plan::StepKind;
use common::wire::codec::encode;
use common::wire::message::{BlockDone, RunEvent, ToWorker};
use tracing::{debug, error, info};

use super::active::Outcome;
use super::engine::Engine;
use super::merge::{self, Opened, PartialError};
use crate::ledger::EventKind;
use crate::scheduler;

impl Engine {
    /// Checks a finished block, and tells the scheduler.
    pub(super) fn on_block_done(
        &mut self,
        worker: WorkerId,
        done: BlockDone,
    ) -> Result<(), String> {
        let BlockDone { step, block, weight, .. } = done;
        let Some(active) = self.active.as_mut().filter(|active| active.run == step.run) else {
            let past = step.run.0 <= self.last_run;
            return if past { Ok(()) } else { Err(format!("out of turn: {step} has not begun")) };
        };
        if step.index > active.step.index && !active.goes_on {
            return Err(format!("out of turn: {step} has not begun"));
        }
        let Some(about) = self.workers.get_mut(&worker) else { return Ok(()) };
        if about.run != Some(step.run) {
            // Its partials may be of another coordinator's run of this number.
            return Err(format!("out of turn: run {} was not opened here", step.run));
        }
        if step.index > active.step.index {
            // The run went back to before it: what the worker keeps of it will
            // be as right when the run is there again.
            debug!("early: replicas {block} of {step} from worker {worker}");
            return Ok(());
        }
        about.assignments.retain(|_, (of, assigned)| (*of, *assigned) != (step, block));
        if step.index < active.step.index {
            debug!("late: replicas {block} of {step} from worker {worker}");
            let frame = encode(ToWorker::StepDone { step });
            self.send_worker_frame(worker, frame);
            return Ok(());
        }
        let replicas = block.replicas(active.step.replicas);
        if !active.step.root().contains(block) || replicas.is_empty() {
            return Err(format!("{step} has {} replicas, not {block}", active.step.replicas));
        }
        let expected = active.weight(block);
        if weight != expected {
            return Err(format!(
                "replicas {block} of {step} have {expected} examples, found weight {weight}"
            ));
        }
        let count = replicas.len();
        if done.shards.len() != count {
            let found = done.shards.len();
            return Err(format!("replicas {block} of {step} are {count} shards, found {found}"));
        }
        // What was begun for a coordinator that is gone is as right as ever,
        // and can only be of the step that its run goes on with.
        if !active.is_first_step && !active.shards.was_given(block, about.process) {
            return Err(format!(
                "out of turn: it claims replicas {block} of {step}, which it was not given"
            ));
        }
        let Opened { hashes, inline } = match merge::open(&active.cut, &done) {
            Ok(opened) => opened,
            Err(error @ PartialError::Altered) => {
                self.on_altered(worker, step, block, &error);
                return Ok(());
            }
            Err(error) => return Err(of_partial(step, block, &error)),
        };
        let learns = matches!(active.step.kind, StepKind::Train { .. });
        if inline.is_none() && !learns {
            return Err(format!("the results of replicas {block} of {step} are to come inline"));
        }
        if let Err(difference) = active.shards.take(&about.name, block, &done.shards) {
            let second = about.name.clone();
            self.on_difference(step, &difference, &second);
            return Ok(());
        }
        // Of equal shards, a block is merged the same way everywhere.
        if let Some(first) = active.outcomes.get(&block)
            && first.digest != done.digest
        {
            let reason = format!(
                "replicas {block} of {step} gave {} on worker {}, but {} on worker {}, of equal \
                 shards: what a worker merges must be the same everywhere; look for two builds, \
                 or for a faulty machine",
                first.digest, first.worker_name, done.digest, about.name
            );
            self.give_up(&reason);
            return Ok(());
        }
        let compute = Duration::from_micros(done.compute_us);
        active.clock.computed(self.now, worker, compute);
        about.shards_done += replicas.len() as u64;
        let is_inline = inline.is_some();
        let (digest, bytes) = (done.digest, done.partial_bytes);
        let worker_name = about.name.clone();
        let outcome = Outcome { weight, digest, hashes, bytes, worker_name, inline };
        if is_inline {
            self.arrived = Some((step, block, outcome, done.results));
        } else if !active.outcomes.contains_key(&block) {
            active.keep(block, outcome, done.results);
        }
        self.tell(scheduler::Event::BlockDone { worker, step, block, inline: is_inline, compute });
        self.arrived = None;
        Ok(())
    }

    /// Takes in that bytes of a finished block changed after its worker had
    /// made them.
    pub(super) fn on_altered(
        &mut self,
        worker: WorkerId,
        step: StepId,
        block: Block,
        error: &PartialError,
    ) {
        let name = self.workers.get(&worker).map_or("", |about| about.name.as_str());
        let error = of_partial(step, block, error);
        error!("from worker {worker} ({name}): {error}");
        self.tell(scheduler::Event::PartialAltered { worker, step, block, error });
    }

    /// Takes in that shards need not be computed again.
    pub(super) fn on_offered(&mut self, run: RunId, worker: WorkerId, block: Block) {
        let Some(active) = self.active.as_mut().filter(|active| active.run == run) else { return };
        let shards = block.replicas(active.step.replicas).len() as u64;
        active.offered += shards;
        let step = active.step_id();
        let name = self.workers.get(&worker).map(|about| about.name.clone()).unwrap_or_default();
        info!("{shards} shards of {step} are taken from worker {name}, which had done them before");
        let count = super::history::shards(shards);
        let detail = format!("{count}, replicas {block}, were done before it reconnected");
        self.record_event(run, EventKind::Offered, Some(name.clone()), detail.clone());
        let what = "offered".into();
        self.publish(run, RunEvent::Worker { run, worker: name, what, detail });
    }

    /// Keeps what came inline, if the scheduler says so.
    pub(super) fn on_verdict(&mut self, step: StepId, block: Block, keep: bool) {
        let Some((of, at, outcome, results)) = self.arrived.take() else { return };
        let Some(active) = self.active.as_mut().filter(|active| active.step_id() == step) else {
            return;
        };
        if keep && (of, at) == (step, block) {
            active.keep(block, outcome, results);
        }
    }
}

/// A sentence about a partial.
pub(super) fn of_partial(step: StepId, block: Block, error: &PartialError) -> String {
    format!("the partial of replicas {block} of {step}: {error}")
}
