//! The scheduler: decides who works on what, who is lost, and when a step is
//! complete. Pure: no I/O, no clock, no randomness; it moves ids, never
//! tensors.
//!
//! The driver feeds [`Event`]s with the time, and after *every* call of
//! [`Scheduler::handle_event`], [`Scheduler::block_done`] or
//! [`Scheduler::handle_timeout`] drains [`Scheduler::poll_action`] to `None` and asks
//! [`Scheduler::poll_timeout`] again.
//!
//! What always holds ([`Scheduler::check`]): every (step, replica) enters the
//! merge exactly once; no shard is lost while any worker lives; a step is
//! merged only when complete, and two processes have answered what is audited
//! of it, as far as there are two.
//!
//! ```text
//! event           what it is told, and what it wants done
//! membership      who is there, who is lost
//! acquittal       who did not die of a shard after all
//! queue           which run is active
//! work            a step's blocks: handing out, taking in, releasing
//! failure         what workers fail at
//! slow            duplicates of slow blocks
//! audit           second answers of shards, by another process
//! share           how blocks are split over workers
//! aside           who gets nothing for a while, as it fails again and again
//! gather          what workers kept while their coordinator was gone
//! unfit           who cannot work on the active run
//! state           what all these decide by
//! active          the run that is worked on, and those that wait
//! member          what is known of a worker
//! standing        how often its process failed lately
//! step            the state of one step
//! cover hands     its finished and its unfinished blocks
//! trouble         what went wrong with its replicas
//! deaths          who was lost in it, and who together
//! second_answers  which of its shards lack one
//! pace            how long a shard takes on whom
//! check           the invariants
//! planted         bugs for the simulation to catch
//! ```

use std::time::Instant;

use common::id::WorkerId;

mod acquittal;
mod active;
mod aside;
mod audit;
mod check;
mod cover;
mod deaths;
mod event;
mod failure;
mod gather;
mod hands;
mod member;
mod membership;
mod pace;
#[doc(hidden)]
pub mod planted;
mod queue;
mod second_answers;
mod share;
mod slow;
mod standing;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod trouble;
mod unfit;
mod work;

use active::Queued;
pub use event::{Action, BlockDone, Departure, Event, Gathering, Part, Verdict, WorkerNote};
pub use state::{Config, Scheduler};

impl Scheduler {
    /// Takes in what happened.
    ///
    /// What a peer says may be late or wrong: news of unknown workers,
    /// assignments, steps and blocks changes nothing.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        // Who was not heard for long is given work again: after the news, where these may be
        // that it has done that work, or that it cannot or does not want to.
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
                self.worker_gone(now, worker, how, &reason);
            }
            Event::HandedBack { worker, assignment } => {
                self.handed_back(now, worker, assignment);
                self.heard(now, worker);
            }
            Event::RunSubmitted { run, min_workers, gathering } => {
                self.run_submitted(Queued { run, min_workers, gathering });
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

    /// Takes in that the time of [`Scheduler::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.lose_silent(now);
        self.fail_on_crashes(now);
        self.end_gathering(now);
        self.duplicate_slow(now);
        self.end_overdue_audits(now);
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Scheduler::handle_timeout`], if ever. May lie in the
    /// past: then at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.silence_deadline(),
            self.crashes_deadline(),
            self.gathering_deadline(),
            self.slow_deadline(),
            self.audit_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Checks all invariants; the message says which one is broken.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }

    /// Tells a person about a worker, if a run is active.
    fn note(&mut self, worker: WorkerId, what: WorkerNote, detail: String) {
        if let Some(active) = &self.active {
            let run = active.run;
            self.actions.push_back(Action::Note { run, worker, what, detail });
        }
    }
}
