//! Workers: they join, report, and get assignments.

use common::id::{AssignmentId, Block, RunId, StepId, WorkerId};
use common::spec::Split;
use common::wire::message::{FromWorker, Progress, ToWorker};
use tracing::{debug, info};

use super::Engine;
use crate::ledger::EventKind;
use crate::scheduler::{self, Departure};
use crate::server::net::{Handle, WorkerInfo};
use crate::server::step::Payload;

impl Engine {
    /// Adds a worker. If a run is active, the worker is told at once: it may have finished blocks
    /// of the run before it lost its last connection.
    pub(super) fn join(&mut self, worker: WorkerId, info: WorkerInfo, handle: Handle) {
        let joined = self.peers.add_worker(worker, info, handle);
        info!(peer = %joined.address(), "worker {worker} ({}) joined", joined.name());
        let (process, slots) = (joined.process(), joined.slots());
        if let Some(active) = self.step.active() {
            self.peers.open_run(worker, active.run(), active.open().clone());
        }
        self.note_small_cache(worker);
        self.tell(scheduler::Event::WorkerJoined { worker, process, slots });
        self.publish_queued();
    }

    /// Opens the active run at all workers: they may have kept some of it, or lack something that
    /// it needs.
    pub(super) fn open_everywhere(&mut self) {
        let Some(active) = self.step.active() else { return };
        let (run, open) = (active.run(), active.open().clone());
        let workers: Vec<WorkerId> = self.peers.workers().map(|(worker, _)| worker).collect();
        for worker in workers {
            self.peers.open_run(worker, run, open.clone());
            self.note_small_cache(worker);
        }
    }

    /// Records that a worker fetches the chunks of the active run repeatedly, if it does.
    fn note_small_cache(&self, worker: WorkerId) {
        let (Some(active), Some(about)) = (self.step.active(), self.peers.worker(worker)) else {
            return;
        };
        let window = active.submission().plan.window_bytes();
        if let Some(detail) = describe_cache(about.cache_limit(), window) {
            let name = Some(about.name().to_owned());
            self.record_event(active.run(), EventKind::SmallCache, name, detail);
        }
    }

    /// Hands a block to a worker, with everything that it lacks to start.
    pub(super) fn assign(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
        (step, block): (StepId, Block),
        confirm: bool,
    ) {
        let Some(active) = self.step.at_mut(step) else { return };
        let Some(about) = self.peers.worker(worker) else { return };
        debug!("{assignment}: replicas {block} of {step} to worker {worker} ({})", about.name());
        let is_new_to_it = !about.knows(step.run);
        active.give(block, about.process());
        if is_new_to_it {
            self.peers.open_run(worker, step.run, active.open().clone());
        }
        let plan = active.block_plan(block);
        let message = ToWorker::Assign { assignment, step, block, plan, confirm };
        self.peers.assign(worker, assignment, (step, block), message, || active.frames());
        if is_new_to_it {
            self.note_small_cache(worker);
        }
    }

    /// Handles a worker's message.
    ///
    /// # Errors
    /// The reason to close its connection.
    pub(super) fn on_worker_message(
        &mut self,
        worker: WorkerId,
        message: FromWorker,
    ) -> Result<(), String> {
        match message {
            FromWorker::Heartbeat { memory, progress } => {
                if let Some(about) = self.peers.worker_mut(worker) {
                    about.set_memory(memory);
                }
                progress.into_iter().for_each(|progress| self.on_progress(worker, progress));
            }
            FromWorker::Opened { run } => {
                self.tell(scheduler::Event::RunOpened { worker, run });
            }
            FromWorker::Cannot { run, reason } => return self.on_cannot(worker, run, reason),
            FromWorker::NeedChunks { run, split, chunks } => {
                return self.send_chunks(worker, run, split, &chunks);
            }
            FromWorker::BlockDone(done) => return self.on_block_done(worker, done),
            FromWorker::ShardFailed { assignment, step, replica, fatal, error } => {
                let (of, what) = (assignment, (replica, fatal));
                return self.on_shard_failed(worker, (of, step), what, error);
            }
            FromWorker::Started { assignment } => {
                self.tell(scheduler::Event::Started { worker, assignment });
            }
            FromWorker::HandedBack { assignment } => {
                return self.on_handed_back(worker, assignment);
            }
            FromWorker::PartialSegment { step, block, segment, payload } => {
                let payload = Payload::Sent(payload);
                return self.on_segment(worker, (step, block, segment), payload);
            }
            FromWorker::SharesMemory
            | FromWorker::SlotsRead { .. }
            | FromWorker::SegmentInMemory { .. } => {
                unreachable!("the connection handles messages about shared memory")
            }
            FromWorker::PartialMissing { step, block } => {
                self.step.is_missing(worker, step, block);
                if self.step.at_mut(step).is_some() {
                    self.tell(scheduler::Event::PartialMissing { worker, step, block });
                }
            }
            FromWorker::Draining => {
                if let Some(about) = self.peers.worker_mut(worker) {
                    about.drain();
                }
                self.tell(scheduler::Event::WorkerDraining { worker });
            }
            FromWorker::Goodbye => {
                self.close_worker(worker, Departure::Left, "it said goodbye");
            }
            FromWorker::HangsUp { reason } => {
                let cause = format!("it hung up: {reason}");
                self.close_worker(worker, Departure::Parted, &cause);
            }
        }
        Ok(())
    }

    /// Handles a pulled segment of a partial.
    ///
    /// # Errors
    /// The reason to close the worker's connection.
    pub(super) fn on_segment(
        &mut self,
        worker: WorkerId,
        place: (StepId, Block, u32),
        payload: Payload,
    ) -> Result<(), String> {
        let was_run = self.runs.was_given(place.0.run);
        let effects = self.step.on_segment(self.now, worker, place, payload, was_run)?;
        self.perform_step(effects);
        Ok(())
    }

    fn on_progress(&mut self, worker: WorkerId, progress: Progress) {
        let Progress { assignment, running, shards_done, .. } = progress;
        if self.peers.worker(worker).is_some_and(|about| about.has(assignment)) {
            self.tell(scheduler::Event::Progress { worker, assignment, running, shards_done });
        }
    }

    fn on_shard_failed(
        &mut self,
        worker: WorkerId,
        (assignment, step): (AssignmentId, StepId),
        (replica, fatal): (u32, bool),
        error: String,
    ) -> Result<(), String> {
        let Some((_, block)) = self.take_assignment(worker, assignment) else { return Ok(()) };
        if !(block.start()..block.end()).contains(&u64::from(replica)) {
            return Err(format!(
                "out of turn: replica {replica} failed in {assignment}, which is {block}"
            ));
        }
        debug!("replica {replica} of {step} failed on worker {worker}: {error}");
        self.tell(scheduler::Event::ShardFailed { worker, assignment, replica, fatal, error });
        Ok(())
    }

    fn on_handed_back(&mut self, worker: WorkerId, assignment: AssignmentId) -> Result<(), String> {
        // A worker that is leaving would only hand new work back, too.
        if !self.peers.worker(worker).is_some_and(|about| about.is_draining()) {
            return Err(format!(
                "out of turn: it hands {assignment} back, but did not announce that it drains"
            ));
        }
        if self.take_assignment(worker, assignment).is_some() {
            self.tell(scheduler::Event::HandedBack { worker, assignment });
        }
        Ok(())
    }

    fn take_assignment(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
    ) -> Option<(StepId, Block)> {
        self.peers.worker_mut(worker)?.take_assignment(assignment)
    }

    /// Handles a worker that cannot work on a run: it gets no more work of the run.
    fn on_cannot(&mut self, worker: WorkerId, run: RunId, reason: String) -> Result<(), String> {
        let Some(about) = self.peers.worker_mut(worker) else { return Ok(()) };
        if !about.knows(run) {
            return self.must_be_over(run);
        }
        about.cannot_work(run, &reason);
        self.tell(scheduler::Event::WorkerCannot { worker, run, reason });
        Ok(())
    }

    /// Queues the chunks that a worker requests.
    fn send_chunks(
        &mut self,
        worker: WorkerId,
        run: RunId,
        split: Split,
        chunks: &[u32],
    ) -> Result<(), String> {
        let Some(active) = self.step.active_run(run) else { return self.must_be_over(run) };
        let manifest = match split {
            Split::Train => &active.submission().train,
            Split::Test => &active.submission().test,
        };
        let store = self.intake.store();
        let found = |chunk: &u32| {
            let content = manifest.chunks.get(*chunk as usize).and_then(|of| store.get(of));
            content.map(|content| ((run, split, *chunk), content.clone())).ok_or_else(|| {
                format!(
                    "the {split:?} split of run {run} has {} chunks: chunk {chunk} was asked for",
                    manifest.chunks.len()
                )
            })
        };
        let found: Vec<_> = chunks.iter().map(found).collect::<Result<_, _>>()?;
        self.peers.send_chunks(worker, found.into_iter());
        Ok(())
    }

    /// Messages about a run that is over are ignored, but the worker must have been told of a run.
    fn must_be_over(&self, run: RunId) -> Result<(), String> {
        if self.runs.was_given(run) {
            return Ok(());
        }
        Err(format!("out of turn: no run {run} was opened"))
    }
}

const MIB: u64 = 1 << 20;

/// A note on a cache of this many bytes if the examples of a round span `window` bytes of chunks
/// and do not fit.
fn describe_cache(cache: u64, window: u64) -> Option<String> {
    let (holds, spans) = (cache / MIB, window.div_ceil(MIB));
    let text = || {
        format!(
            "its cache holds {holds} MiB, but the examples of a round span {spans} MiB of chunks"
        )
    };
    (cache < window).then(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_named_that_is_smaller_than_the_window() {
        assert_eq!(describe_cache(64 << 20, 64 << 20), None);
        assert_eq!(describe_cache(0, 0), None, "nothing is learnt");
        let text = "its cache holds 8 MiB, but the examples of a round span 64 MiB of chunks";
        assert_eq!(describe_cache(8 << 20, (64 << 20) - 5).as_deref(), Some(text));
    }
}
