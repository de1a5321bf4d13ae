//! Blocks that workers have finished, and the comparison of two answers of a shard.

use common::id::{Block, RunId, StepId, WorkerId};
use common::wire::message::{BlockDone, RunEvent, ToWorker};
use common::worker_event::WorkerEvent;
use tracing::{debug, error, info, warn};

use super::Engine;
use crate::ledger::EventKind;
use crate::scheduler::{self, Verdict};
use crate::server::step::{Accepted, Difference, FinishedBlock};
use crate::server::text::shards;

impl Engine {
    /// Handles a finished block.
    ///
    /// # Errors
    /// The reason to close the worker's connection.
    pub(super) fn on_block_done(
        &mut self,
        worker: WorkerId,
        done: BlockDone,
    ) -> Result<(), String> {
        let (step, block) = (done.step, done.block);
        let was_run = self.runs.was_given(step.run);
        let Some(about) = self.peers.worker_mut(worker) else { return Ok(()) };
        about.finish(step, block);
        let name = about.name().to_owned();
        match self.step.accept(self.now, (worker, about), done, was_run)? {
            Accepted::Ignored => {}
            Accepted::Late => self.peers.send_worker(worker, ToWorker::StepDone { step }),
            Accepted::Altered(error) => self.on_altered(worker, step, block, error),
            Accepted::Differs(difference) => self.on_difference(step, &difference, &name),
            Accepted::Disagrees(reason) => self.give_up(&reason),
            Accepted::Block(finished) => self.take_block(worker, (step, block), *finished),
        }
        Ok(())
    }

    /// Reports a block to the scheduler, and keeps it if the scheduler says so.
    fn take_block(
        &mut self,
        worker: WorkerId,
        (step, block): (StepId, Block),
        finished: FinishedBlock,
    ) {
        if let Some(about) = self.peers.worker_mut(worker) {
            about.count_shards(finished.shards);
        }
        let FinishedBlock { is_inline: inline, compute, .. } = finished;
        let done = scheduler::BlockDone { worker, step, block, inline, compute };
        let verdict = self.scheduler.block_done(self.now.into_std(), done);
        self.step.keep(finished, verdict == Verdict::Keep);
        self.pump();
    }

    /// Handles a finished block that does not match the results of its shards: bytes changed on the
    /// way, or the worker computed an impossible result. The worker stays connected: if it were
    /// disconnected, it would return at once with the same block.
    pub(super) fn on_altered(
        &mut self,
        worker: WorkerId,
        step: StepId,
        block: Block,
        error: String,
    ) {
        let name = self.peers.worker(worker).map_or("", |about| about.name());
        error!("from worker {worker} ({name}): {error}");
        self.tell(scheduler::Event::PartialAltered { worker, step, block, error });
    }

    /// Handles shards that need not be computed again.
    pub(super) fn on_offered(&mut self, run: RunId, worker: WorkerId, block: Block) {
        let Some(active) = self.step.active_run_mut(run) else { return };
        if self.peers.worker(worker).is_some_and(|about| about.was_given(block)) {
            // The block was revoked on this connection, but the worker finished it.
            debug!("worker {worker} has finished replicas {block}, which were taken back from it");
            return;
        }
        let count = shards(active.count_offered(block));
        let step = active.step_id();
        let name = self.peers.worker(worker).map(|about| about.name().to_owned());
        let name = name.unwrap_or_default();
        info!("{count} of {step} taken from worker {name}, which had computed them before");
        let detail = format!("{count}, replicas {block}, were done before it reconnected");
        let what = WorkerEvent::Offered;
        self.record_event(run, EventKind::Worker(what), Some(name.clone()), detail.clone());
        self.publish(run, RunEvent::Worker { run, worker: name, what, detail });
    }

    /// Handles two matching answers of a shard from two processes.
    pub(super) fn on_audited(&mut self, step: StepId) {
        if let Some(active) = self.step.at_mut(step) {
            active.count_audited();
        }
    }

    /// Handles a shard that should have been audited but was not. The first one is logged, and all
    /// are counted at the run's end.
    pub(super) fn on_unaudited(&mut self, step: StepId, replica: u32, reason: &str) {
        let Some(active) = self.step.at_mut(step) else { return };
        if active.count_unaudited() {
            warn!(
                "replica {replica} of {step} is not audited: {reason}; the run continues, and \
                 `coordinator explain` shows at its end how many were not"
            );
        }
    }

    /// Records how many shards of an ending run were audited.
    pub(super) fn record_audits(&self, run: RunId) {
        let Some(active) = self.step.active_run(run) else { return };
        let (audited, unaudited) = active.audits();
        for (kind, count, what) in [
            (EventKind::Audited, audited, "had the same bits on two workers"),
            (EventKind::Unaudited, unaudited, "could not be given to a second worker"),
        ] {
            if count > 0 {
                self.record_event(run, kind, None, format!("{} {what}", shards(count)));
            }
        }
    }

    /// Fails the run of a shard that gave two workers different bits.
    fn on_difference(&mut self, step: StepId, difference: &Difference, second: &str) {
        let Difference { replica, first, second: digest } = difference;
        let what = format!(
            "replica {replica} of {step} had digest {} on worker {}, but {digest} on worker \
             {second}",
            first.done.digest, first.worker
        );
        self.record_event(step.run, EventKind::Audit, Some(second.to_owned()), what.clone());
        let reason = format!(
            "{what}: the result of a shard must be the same everywhere; look for a faulty \
             machine, for two builds, or for a model that reads a clock, a thread count or the \
             environment"
        );
        self.give_up(&(reason + &self.replay_hint((step, *replica))));
    }
}
