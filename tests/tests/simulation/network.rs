//! Connections in virtual time. Inside one connection and direction messages
//! keep their order, as TCP sees to; between connections anything goes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId};

use super::context::{Context, Event};
use super::faults::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToWorker,
    ToCoordinator,
}

/// Which replicas of which step a partial holds: what stands for its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) step: StepId,
    pub(super) replicas: Vec<u32>,
}

/// News of a finished block.
#[derive(Clone, Debug)]
pub(super) struct BlockDone {
    pub(super) step: StepId,
    pub(super) block: Block,
    pub(super) compute: Duration,
    pub(super) inline: Option<Partial>,
    /// Shards with wrong bits, and which: the right ones are 0.
    pub(super) wrong: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    // To the coordinator.
    Hello { process: ProcessId, slots: u32 },
    Beat(Vec<(AssignmentId, Vec<u32>, u32)>),
    Opened(RunId),
    Cannot(RunId),
    BlockDone(BlockDone),
    ShardFailed { assignment: AssignmentId, replica: u32, fatal: bool, error: String },
    Started(AssignmentId),
    HandedBack(AssignmentId),
    Segment { block: Block, segment: u32, partial: Partial },
    Missing { step: StepId, block: Block },
    Draining,
    Goodbye,
    HangsUp,
    // To the worker.
    Welcome,
    CoordinatorBeat,
    OpenRun(RunId),
    CloseRun(RunId),
    State(StepId),
    Assign { assignment: AssignmentId, step: StepId, block: Block, replicas: u32, confirm: bool },
    Revoke(AssignmentId),
    Pull { step: StepId, block: Block, segment: u32 },
    StepDone(StepId),
    // Either way: nothing follows.
    Closed,
}

#[derive(Debug, Default)]
struct Pipe {
    waiting: VecDeque<(u64, Message)>,
    /// When the last message will arrive: no later one arrives before.
    last: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) process: usize,
    /// Which incarnation of the process it belongs to.
    pub(super) incarnation: u64,
    to_worker: Pipe,
    to_coordinator: Pipe,
    /// Until when it is slow.
    slow_until: u64,
}

impl Connection {
    fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::ToWorker => &mut self.to_worker,
            Direction::ToCoordinator => &mut self.to_coordinator,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    last_id: u64,
    /// Until when nothing gets through to, and from, a process.
    blocked: BTreeMap<usize, (u64, u64)>,
    /// When the message that was delivered last had been sent.
    last_sent: u64,
}

impl Network {
    pub(super) fn connect(&mut self, process: usize, incarnation: u64) -> ConnectionId {
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let (to_worker, to_coordinator) = Default::default();
        let connection =
            Connection { process, incarnation, to_worker, to_coordinator, slow_until: 0 };
        self.connections.insert(id, connection);
        id
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// Lets nothing through to a process until `to`, and from it until `from`.
    pub(super) fn block(&mut self, process: usize, to: u64, from: u64) {
        self.blocked.insert(process, (to, from));
    }

    pub(super) fn heal(&mut self) {
        self.blocked.clear();
        self.connections.values_mut().for_each(|connection| connection.slow_until = 0);
    }

    pub(super) fn slow_down(&mut self, id: ConnectionId, until: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.slow_until = until;
        }
    }

    /// Loses what is under way on a connection.
    pub(super) fn lose(&mut self, id: ConnectionId, direction: Direction) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.pipe(direction).waiting.clear();
        }
    }

    fn blocked_until(&self, id: ConnectionId, direction: Direction) -> u64 {
        let process = self.connections.get(&id).map(|connection| connection.process);
        let blocked = process.and_then(|process| self.blocked.get(&process));
        match (blocked, direction) {
            (Some((to, _)), Direction::ToWorker) => *to,
            (Some((_, from)), Direction::ToCoordinator) => *from,
            (None, _) => 0,
        }
    }
}

impl Context {
    /// Sends a message; it arrives after those sent before on this connection.
    pub(super) fn send(&mut self, id: ConnectionId, direction: Direction, message: Message) {
        let usual = 20 + self.random.within(0..2000);
        let now = self.now;
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let slow = if connection.slow_until > now { self.random.within(0..1_500_000) } else { 0 };
        let pipe = connection.pipe(direction);
        pipe.last = pipe.last.max(now + usual + slow);
        pipe.waiting.push_back((now, message));
        let wait = pipe.last - now;
        self.after(wait, Event::Deliver(id, direction));
    }

    /// The message that arrives now, if it is not held up.
    pub(super) fn receive(&mut self, id: ConnectionId, direction: Direction) -> Option<Message> {
        let blocked = self.network.blocked_until(id, direction);
        if blocked > self.now {
            self.after(blocked - self.now, Event::Deliver(id, direction));
            return None;
        }
        let connection = self.network.connections.get_mut(&id)?;
        let (sent, message) = connection.pipe(direction).waiting.pop_front()?;
        if sent < self.network.last_sent {
            self.faults.fired(Fault::Reorder);
        }
        self.network.last_sent = sent;
        Some(message)
    }
}
