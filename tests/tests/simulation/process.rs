//! A worker's process without sockets, threads or tensors: the session and
//! the least that a driver does for it.

mod acts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId};
use worker::session::{self, Action, Session};

use super::context::{Context, Event, ProcessEvent};
use super::faults::Fault;
use super::network::{BlockDone, ConnectionId, Direction, Message, Partial};

/// Finished results that a faulty network may deliver once more.
const HISTORY: usize = 8;

/// Longest time that a worker takes to leave in order, as the real one's.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// What a worker's machine is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) slots: u32,
    /// Shards that fit in memory.
    pub(super) parallel: u32,
    /// Microseconds a shard, at most.
    pub(super) shard_time: u64,
    /// Results of so many in a thousand blocks ride along inline.
    pub(super) inline: u64,
    pub(super) heartbeat_timeout: Duration,
    /// So many in a thousand shards come out with wrong bits.
    pub(super) faulty: u64,
    /// The run that it cannot work on: its build lacks the model.
    pub(super) lacks: Option<RunId>,
}

/// Shards that are wrong, the same for all workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Wrongs {
    /// Kills its worker.
    pub(super) poison: Option<(StepId, u32)>,
    /// Gives an error, always or only once.
    pub(super) broken: Option<(StepId, u32)>,
    pub(super) is_fatal: bool,
    pub(super) flaky: BTreeSet<(StepId, u32)>,
}

/// What a process does that concerns the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    Dies,
}

#[derive(Debug)]
struct Tree {
    step: StepId,
    block: Block,
    began: u64,
    done: BTreeSet<u32>,
    has_data: bool,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) index: usize,
    pub(super) incarnation: u64,
    pub(super) machine: Machine,
    session: Session,
    pub(super) is_alive: bool,
    /// Whether it has left for good.
    pub(super) has_left: bool,
    /// Events that wait for a stopped process to go on.
    pub(super) stopped: Option<Vec<Event>>,
    pub(super) connection: Option<ConnectionId>,
    is_welcome: bool,
    trees: BTreeMap<AssignmentId, Tree>,
    running: BTreeSet<(AssignmentId, u32)>,
    states: BTreeSet<StepId>,
    kept: BTreeMap<(StepId, Block), BlockDone>,
    /// Kept partials that are not there any more.
    lost: BTreeSet<(StepId, Block)>,
    replicas: BTreeMap<StepId, u32>,
    history: VecDeque<BlockDone>,
    armed: Option<std::time::Instant>,
}

impl Process {
    /// A process that has just been started.
    pub(super) fn start(
        context: &mut Context,
        index: usize,
        incarnation: u64,
        machine: Machine,
    ) -> Self {
        let config = session::SessionConfig {
            slots: machine.slots,
            seed: context.random.next(),
            kept_blocks: 4,
            drain_timeout: DRAIN_TIMEOUT,
        };
        let mut process = Self {
            index,
            incarnation,
            machine,
            session: Session::new(config),
            is_alive: true,
            has_left: false,
            stopped: None,
            connection: None,
            is_welcome: false,
            trees: BTreeMap::new(),
            running: BTreeSet::new(),
            states: BTreeSet::new(),
            kept: BTreeMap::new(),
            lost: BTreeSet::new(),
            replicas: BTreeMap::new(),
            history: VecDeque::new(),
            armed: None,
        };
        process.perform(context);
        process.plan(context, 1_000_000, ProcessEvent::Beat);
        process
    }

    fn plan(&self, context: &mut Context, wait: u64, event: ProcessEvent) {
        context.after(wait, Event::Process(self.index, self.incarnation, event));
    }

    pub(super) fn tell(&mut self, context: &mut Context, event: session::Event) {
        self.session.handle_event(context.instant(), event);
        self.perform(context);
    }

    pub(super) fn on_event(
        &mut self,
        context: &mut Context,
        event: ProcessEvent,
        wrongs: &mut Wrongs,
    ) -> Fate {
        match event {
            ProcessEvent::SessionTimer => {
                self.armed = None;
                let now = context.instant();
                if self.session.poll_timeout().is_some_and(|due| due <= now) {
                    self.session.handle_timeout(now);
                }
                self.perform(context);
            }
            ProcessEvent::Beat => {
                let progress = self.session.progress();
                self.say(context, Message::Beat(progress));
                self.plan(context, 1_000_000, ProcessEvent::Beat);
            }
            ProcessEvent::HandshakeTimeout(connection) => {
                if self.connection == Some(connection) && !self.is_welcome {
                    context.send(connection, Direction::ToCoordinator, Message::Closed);
                    self.connection = None;
                    self.tell(context, session::Event::Disconnected);
                }
            }
            ProcessEvent::DataReady(assignment) => {
                if let Some(tree) = self.trees.get_mut(&assignment) {
                    tree.has_data = true;
                    self.tell(context, session::Event::DataReady { assignment });
                }
            }
            ProcessEvent::StartSaid(assignment) => {
                self.tell(context, session::Event::StartSaid { assignment });
            }
            ProcessEvent::ShardEnds(assignment, replica) => {
                return self.shard_ends(context, assignment, replica, wrongs);
            }
            ProcessEvent::ShardStops(assignment, replica) => {
                if self.running.remove(&(assignment, replica)) {
                    self.tell(context, session::Event::ShardStopped { assignment, replica });
                }
            }
        }
        Fate::Lives
    }

    fn shard_ends(
        &mut self,
        context: &mut Context,
        assignment: AssignmentId,
        replica: u32,
        wrongs: &mut Wrongs,
    ) -> Fate {
        if !self.running.remove(&(assignment, replica)) {
            return Fate::Lives;
        }
        let Some(tree) = self.trees.get_mut(&assignment) else {
            context.ensure(false, || format!("{assignment} was dropped while it ran"));
            return Fate::Lives;
        };
        let shard = (tree.step, replica);
        if wrongs.poison == Some(shard) {
            context.faults.fired(Fault::Poison);
            return Fate::Dies;
        }
        let is_broken = wrongs.broken == Some(shard);
        if is_broken || wrongs.flaky.remove(&shard) {
            context.faults.fired(Fault::ShardError);
            let fatal = is_broken && wrongs.is_fatal;
            let error = "the weights are not finite".to_owned();
            self.tell(context, session::Event::ShardFailed { assignment, replica, fatal, error });
            return Fate::Lives;
        }
        let is_new = tree.done.insert(replica);
        context.ensure(is_new, || format!("{assignment} ran replica {replica} twice"));
        self.tell(context, session::Event::ShardDone { assignment, replica });
        Fate::Lives
    }

    /// A message from the coordinator.
    pub(super) fn on_message(&mut self, context: &mut Context, message: Message) {
        let event = match message {
            Message::Welcome => {
                self.is_welcome = true;
                let heartbeat_timeout = self.machine.heartbeat_timeout;
                session::Event::Connected { heartbeat_timeout }
            }
            Message::Closed => {
                self.connection = None;
                session::Event::Disconnected
            }
            other => {
                self.tell(context, session::Event::Heard);
                match self.heard(context, other) {
                    Some(event) => event,
                    None => return,
                }
            }
        };
        self.tell(context, event);
    }

    fn heard(&mut self, context: &mut Context, message: Message) -> Option<session::Event> {
        match message {
            Message::CoordinatorBeat => None,
            Message::OpenRun(run) if self.machine.lacks == Some(run) => {
                self.say(context, Message::Cannot(run));
                None
            }
            // Sent before the coordinator knew.
            Message::State(StepId { run, .. })
            | Message::Assign { step: StepId { run, .. }, .. }
                if self.machine.lacks == Some(run) =>
            {
                None
            }
            Message::OpenRun(run) => {
                Some(session::Event::RunOpened { run, parallel: self.machine.parallel })
            }
            Message::CloseRun(run) => Some(session::Event::RunClosed { run }),
            Message::State(step) => {
                self.states.insert(step);
                Some(session::Event::StateReady { step })
            }
            Message::Assign { assignment, step, block, replicas, confirm } => {
                self.replicas.insert(step, replicas);
                Some(session::Event::Assigned { assignment, step, block, replicas, confirm })
            }
            Message::Revoke(assignment) => Some(session::Event::Revoked { assignment }),
            Message::Pull { step, block, segment } => {
                self.pulled(context, step, block, segment);
                None
            }
            Message::StepDone(step) => Some(session::Event::StepDone { step }),
            other => {
                context.ensure(false, || format!("the coordinator said {other:?}"));
                None
            }
        }
    }

    fn pulled(&mut self, context: &mut Context, step: StepId, block: Block, segment: u32) {
        let is_here = self.kept.contains_key(&(step, block));
        if is_here && !self.lost.contains(&(step, block)) {
            let partial = self.partial(step, block);
            self.say(context, Message::Segment { block, segment, partial });
        } else {
            context.faults.fired(Fault::PartialLost);
            self.say(context, Message::Missing { step, block });
            self.tell(context, session::Event::PartialLost { step, block });
        }
    }

    /// What the true result of a block is.
    fn partial(&self, step: StepId, block: Block) -> Partial {
        let replicas = block.replicas(self.replicas.get(&step).copied().unwrap_or(0));
        Partial { step, replicas: replicas.collect() }
    }

    fn say(&mut self, context: &mut Context, message: Message) {
        if let Some(connection) = self.connection.filter(|_| self.is_welcome) {
            context.send(connection, Direction::ToCoordinator, message);
        }
    }

    fn perform(&mut self, context: &mut Context) {
        while let Some(action) = self.session.poll_action() {
            self.act(context, action);
        }
        let checked = self.session.check();
        context.ensure(checked.is_ok(), || checked.clone().err().unwrap_or_default());
        let most = self.machine.slots.min(self.machine.parallel) as usize;
        context.ensure(self.running.len() <= most, || format!("more than {most} shards run"));
        if let Some(due) = self.session.poll_timeout()
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            let event = ProcessEvent::SessionTimer;
            context.at(due, Event::Process(self.index, self.incarnation, event));
        }
    }

    /// Sends a result of the past once more. Says whether it could.
    pub(super) fn say_again(&mut self, context: &mut Context) -> bool {
        let at = context.random.within(0..self.history.len() as u64) as usize;
        let done = self.history.get(at).cloned().filter(|_| self.is_connected());
        let can = done.is_some();
        if let Some(done) = done {
            self.say(context, Message::BlockDone(done));
        }
        can
    }

    /// Loses the partials that are kept now: the session believes that they
    /// are there, the driver knows better.
    pub(super) fn lose_partials(&mut self) {
        self.lost.extend(self.kept.keys().copied());
    }

    /// Says what makes no sense. Says whether it could.
    pub(super) fn say_nonsense(&mut self, context: &mut Context, step: StepId) -> bool {
        let level = context.random.within(0..256) as u8;
        let index = context.random.next() as u32 | 1 << 20;
        let block = Block { level, index };
        let (run, assignment) = (RunId(context.random.within(90..99)), AssignmentId(u64::MAX));
        let other = StepId { run, index: context.random.next() };
        let inline = Some(Partial { step, replicas: vec![u32::MAX] });
        let compute = Duration::MAX;
        let error = "é".repeat(3000);
        let nonsense = [
            Message::BlockDone(BlockDone {
                step,
                block,
                compute,
                inline: inline.clone(),
                wrong: BTreeMap::new(),
            }),
            Message::BlockDone(BlockDone {
                step: other,
                block: Block::of_replica(0),
                compute,
                inline,
                wrong: BTreeMap::new(),
            }),
            Message::Missing { step, block },
            Message::Missing { step: other, block: Block::of_replica(0) },
            Message::HandedBack(assignment),
            Message::Cannot(run),
            Message::Started(assignment),
            Message::Beat(vec![(assignment, vec![u32::MAX; 9], u32::MAX)]),
            Message::ShardFailed { assignment, replica: u32::MAX, fatal: true, error },
        ];
        let can = self.is_connected();
        // All but giving back, which says that the worker leaves.
        for message in nonsense.into_iter().filter(|it| !matches!(it, Message::HandedBack(_))) {
            self.say(context, message);
        }
        can
    }

    pub(super) fn drain(&mut self, context: &mut Context) {
        self.tell(context, session::Event::Drain);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_alive && self.is_welcome && self.connection.is_some() && self.stopped.is_none()
    }
}
