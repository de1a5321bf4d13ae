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
//! merged only when complete.
//!
//! ```text
//! membership   who is there, who is lost
//! queue        which run is active
//! work         a step's blocks: handing out, taking in, releasing
//! slow         duplicates of slow blocks
//! share        how blocks are split over workers
//! gather       what workers kept while their coordinator was gone
//! step         the state of one step
//! cover hands  its finished and its unfinished blocks
//! pace         how long a shard takes on whom
//! check        the invariants
//! planted      bugs for the simulation to catch
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};

mod check;
mod cover;
mod gather;
mod hands;
mod membership;
mod pace;
#[doc(hidden)]
pub mod planted;
mod queue;
mod share;
mod slow;
mod step;
#[cfg(test)]
mod tests;
mod work;

pub use gather::Gathering;
use membership::{Departure, Member};
use planted::Plant;
use queue::{Active, Queued};
use work::Finished;

/// Settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Silence after which a worker is lost.
    pub heartbeat_timeout: Duration,
    /// Workers that may die while running one shard before it fails the run.
    pub crash_limit: u32,
    /// Errors of one shard before it fails the run.
    pub shard_error_limit: u32,
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
            last_assignment: 0,
        }
    }
}

/// What the scheduler is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker has shaken hands.
    WorkerJoined {
        /// Its id, new for every connection.
        worker: WorkerId,
        /// Its process: the same after a reconnect.
        process: ProcessId,
        /// Shards that it runs at the same time.
        slots: u32,
    },
    /// Any bytes came from the worker.
    WorkerHeard {
        /// The worker.
        worker: WorkerId,
    },
    /// A heartbeat's news of one running assignment.
    Progress {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// Replicas that are running right now.
        running: Vec<u32>,
        /// Shards finished.
        shards_done: u32,
    },
    /// The worker takes no more work.
    WorkerDraining {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's connection is gone.
    WorkerGone {
        /// The worker.
        worker: WorkerId,
        /// Whether it said goodbye. If not, it crashed as far as anyone knows,
        /// unless its process comes back.
        goodbye: bool,
    },
    /// The worker gives an assignment back unfinished.
    HandedBack {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A run to queue.
    RunSubmitted {
        /// The run.
        run: RunId,
        /// Workers to wait for before it starts.
        min_workers: u32,
        /// What its first step waits for, where workers may have finished
        /// some of it.
        gathering: Option<Gathering>,
    },
    /// A run is cancelled.
    RunCancelled {
        /// The run.
        run: RunId,
    },
    /// The state of the next step of the active run is ready: its shards may
    /// be handed out.
    StepReady {
        /// The step.
        step: StepId,
        /// Its shards.
        replicas: u32,
    },
    /// A worker has opened the run, and has said what it kept of it.
    RunOpened {
        /// The worker.
        worker: WorkerId,
        /// The run.
        run: RunId,
    },
    /// A worker has finished a block (or offers it again after a reconnect).
    BlockDone {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Whether the partial came along: the worker's loss cannot lose it.
        inline: bool,
        /// Time it took.
        compute: Duration,
    },
    /// A shard failed on a worker.
    ShardFailed {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
        /// Whether trying again cannot help.
        fatal: bool,
        /// What went wrong.
        error: String,
    },
    /// A partial that was to be pulled is not there.
    PartialMissing {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// The step's partials are merged.
    StepMerged {
        /// The step.
        step: StepId,
    },
    /// The active run has no further step, or the driver has given it up.
    RunEnded {
        /// The run.
        run: RunId,
    },
}

/// A block of a complete step, and where its partial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The block.
    pub block: Block,
    /// The worker that keeps the partial; `None` where it came inline.
    pub holder: Option<WorkerId>,
}

/// What the scheduler wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The run is active: prepare it and say [`Event::StepReady`] for its
    /// first step.
    StartRun {
        /// The run.
        run: RunId,
    },
    /// Hand a block to a worker.
    Assign {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Tell a worker that an assignment is no longer needed.
    Revoke {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// Keep (`true`) or drop (`false`) the partial of a block that came
    /// inline. Said once for every inline [`Event::BlockDone`], before any
    /// other action that follows from it. It judges the message that has just
    /// come, never one that was kept before: what was kept stays until its
    /// step is merged or its run ends, because [`Action::Merge`] may name it.
    Inline {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// The verdict.
        keep: bool,
    },
    /// All shards are done: merge these partials, which cover every replica
    /// exactly once, in replica order. If said again for the same step, a
    /// holder was lost in between: go on with the new parts from where the
    /// merge stands.
    Merge {
        /// The step.
        step: StepId,
        /// The parts.
        parts: Vec<Part>,
    },
    /// Stop merging this step: a holder was lost. [`Action::Merge`] follows
    /// when the step is complete again.
    PauseMerge {
        /// The step.
        step: StepId,
    },
    /// The worker is lost: close its connection.
    Disconnect {
        /// The worker.
        worker: WorkerId,
        /// Why, for the log.
        reason: String,
    },
    /// The run has failed. It is no longer active; no `RunEnded` is needed.
    FailRun {
        /// The run.
        run: RunId,
        /// Which shard, which error, what to do.
        reason: String,
        /// The shard that failed it, if one did.
        shard: Option<(StepId, u32)>,
    },
    /// The cancelled run is no longer queued or active.
    RunCancelled {
        /// The run.
        run: RunId,
    },
    /// A partial was taken that its worker had finished before it lost its
    /// connection: these shards are not computed again.
    Offered {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// The block.
        block: Block,
    },
    /// Something that a person may want to know of a worker in the active run.
    Note {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// What happened.
        what: WorkerNote,
        /// More, in a sentence.
        detail: String,
    },
}

/// What happened to a worker during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerNote {
    /// It joined.
    Joined,
    /// It left, by its own will.
    Left,
    /// It was lost: its blocks go elsewhere.
    Lost,
    /// It is slow: a block of it is run twice.
    Slow,
    /// A shard failed on it.
    Failed,
    /// What it had to do goes to others.
    Reassigned,
    /// What it has done was done already.
    Duplicate,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    members: BTreeMap<WorkerId, Member>,
    queue: VecDeque<Queued>,
    active: Option<Active>,
    last_assignment: u64,
    actions: VecDeque<Action>,
    plant: Option<Plant>,
}

impl Scheduler {
    /// A scheduler without workers or runs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            active: None,
            last_assignment: config.last_assignment,
            actions: VecDeque::new(),
            plant: None,
        }
    }

    /// Takes in what happened.
    ///
    /// What a peer says may be late or wrong: news of unknown workers,
    /// assignments, steps and blocks changes nothing.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::WorkerJoined { worker, process, slots } => {
                self.worker_joined(now, worker, process, slots);
            }
            Event::WorkerHeard { worker } => self.heard(now, worker),
            Event::Progress { worker, assignment, running, shards_done } => {
                self.heard(now, worker);
                self.progress(worker, assignment, &running, shards_done);
            }
            Event::WorkerDraining { worker } => {
                self.heard(now, worker);
                self.worker_draining(worker);
            }
            Event::WorkerGone { worker, goodbye } => {
                let (how, reason) = match goodbye {
                    true => (Departure::Left, "it said goodbye"),
                    false => (Departure::Crashed, "its connection is gone"),
                };
                self.worker_gone(now, worker, how, reason);
            }
            Event::HandedBack { worker, assignment } => {
                self.heard(now, worker);
                self.handed_back(now, worker, assignment);
            }
            Event::RunSubmitted { run, min_workers, gathering } => {
                self.run_submitted(Queued { run, min_workers, gathering });
            }
            Event::RunCancelled { run } => self.run_cancelled(run),
            Event::RunOpened { worker, run } => {
                self.heard(now, worker);
                self.run_opened(now, worker, run);
            }
            Event::StepReady { step, replicas } => self.step_ready(now, step, replicas),
            Event::BlockDone { worker, step, block, inline, compute } => {
                self.heard(now, worker);
                self.block_done(now, Finished { worker, step, block, inline, compute });
            }
            Event::ShardFailed { worker, assignment, replica, fatal, error } => {
                self.heard(now, worker);
                self.shard_failed(now, (worker, assignment), replica, fatal, &error);
            }
            Event::PartialMissing { worker, step, block } => {
                self.heard(now, worker);
                self.partial_missing(now, worker, step, block);
            }
            Event::StepMerged { step } => self.step_merged(step),
            Event::RunEnded { run } => self.run_ended(run),
        }
    }

    /// Takes in that the time of [`Scheduler::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.lose_silent(now);
        self.end_gathering(now);
        self.duplicate_slow(now);
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Scheduler::handle_timeout`], if ever. May lie in the
    /// past: then at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [self.silence_deadline(), self.gathering_deadline(), self.slow_deadline()];
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
