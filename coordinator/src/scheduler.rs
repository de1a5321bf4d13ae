//! The scheduler decides which worker does which work, which workers are lost, and when a step
//! is complete. Pure: no I/O, no clock, no randomness; it handles ids, never tensors.
//!
//! The driver passes [`Event`]s with the time. After *every* call of
//! [`Scheduler::handle_event`], [`Scheduler::block_done`] or
//! [`Scheduler::handle_timeout`] it drains [`Scheduler::poll_action`] until `None`, and calls
//! [`Scheduler::poll_timeout`] again.
//!
//! Invariants ([`Scheduler::check`]): every (step, replica) enters the merge exactly once; no
//! shard is lost while any worker is alive; a step is merged only when it is complete, and when
//! two processes have answered its audited shards, if there are two.
//!
//! ```text
//! event            inputs and outputs: events and actions
//! reason           why it does something, as data without sentences
//! membership       workers that join, leave or are lost
//! suspicion        lifts the suspicion that a shard killed a worker
//! queue            which run is active
//! work             a step's blocks: assignment, completion, release
//! failure          failures of workers
//! slow             duplicates of slow blocks
//! audit            second results of shards, by another process
//! share            how blocks are divided among workers
//! aside            workers without work for a while, after repeated failures
//! rejoin           the wait for kept blocks after a restart
//! unfit            workers that cannot work on the active run
//! state            the state that the files above share
//! active           the active run, and the queued runs
//! member           a connected worker
//! standing         recent failures of processes
//! step             the state of one step
//! completed_set    its finished blocks
//! in_flight        its assignments
//! failure_record   failures of its replicas
//! deaths           workers lost in it, and which were lost together
//! second_answers   its shards that lack a second result
//! throughput       how long a shard takes on each worker
//! check            the invariants
//! injected_bugs    bugs for the simulation to catch
//! ```

use std::time::Instant;

use common::id::WorkerId;
use common::worker_event::WorkerEvent;

mod active;
mod aside;
mod audit;
mod check;
mod completed_set;
mod deaths;
mod event;
mod failure;
mod failure_record;
mod in_flight;
#[doc(hidden)]
pub mod injected_bugs;
mod member;
mod membership;
mod queue;
mod reason;
mod rejoin;
mod second_answers;
mod share;
mod slow;
mod standing;
mod state;
mod step;
mod suspicion;
#[cfg(test)]
mod tests;
mod throughput;
mod unfit;
mod work;

use active::Queued;
pub use event::{Action, BlockDone, Departure, Event, PartialRef, RejoinWait, Verdict};
pub use reason::{Detail, LossReason, RunFailure, UnauditedReason};
pub use state::{Scheduler, SchedulerConfig};

impl Scheduler {
    /// Processes an event.
    ///
    /// A peer's message may be late or wrong: events about unknown workers, assignments, steps
    /// and blocks change nothing.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        // A worker that was silent for long gets work again, but only after this event, which
        // may say that it has done the work, or that it cannot work or is leaving.
        match event {
            Event::WorkerJoined { worker, process, slots } => {
                self.worker_joined(now, worker, process, slots);
            }
            Event::WorkerHeard { worker } => self.heard(now, worker),
            Event::WasAway => self.was_away(now),
            Event::Started { worker, assignment } => {
                self.heard(now, worker);
                self.started(worker, assignment);
            }
            Event::Progress { worker, assignment, running, shards_done } => {
                self.heard(now, worker);
                self.progress(worker, assignment, &running, shards_done);
            }
            Event::WorkerDraining { worker } => {
                self.worker_draining(worker);
                self.heard(now, worker);
                self.hand_out(now);
            }
            Event::WorkerGone { worker, how, reason } => {
                self.worker_gone(now, worker, how, Detail::Text(reason));
            }
            Event::HandedBack { worker, assignment } => {
                self.handed_back(now, worker, assignment);
                self.heard(now, worker);
            }
            Event::RunSubmitted { run, min_workers, rejoin_wait } => {
                self.run_submitted(Queued { run, min_workers, rejoin_wait });
            }
            Event::RunCancelled { run } => self.run_cancelled(run),
            Event::RunOpened { worker, run } => {
                self.heard(now, worker);
                self.run_opened(now, worker, run);
            }
            Event::WorkerCannot { worker, run, reason } => {
                self.worker_cannot(now, worker, run, reason);
                self.heard(now, worker);
            }
            Event::StepReady { step, replicas, audited } => {
                self.step_ready(now, step, replicas, audited);
            }
            Event::ShardFailed { worker, assignment, replica, fatal, error } => {
                self.heard(now, worker);
                self.shard_failed(now, (worker, assignment), replica, fatal, &error);
            }
            Event::PartialMissing { worker, step, block } => {
                self.heard(now, worker);
                self.partial_missing(now, worker, step, block);
            }
            Event::PartialAltered { worker, step, block, error } => {
                self.partial_altered(now, worker, (step, block), &error);
                self.heard(now, worker);
            }
            Event::StepMerged { step } => self.step_merged(step),
            Event::RunEnded { run } => self.run_ended(run),
        }
    }

    /// Takes in a finished block, and says whether to keep what came with it. The only
    /// call that gives an answer: the driver holds the partial until then. Actions are
    /// to be drained as after [`Scheduler::handle_event`].
    pub fn block_done(&mut self, now: Instant, done: BlockDone) -> Verdict {
        let verdict = self.take_block(now, done);
        self.heard(now, done.worker);
        verdict
    }

    /// Processes the timeout of [`Scheduler::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.lose_silent(now);
        self.fail_on_crashes(now);
        self.end_rejoin_wait(now);
        self.duplicate_slow(now);
        self.end_overdue_audits(now);
    }

    /// The next action, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Scheduler::handle_timeout`], if ever. A time in the past means now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.silence_deadline(),
            self.crashes_deadline(),
            self.rejoin_deadline(),
            self.slow_deadline(),
            self.audit_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Checks all invariants; the error names the violated one.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }

    /// Reports an event of a worker for people, if a run is active.
    fn note(&mut self, worker: WorkerId, what: WorkerEvent, detail: Detail) {
        if let Some(active) = &self.active {
            let run = active.run;
            self.actions.push_back(Action::Note { run, worker, what, detail });
        }
    }
}
