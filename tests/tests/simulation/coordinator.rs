//! A coordinator without sockets or tensors: the scheduler and the least that
//! a driver does for it.

mod audits;
mod causes;
mod liveness;
mod merging;
mod restart;
mod unfit;

use std::collections::{BTreeMap, BTreeSet};

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use coordinator::scheduler::injected_bugs::InjectedBug;
use coordinator::scheduler::{
    self, Action, Departure, PartialRef, RejoinWait, RunFailure, Scheduler,
};

use super::context::{Context, Event, Random};
use super::faults::Fault;
use super::network::{BlockDone, ConnectionId, Direction, Message, Partial};
use audits::Answers;
use causes::Causes;

/// Segments of a partial, merged one after another.
const SEGMENTS: u32 = 2;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Finished,
    Failed(RunFailure),
    /// Two answers of a shard differed.
    Different,
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    pub(super) scheduler: Scheduler,
    config: scheduler::SchedulerConfig,
    connections: BTreeMap<WorkerId, ConnectionId>,
    workers: BTreeMap<ConnectionId, WorkerId>,
    heard: BTreeMap<WorkerId, u64>,
    last_worker: u64,
    last_assignment: AssignmentId,
    /// Replicas of each step of each run.
    pub(super) runs: BTreeMap<RunId, Vec<u32>>,
    pub(super) outcomes: BTreeMap<RunId, Outcome>,
    /// Processes that went without goodbye while a run was active, and did not
    /// come back in its time.
    deaths: BTreeMap<RunId, BTreeSet<ProcessId>>,
    /// What may be a cause for a run to fail.
    causes: Causes,
    processes: BTreeMap<WorkerId, ProcessId>,
    /// The next result, or segment of one, that comes is altered.
    pub(super) alters_next: bool,
    /// Workers that take no more work.
    draining: BTreeSet<WorkerId>,
    /// Workers that cannot work on the active run.
    unfit: BTreeSet<WorkerId>,
    /// So many in a thousand shards are audited.
    audit: u64,
    plant: Option<InjectedBug>,
    /// Runs that were submitted, and the workers that they wait for.
    submitted: BTreeMap<RunId, u32>,
    /// Steps of each run that outlive this coordinator.
    durable: BTreeMap<RunId, u64>,
    /// How often it was started again.
    pub(super) life: u64,
    active: Option<Active>,
    armed: Option<std::time::Instant>,
    /// Timeouts handled without time moving on.
    pub(super) idle_timeouts: u32,
}

#[derive(Debug)]
struct Active {
    run: RunId,
    /// Steps that were merged as it began.
    first: u64,
    /// Steps merged.
    merged: u64,
    ready: bool,
    /// Inline partials of this step.
    stored: BTreeMap<Block, Partial>,
    /// Workers that have this step's state.
    stated: BTreeSet<WorkerId>,
    merging: Option<Vec<PartialRef>>,
    segment: u32,
    gathered: BTreeMap<Block, Partial>,
    answers: Answers,
}

impl Coordinator {
    pub(super) fn new(
        plant: Option<InjectedBug>,
        config: scheduler::SchedulerConfig,
        audit: u64,
    ) -> Self {
        Self {
            scheduler: restart::scheduler(plant, config),
            config,
            connections: BTreeMap::new(),
            workers: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_worker: 0,
            last_assignment: AssignmentId(0),
            runs: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            deaths: BTreeMap::new(),
            causes: Causes::default(),
            processes: BTreeMap::new(),
            alters_next: false,
            draining: BTreeSet::new(),
            unfit: BTreeSet::new(),
            audit,
            plant,
            submitted: BTreeMap::new(),
            durable: BTreeMap::new(),
            life: 0,
            active: None,
            armed: None,
            idle_timeouts: 0,
        }
    }

    /// The worker that speaks on a connection.
    pub(super) fn worker_on(&self, connection: ConnectionId) -> Option<WorkerId> {
        self.workers.get(&connection).copied()
    }

    /// The step that is open for results.
    pub(super) fn current(&self) -> Option<(StepId, u32)> {
        let active = self.active.as_ref().filter(|active| active.ready)?;
        let step = StepId { run: active.run, index: active.merged };
        Some((step, self.runs[&active.run][active.merged as usize]))
    }

    pub(super) fn tell(&mut self, context: &mut Context, event: scheduler::Event) {
        self.scheduler.handle_event(context.instant(), event);
        self.perform(context);
    }

    pub(super) fn on_timer(&mut self, context: &mut Context) {
        self.armed = None;
        let now = context.instant();
        if self.scheduler.poll_timeout().is_some_and(|due| due <= now) {
            self.scheduler.handle_timeout(now);
            self.idle_timeouts += 1;
            let stuck = self.idle_timeouts > 1000;
            context.ensure(!stuck, || "the scheduler's timeout is due again and again".into());
        }
        self.perform(context);
    }

    /// Performs all actions, and checks what must hold.
    fn perform(&mut self, context: &mut Context) {
        while let Some(action) = self.scheduler.poll_action() {
            self.act(context, action);
        }
        let checked = self.scheduler.check();
        context.ensure(checked.is_ok(), || checked.clone().err().unwrap_or_default());
        if let Some(due) = self.scheduler.poll_timeout()
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            context.at(due, Event::SchedulerTimer);
        }
    }

    fn act(&mut self, context: &mut Context, action: Action) {
        match action {
            Action::StartRun { run } => {
                context.ensure(self.active.is_none(), || format!("run {run} is not alone"));
                let merged = self.durable.get(&run).copied().unwrap_or(0);
                self.active = Some(Active {
                    run,
                    first: merged,
                    merged,
                    ready: false,
                    stored: BTreeMap::new(),
                    stated: BTreeSet::new(),
                    merging: None,
                    segment: 0,
                    gathered: BTreeMap::new(),
                    answers: Answers::default(),
                });
                self.broadcast(context, &Message::OpenRun(run));
                let first = StepId { run, index: merged };
                context.after(1000, Event::StepReady(first, self.life));
            }
            Action::Assign { worker, assignment, step, block, confirm } => {
                self.assign(context, worker, assignment, (step, block), confirm);
            }
            Action::Revoke { worker, assignment } => {
                self.causes.ended(worker, assignment);
                self.tell_worker(context, worker, Message::Revoke(assignment));
            }
            Action::Merge { step, parts } => self.merge(context, step, parts),
            Action::PauseMerge { .. } => {
                if let Some(active) = &mut self.active {
                    context.ensure(active.merging.is_some(), || "no merge to pause".into());
                    active.merging = None;
                }
            }
            Action::Disconnect { worker, .. } => {
                if let Some(connection) = self.connections.remove(&worker) {
                    self.workers.remove(&connection);
                    self.heard.remove(&worker);
                    context.send(connection, Direction::ToWorker, Message::Closed);
                    self.note_death(worker);
                }
            }
            Action::FailRun { run, reason } => {
                let is_just = self
                    .current()
                    .is_some_and(|(step, _)| self.causes.excuse(&self.config, step, &reason));
                context.ensure(is_just, || format!("run {run} failed without a cause: {reason:?}"));
                self.end(context, run, Outcome::Failed(reason));
            }
            Action::RunCancelled { run } => self.end(context, run, Outcome::Cancelled),
            Action::Audited { .. } => context.faults.fired(Fault::Audited),
            Action::Unaudited { replica, .. } => self.unaudited(context, replica),
            Action::Offered { .. } | Action::Note { .. } => {}
        }
    }

    fn assign(
        &mut self,
        context: &mut Context,
        worker: WorkerId,
        assignment: AssignmentId,
        (step, block): (StepId, Block),
        confirm: bool,
    ) {
        let current = self.current();
        context.ensure(current.is_some_and(|(id, _)| id == step), || format!("{step} is not open"));
        context.ensure(self.connections.contains_key(&worker), || format!("{worker} is gone"));
        context.ensure(assignment > self.last_assignment, || format!("{assignment} is not new"));
        self.check_fit(context, worker, step, block);
        self.last_assignment = assignment;
        let Some((_, replicas)) = current else { return };
        let held = self.causes.handed_out((worker, assignment), (step, block), confirm);
        let most = self.config.assignments;
        context.ensure(held <= most, || format!("{worker} holds {held} blocks"));
        context.ensure(!confirm || block.replicas(replicas).len() == 1, || {
            format!("{block} is to be confirmed as if it were one shard")
        });
        if let Some(active) = &mut self.active {
            active.answers.handed_out(block);
        }
        let news = self.active.as_mut().is_some_and(|active| active.stated.insert(worker));
        if news {
            self.tell_worker(context, worker, Message::State(step));
        }
        self.tell_worker(
            context,
            worker,
            Message::Assign { assignment, step, block, replicas, confirm },
        );
    }

    /// A message from a worker.
    pub(super) fn on_message(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        message: Message,
    ) {
        if let Message::Hello { process, slots } = message {
            self.last_worker += 1;
            let worker = WorkerId(self.last_worker);
            self.connections.insert(worker, connection);
            self.workers.insert(connection, worker);
            self.heard.insert(worker, context.now);
            self.processes.insert(worker, process);
            self.note_return(context, process);
            self.tell_worker(context, worker, Message::Welcome);
            if let Some(active) = &self.active {
                let run = active.run;
                self.tell_worker(context, worker, Message::OpenRun(run));
            }
            self.tell(context, scheduler::Event::WorkerJoined { worker, process, slots });
            return;
        }
        let Some(worker) = self.worker_on(connection) else { return };
        self.heard.insert(worker, context.now);
        let heard = scheduler::Event::WorkerHeard { worker };
        match message {
            Message::Beat(progress) => {
                self.tell(context, heard);
                for (assignment, running, shards_done) in progress {
                    self.causes.started(worker, assignment);
                    let event =
                        scheduler::Event::Progress { worker, assignment, running, shards_done };
                    self.tell(context, event);
                }
            }
            Message::Opened(run) => {
                self.tell(context, scheduler::Event::RunOpened { worker, run });
            }
            Message::Cannot(run) => self.cannot(context, worker, run),
            Message::BlockDone(done) => self.block_done(context, worker, done),
            Message::ShardFailed { assignment, replica, fatal, error } => {
                if let Some((step, _)) = self.current() {
                    self.causes.failed((step, replica), fatal);
                }
                if let Some(active) = &mut self.active {
                    active.answers.failed(replica);
                }
                self.causes.ended(worker, assignment);
                let event =
                    scheduler::Event::ShardFailed { worker, assignment, replica, fatal, error };
                self.tell(context, event);
            }
            Message::Started(assignment) => {
                self.causes.started(worker, assignment);
                self.tell(context, scheduler::Event::Started { worker, assignment });
            }
            Message::HandedBack(assignment) => {
                self.causes.ended(worker, assignment);
                self.draining.insert(worker);
                self.tell(context, scheduler::Event::HandedBack { worker, assignment });
            }
            Message::Segment { block, segment, partial } => {
                self.tell(context, heard);
                self.gather(context, worker, block, segment, partial);
            }
            Message::Missing { step, block } => {
                self.tell(context, scheduler::Event::PartialMissing { worker, step, block });
            }
            Message::Draining => {
                self.draining.insert(worker);
                self.tell(context, scheduler::Event::WorkerDraining { worker });
            }
            Message::Goodbye => self.gone(context, connection, Departure::Left),
            Message::HangsUp => self.gone(context, connection, Departure::Parted),
            Message::Closed => self.gone(context, connection, Departure::Crashed),
            other => context.ensure(false, || format!("a worker said {other:?}")),
        }
    }

    fn block_done(&mut self, context: &mut Context, worker: WorkerId, done: BlockDone) {
        let is_late = match (&self.active, self.outcomes.contains_key(&done.step.run)) {
            (_, true) => true,
            (Some(active), _) => active.run == done.step.run && done.step.index < active.merged,
            (None, _) => false,
        };
        if is_late {
            context.faults.fired(Fault::LateResult);
        }
        let BlockDone { step, block, compute, inline, wrong } = done;
        self.causes.done(worker, step, block);
        if self.is_altered(context, worker, step, block) {
            return;
        }
        if self.current().is_some_and(|(current, _)| current == step)
            && let Some(active) = &mut self.active
            && active.answers.take(self.processes[&worker], block, &wrong).is_some()
        {
            context.faults.fired(Fault::Difference);
            self.end(context, step.run, Outcome::Different);
            self.tell(context, scheduler::Event::RunEnded { run: step.run });
            return;
        }
        let is_inline = inline.is_some();
        let done = scheduler::BlockDone { worker, step, block, inline: is_inline, compute };
        let verdict = self.scheduler.block_done(context.instant(), done);
        let is_kept = verdict == scheduler::Verdict::Keep;
        if let (true, Some(partial), Some(active)) = (is_kept, inline, &mut self.active) {
            let current = StepId { run: active.run, index: active.merged };
            context.ensure(step == current, || format!("{step} is kept late"));
            active.stored.insert(block, partial);
        }
        self.perform(context);
    }

    /// Whether what came of a block is altered; then the scheduler knows.
    pub(super) fn is_altered(
        &mut self,
        context: &mut Context,
        worker: WorkerId,
        step: StepId,
        block: Block,
    ) -> bool {
        let is_current = self.current().is_some_and(|(current, _)| current == step);
        if !is_current || !std::mem::take(&mut self.alters_next) {
            return false;
        }
        context.faults.fired(Fault::Altered);
        self.causes.altered(worker, step, block);
        let error = "a bit flipped".into();
        self.tell(context, scheduler::Event::PartialAltered { worker, step, block, error });
        true
    }

    pub(super) fn step_ready(&mut self, context: &mut Context, step: StepId) {
        let Some(active) = self.active.as_mut().filter(|active| active.run == step.run) else {
            return;
        };
        active.ready = true;
        let replicas = self.runs[&step.run][step.index as usize];
        let mut random = Random::new(step.run.0 << 32 | step.index);
        let audited: Vec<u32> = (0..replicas).filter(|_| random.chance(self.audit)).collect();
        active.answers = Answers::new(replicas, &audited);
        self.tell(context, scheduler::Event::StepReady { step, replicas, audited });
    }

    fn end(&mut self, context: &mut Context, run: RunId, outcome: Outcome) {
        if self.active.as_ref().is_some_and(|active| active.run == run) {
            self.active = None;
            self.unfit.clear();
            self.broadcast(context, &Message::CloseRun(run));
        }
        let is_new = self.outcomes.insert(run, outcome).is_none();
        context.ensure(is_new, || format!("run {run} ends twice"));
    }

    fn tell_worker(&mut self, context: &mut Context, worker: WorkerId, message: Message) {
        if let Some(connection) = self.connections.get(&worker) {
            context.send(*connection, Direction::ToWorker, message);
        }
    }

    fn broadcast(&mut self, context: &mut Context, message: &Message) {
        for connection in self.connections.values() {
            context.send(*connection, Direction::ToWorker, message.clone());
        }
    }
}
