//! The worker's session with its coordinator: what to run next, what to keep,
//! what to offer again, when to leave. Pure: no I/O, no clock; it moves ids,
//! never tensors. Randomness (the jitter of reconnecting) comes from a seed.
//!
//! The driver feeds [`Event`]s with the time, and after *every* call of
//! [`Session::handle_event`] or [`Session::handle_timeout`] drains
//! [`Session::poll_action`] to `None` and asks [`Session::poll_timeout`] anew.
//!
//! ```text
//! link     connecting, silence, backoff
//! work     assignments, from being handed out to a kept partial
//! kept     partials of finished blocks, until their step is merged
//! leave    draining
//! check    the invariants
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use common::id::{AssignmentId, Block, RunId, StepId};

mod check;
mod kept;
mod leave;
mod link;
#[cfg(test)]
mod tests;
mod work;

use kept::Kept;
use leave::Leaving;
use link::{Link, Silence};
use work::{Run, Start, Work};

/// Settings of the session.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Shards that may run at the same time, if memory allows.
    pub slots: u32,
    /// Seed of the jitter between tries to connect.
    pub seed: u64,
    /// Finished blocks that are kept at most, to be pulled or offered again, and
    /// that are offered at once. Those of the latest step are never given up:
    /// without them it could not end.
    pub kept_blocks: usize,
    /// Longest time to leave in order, from [`Event::Drain`].
    pub drain_timeout: Duration,
}

/// What the session is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The coordinator has accepted the worker.
    Connected {
        /// Silence after which the coordinator counts as lost.
        heartbeat_timeout: Duration,
    },
    /// Connecting failed, or the connection is gone. Not said of a connection
    /// that [`Action::Disconnect`] closed.
    Disconnected,
    /// The coordinator refuses this worker: trying again is of no use.
    Refused,
    /// Any bytes came from the coordinator.
    Heard,
    /// A run is open. At most `parallel` of its shards fit in memory at once.
    RunOpened {
        /// The run.
        run: RunId,
        /// Shards that fit in memory at once, at least 1.
        parallel: u32,
    },
    /// A run is over: forget all of it.
    RunClosed {
        /// The run.
        run: RunId,
    },
    /// A block to process, in a step of `replicas` shards.
    Assigned {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Shards of the step.
        replicas: u32,
        /// Whether the coordinator is to be told before any of its shards runs.
        confirm: bool,
    },
    /// What [`Action::SayStarted`] says of the assignment is on its way.
    StartSaid {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// An assignment is no longer needed.
    Revoked {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// The base state of a step has arrived whole.
    StateReady {
        /// The step.
        step: StepId,
    },
    /// The examples of an assignment are at hand.
    DataReady {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A shard has ended well; the driver has put its partial in the block's
    /// merge tree.
    ShardDone {
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
    },
    /// A shard has failed or panicked.
    ShardFailed {
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
        /// Whether trying again cannot help.
        fatal: bool,
        /// What went wrong.
        error: String,
    },
    /// A shard has stopped because it was told to.
    ShardStopped {
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
    },
    /// A kept partial was to be pulled and is not there: it is not to be
    /// offered again.
    PartialLost {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// The step is merged: its partials and base may go.
    StepDone {
        /// The step.
        step: StepId,
    },
    /// Leave as soon as nothing is lost by it (SIGTERM).
    Drain,
}

/// What the session wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Connect and shake hands.
    Connect,
    /// Close the connection: the coordinator is silent.
    Disconnect,
    /// Get the chunks of an assignment's examples, then say `DataReady`.
    FetchData {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Send `Started`, and say [`Event::StartSaid`] once it is written to the
    /// socket.
    SayStarted {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// Run a shard on the pool.
    RunShard {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The replica.
        replica: u32,
    },
    /// Tell the running shards of an assignment to stop.
    StopShards {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// All shards of the assignment are done: finish its partial, keep it and,
    /// if connected, send `BlockDone`. If not, [`Action::Offer`] follows in
    /// time.
    FinishBlock {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Send `Opened`: whatever was kept of the run is offered.
    SayOpened {
        /// The run.
        run: RunId,
    },
    /// Send `BlockDone` of a kept partial again.
    Offer {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Send `ShardFailed` and forget the assignment.
    ReportFailure {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The replica.
        replica: u32,
        /// Whether trying again cannot help.
        fatal: bool,
        /// What went wrong.
        error: String,
    },
    /// Drop whatever is held of an assignment: its merge tree and data.
    DropAssignment {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// Drop a kept partial.
    DropPartial {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Drop the base state of a step.
    DropState {
        /// The step.
        step: StepId,
    },
    /// Send `HandedBack`.
    HandBack {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// Send `Draining`.
    SayDraining,
    /// Send `Goodbye`, close, and exit 0.
    Leave,
    /// Exit with the code of a refusal.
    GiveUp,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Session {
    config: Config,
    link: Link,
    runs: BTreeMap<RunId, Run>,
    /// Steps whose base state is here.
    states: BTreeSet<StepId>,
    /// Assignments, the oldest first.
    works: BTreeMap<AssignmentId, Work>,
    kept: Kept,
    leaving: Option<Leaving>,
    actions: VecDeque<Action>,
}

impl Session {
    /// A session that is about to connect: [`Action::Connect`] is the first
    /// thing that [`Session::poll_action`] gives, before any event.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            link: Link::new(config.seed),
            runs: BTreeMap::new(),
            states: BTreeSet::new(),
            works: BTreeMap::new(),
            kept: Kept::default(),
            leaving: None,
            actions: VecDeque::from([Action::Connect]),
        }
    }

    /// Takes in what happened.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if self.is_over() {
            return;
        }
        match event {
            Event::Connected { heartbeat_timeout } => {
                self.link.connected(now, heartbeat_timeout);
            }
            Event::Disconnected => self.disconnected(now),
            Event::Refused => self.give_up(),
            Event::Heard => self.link.heard(now),
            Event::RunOpened { run, parallel } => self.run_opened(run, parallel),
            Event::RunClosed { run } => self.run_closed(run),
            Event::Assigned { assignment, step, block, replicas, confirm } => {
                let start = if confirm { Start::ToSay } else { Start::Free };
                self.assigned(now, assignment, step, block, replicas, start);
            }
            Event::StartSaid { assignment } => self.start_said(assignment),
            Event::Revoked { assignment } => self.stop(assignment),
            Event::StateReady { step } => self.state_ready(step),
            Event::DataReady { assignment } => self.data_ready(assignment),
            Event::ShardDone { assignment, replica } => self.shard_done(assignment, replica),
            Event::ShardFailed { assignment, replica, fatal, error } => {
                self.shard_failed(assignment, replica, fatal, error);
            }
            Event::ShardStopped { assignment, replica } => self.shard_stopped(assignment, replica),
            Event::PartialLost { step, block } => self.drop_kept(|it| it == (step, block)),
            Event::StepDone { step } => self.step_done(step),
            Event::Drain => self.drain(now),
        }
        self.run_shards();
        self.leave_when_done(now);
    }

    /// Takes in that the time of [`Session::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        if self.link.is_due(now) {
            self.actions.push_back(Action::Connect);
        }
        if self.link.silence(now) == Silence::Lost {
            self.actions.push_back(Action::Disconnect);
            self.disconnected(now);
        }
        self.leave_when_done(now);
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Session::handle_timeout`], if ever. May lie in the past:
    /// then at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        self.link.deadline().into_iter().chain(self.leave_deadline()).min()
    }

    /// Running assignments: replicas running now, and shards done.
    pub fn progress(&self) -> Vec<(AssignmentId, Vec<u32>, u32)> {
        let running = self.works.iter().filter(|(_, work)| work.is_begun() && work.is_wanted());
        running.map(|(id, work)| (*id, work.running.iter().copied().collect(), work.done)).collect()
    }

    /// Checks all invariants; the message says which one is broken.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }
}
