//! Blocks that workers have finished: checked, compared with other answers, kept,
//! and told to the scheduler.

use std::time::Duration;

use common::id::{Block, RunId, StepId, WorkerId};
use common::plan::StepKind;
use common::wire::message::{BlockDone, RunEvent, ToWorker};
use tracing::{debug, error, info};

use super::active::Outcome;
use super::engine::Engine;
use super::merge::{self, Expected, Opened, PartialError};
use crate::ledger::EventKind;
use crate::scheduler;

impl Engine {
    /// Takes in a finished block.
    pub(super) fn on_block_done(
        &mut self,
        worker: WorkerId,
        done: BlockDone,
    ) -> Result<(), String> {
        if !self.is_of_this_step(worker, &done)? {
            return Ok(());
        }
        let Some(partial) = self.open_partial(worker, &done) else { return Ok(()) };
        if self.agrees(worker, &done) {
            self.take_block(worker, done, partial);
        }
        Ok(())
    }

    /// Whether a block is one of the step under way that its worker was given.
    /// What comes early or late is of no use.
    fn is_of_this_step(&mut self, worker: WorkerId, done: &BlockDone) -> Result<bool, String> {
        let BlockDone { step, block, .. } = *done;
        let Some(active) = self.active.as_ref().filter(|active| active.run == step.run) else {
            let past = step.run.0 <= self.last_run;
            return if past { Ok(false) } else { Err(not_begun(step)) };
        };
        if step.index > active.step.index && !active.goes_on {
            return Err(not_begun(step));
        }
        let Some(about) = self.workers.get_mut(&worker) else { return Ok(false) };
        if about.run != Some(step.run) {
            // Its partials may be of another coordinator's run of this number.
            return Err(format!("out of turn: run {} was not opened here", step.run));
        }
        if step.index > active.step.index {
            // The run went back to before it: what the worker keeps of it will
            // be as right when the run is there again.
            debug!("early: replicas {block} of {step} from worker {worker}");
            return Ok(false);
        }
        about.assignments.retain(|_, (of, assigned)| (*of, *assigned) != (step, block));
        let process = about.process;
        if step.index < active.step.index {
            debug!("late: replicas {block} of {step} from worker {worker}");
            self.send_worker(worker, ToWorker::StepDone { step });
            return Ok(false);
        }
        if !active.step.root().contains(block) || block.replicas(active.step.replicas).is_empty() {
            return Err(format!("{step} has {} replicas, not {block}", active.step.replicas));
        }
        // What was begun for a coordinator that is gone is as right as ever, and
        // mostly of the step that its run goes on with. That one may have been
        // further, and there nobody waits for it.
        if !active.is_first_step && !active.shards.was_given(block, process) {
            if active.goes_on {
                debug!("unasked: replicas {block} of {step} from worker {worker}");
                return Ok(false);
            }
            return Err(format!(
                "out of turn: it claims replicas {block} of {step}, which it was not given"
            ));
        }
        Ok(true)
    }

    /// What came of the partial; nothing if it cannot be what the shards gave.
    fn open_partial(&mut self, worker: WorkerId, done: &BlockDone) -> Option<Opened> {
        let BlockDone { step, block, .. } = *done;
        let active = self.active.as_ref()?;
        let expected = Expected {
            weight: active.weight(block),
            shards: block.replicas(active.step.replicas).len(),
            learns: matches!(active.step.kind, StepKind::Train { .. }),
        };
        match merge::open(&active.cut, done, expected) {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.on_altered(worker, step, block, &error);
                None
            }
        }
    }

    /// Whether a block's shards, and the block, are what others answered. If
    /// not, the run fails.
    fn agrees(&mut self, worker: WorkerId, done: &BlockDone) -> bool {
        let BlockDone { step, block, .. } = *done;
        let Some(active) = &mut self.active else { return false };
        let Some(about) = self.workers.get(&worker) else { return false };
        if let Err(difference) = active.shards.take(&about.name, block, &done.shards) {
            let second = about.name.clone();
            self.on_difference(step, &difference, &second);
            return false;
        }
        // Of equal shards, a block is merged the same way everywhere.
        let other = active.outcomes.get(&block).filter(|first| first.digest != done.digest);
        let Some(first) = other else { return true };
        let reason = format!(
            "replicas {block} of {step} gave {} on worker {}, but {} on worker {}, of equal \
             shards: what a worker merges must be the same everywhere; look for two builds, or \
             for a faulty machine",
            first.digest, first.worker_name, done.digest, about.name
        );
        self.give_up(&reason);
        false
    }

    /// Keeps a block, and tells the scheduler.
    fn take_block(&mut self, worker: WorkerId, done: BlockDone, partial: Opened) {
        let BlockDone { step, block, weight, digest, partial_bytes: bytes, .. } = done;
        let Some(active) = &mut self.active else { return };
        let Some(about) = self.workers.get_mut(&worker) else { return };
        let compute = Duration::from_micros(done.compute_us);
        active.clock.computed(self.now, worker, compute);
        about.shards_done += done.shards.len() as u64;
        let inline = matches!(partial, Opened::Inline(_));
        let worker_name = about.name.clone();
        let outcome = Outcome { weight, digest, bytes, worker_name, partial };
        if inline {
            self.arrived = Some((step, block, outcome, done.results));
        } else if !active.outcomes.contains_key(&block) {
            active.keep(block, outcome, done.results);
        }
        self.tell(scheduler::Event::BlockDone { worker, step, block, inline, compute });
        self.arrived = None;
    }

    /// Takes in that a finished block is not what its shards gave: bytes changed
    /// on their way, or the worker made what cannot be. The worker stays: sent
    /// away, it would be back at once with the same.
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
        let count = super::history::shards(shards);
        info!("{count} of {step} taken from worker {name}, which had done them before");
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

fn not_begun(step: StepId) -> String {
    format!("out of turn: {step} has not begun")
}

/// A sentence about a partial.
pub(super) fn of_partial(step: StepId, block: Block, error: &PartialError) -> String {
    format!("the partial of replicas {block} of {step}: {error}")
}
