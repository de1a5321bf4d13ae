//! The scheduler: decides who works on what, who is lost, and when a step is
//! complete. Pure: no I/O, no clock, no randomness; it moves ids, never
//! tensors.
//!
//! The driver feeds [`Event`]s with the time, and after *every* call of
//! [`Scheduler::handle_event`] or [`Scheduler::handle_timeout`] drains
//! [`Scheduler::poll_action`] to `None` and asks [`Scheduler::poll_timeout`]
//! anew.
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
//! standing        who fails again and again
//! gather          what workers kept while their coordinator was gone
//! unfit           who cannot work on the active run
//! member          what is known of a worker
//! step            the state of one step
//! cover hands     its finished and its unfinished blocks
//! trouble         what went wrong with its replicas
//! deaths          who was lost in it, and who together
//! second_answers  which of its shards lack one
//! pace            how long a shard takes on whom
//! check           the invariants
//! planted         bugs for the simulation to catch
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::id::WorkerId;

mod acquittal;
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
mod step;
#[cfg(test)]
mod tests;
mod trouble;
mod unfit;
mod work;

pub use event::{Action, Departure, Event, Part, WorkerNote};
pub use gather::Gathering;
use member::Member;
use queue::{Active, Queued};
use standing::Standings;
use work::Finished;

/// Settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Silence after which a worker is lost.
    pub heartbeat_timeout: Duration,
    /// Workers that may die of one shard, each of which had said that it begins it
    /// and had nothing else, before it fails the run.
    pub crash_limit: u32,
    /// Errors of one shard before it fails the run.
    pub shard_error_limit: u32,
    /// Blocks that a worker has in hands at one time, at least 1.
    pub assignments: usize,
    /// Assignments are numbered from the next one on. A coordinator that takes
    /// another's place begins above all that workers may still have at work.
    pub last_assignment: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_timeout: common::limits::HEARTBEAT_TIMEOUT,
            crash_limit: common::limits::CRASH_LIMIT,
            shard_error_limit: common::limits::SHARD_ERROR_LIMIT,
            assignments: common::limits::ASSIGNMENTS,
            last_assignment: 0,
        }
    }
}

impl Config {
    /// Blocks that a worker may be given beside so many. None before it has ended
    /// half of the most that it may have: to hand out is work, and so is done for
    /// many at once.
    fn room_beside(&self, blocks: usize) -> usize {
        let most = self.assignments.max(1);
        if blocks <= most / 2 { most - blocks } else { 0 }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    members: BTreeMap<WorkerId, Member>,
    queue: VecDeque<Queued>,
    active: Option<Active>,
    standings: Standings,
    last_assignment: u64,
    actions: VecDeque<Action>,
    #[cfg(any(test, feature = "planted"))]
    plant: Option<planted::Plant>,
}

impl Scheduler {
    /// A scheduler without workers or runs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            active: None,
            standings: Standings::default(),
            last_assignment: config.last_assignment,
            actions: VecDeque::new(),
            #[cfg(any(test, feature = "planted"))]
            plant: None,
        }
    }

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
            Event::BlockDone { worker, step, block, inline, compute } => {
                self.block_done(now, Finished { worker, step, block, inline, compute });
                self.heard(now, worker);
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
