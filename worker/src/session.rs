//! The worker's session with its coordinator. It decides which blocks to run next, which partials
//! to keep and to offer again, and when to leave. Pure: no I/O, no clock; it handles ids, never
//! tensors. Random numbers (the jitter of reconnecting) come from a seed.
//!
//! The driver passes [`Event`]s with the time. After *every* call of [`Session::handle_event`] or
//! [`Session::handle_timeout`] it drains [`Session::poll_action`] until `None`, and calls
//! [`Session::poll_timeout`] again.
//!
//! ```text
//! link     connecting, silence, backoff
//! work     assignments, from their arrival to a kept partial
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
use work::{Run, SessionBlock, Start};

/// Settings of the session.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig {
    /// Shards that may run at the same time, if memory allows.
    pub slots: u32,
    /// Seed of the jitter between attempts to connect.
    pub seed: u64,
    /// Most finished blocks that are kept, to be pulled or offered again, and that are offered at
    /// once. Those of the latest step are always kept: without them it could not end.
    pub kept_blocks: usize,
    /// Time limit for leaving in order, from [`Event::Drain`].
    pub drain_timeout: Duration,
}

/// An input of the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The coordinator has accepted the worker.
    Connected {
        /// Silence after which the coordinator counts as lost.
        heartbeat_timeout: Duration,
    },
    /// Connecting failed, or the connection was lost. Not emitted for a connection that
    /// [`Action::Disconnect`] closed.
    Disconnected,
    /// The coordinator refuses this worker: a retry does not help.
    Refused,
    /// Bytes were received from the coordinator.
    Heard,
    /// A run is open. At most `parallel` of its shards fit in memory at once.
    RunOpened {
        /// The run.
        run: RunId,
        /// Shards that fit in memory at once, at least 1.
        parallel: u32,
    },
    /// A run has ended: drop everything of it.
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
        /// Whether the start must be announced to the coordinator before any of its shards runs.
        confirm: bool,
    },
    /// The message of [`Action::SayStarted`] was written to the socket.
    StartSaid {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// An assignment is no longer needed.
    Revoked {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// The base state of a step has arrived completely.
    StateReady {
        /// The step.
        step: StepId,
    },
    /// The examples of an assignment are available.
    DataReady {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A shard has succeeded; the driver has inserted its partial into the block's merge tree.
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
        /// Whether a retry cannot help.
        fatal: bool,
        /// The error.
        error: String,
    },
    /// A shard has stopped on request.
    ShardStopped {
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
    },
    /// A kept partial that was to be pulled is missing: it must not be offered again.
    PartialLost {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// The step is merged: its partials and base can be dropped.
    StepDone {
        /// The step.
        step: StepId,
    },
    /// Leave in order (SIGTERM).
    Drain,
}

/// An output of the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Connect and perform the handshake.
    Connect,
    /// Close the connection: the coordinator is silent.
    Disconnect,
    /// Get the chunks of an assignment's examples, then emit `DataReady`.
    FetchData {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// Send `Started`, and emit [`Event::StartSaid`] once it is written to the socket.
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
    /// Send `Opened`: all kept blocks of the run have been offered.
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
    /// Drop an assignment's merge tree and data.
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
    config: SessionConfig,
    link: Link,
    runs: BTreeMap<RunId, Run>,
    /// Steps whose base state has arrived.
    states: BTreeSet<StepId>,
    /// Assignments, the oldest first.
    works: BTreeMap<AssignmentId, SessionBlock>,
    kept: Kept,
    leaving: Option<Leaving>,
    actions: VecDeque<Action>,
}

impl Session {
    /// A session that is about to connect: [`Action::Connect`] is the first action of
    /// [`Session::poll_action`], before any event.
    pub fn new(config: SessionConfig) -> Self {
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

    /// Processes an event.
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

    /// Processes the timeout of [`Session::poll_timeout`].
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

    /// The next action, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Session::handle_timeout`], if ever. A time in the past means now.
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

    /// Checks all invariants; the error names the violated one.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }
}
