//! The engine: one task that owns the scheduler and the rooms below it. It receives messages from
//! connections, from jobs, and from the storage writer. It never waits for a peer, a thread or the
//! disk.
//!
//! ```text
//! net ─────────┐             ┌─▶ scheduler ─▶ Action ──┐
//! jobs ────────┼─▶ Engine ───┼─▶ step, intake ─▶ Effect ┼─▶ peers, jobs, journal
//! persistence ─┘             └─▶ run table              ┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `inbox` | the channels, and the messages of one turn |
//! | `worker_messages`, `client_messages` | messages of peers |
//! | `blocks`, `step_effects`, `step_end` | a step: blocks arrive, are merged, and the next step begins |
//! | `run_lifecycle` | start and end of a run |
//! | `submissions` | a run is submitted and queued |
//! | `turns`, `loading`, `resuming`, `starts` | runs of the runs folder: when they are read, how, for which client, and how often they may start |
//! | `checkpointing`, `endings`, `recording` | the records of a run: its state, its end, its history |
//! | `liveness`, `parting` | silence of peers; ends of connections |
//! | `followers`, `step_log` | events for clients, and log lines |
//! | `sentences` | the sentences about what the scheduler reports |

mod blocks;
mod checkpointing;
mod client_messages;
#[cfg(test)]
mod driven;
mod endings;
mod followers;
mod inbox;
mod liveness;
mod loading;
mod parting;
mod recording;
mod resuming;
mod run_lifecycle;
mod sentences;
mod starts;
mod status;
mod step_effects;
mod step_end;
mod step_log;
mod submissions;
mod turns;
mod worker_messages;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use common::model::Registry;
use common::run_state::RunState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::endings::Ended;
use self::inbox::{Inbox, Turn};
use self::loading::Loading;
use self::starts::Counted;
use self::status::FinalState;
use self::step_log::StepLog;
use self::submissions::Submitted;
use self::turns::PutOff;
use super::config::{RunsConfig, ServerConfig};
use super::intake::{self, Intake};
use super::jobs::{Done, Incarnation, Jobs};
use super::net::{self, ClientId, Peer, Peers, Refusals};
use super::persistence::{self, HistoryQueue, Journal, Recovered};
use super::run_table::RunTable;
use super::step::{self, Payload, StepExecutor};
use super::wall_clock::now_ms;
use crate::scheduler::{self, Action, Departure, Scheduler};

/// Message to all peers when the coordinator stops.
const GOING_AWAY: &str = "the coordinator is going away";

/// The result of a job.
#[derive(Debug)]
enum Found {
    /// The result of a job of a submission.
    Intake(intake::Done),
    /// The result of a job of a step.
    Step(step::Done),
    /// A run is further loaded from the runs folder, or cannot be.
    Loading(Box<Loading>),
}

/// The result of a task on the runs folder.
#[derive(Debug)]
enum Written {
    /// A complete submission is durable, or cannot be.
    Submitted(Submitted),
    /// The start of a run is counted, or cannot be.
    Counted(Counted),
    /// A run is further loaded from the runs folder, or cannot be.
    Loading(Box<Loading>),
    /// A final state was read for a client, or cannot be.
    FinalState(FinalState),
    /// The end of a run is durable, or cannot be.
    Ended(Ended),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Engine {
    config: ServerConfig,
    inbox: Inbox,
    scheduler: Scheduler,
    /// Events for the scheduler, sent once its actions are drained.
    pending: VecDeque<scheduler::Event>,
    now: Instant,
    peers: Peers,
    runs: RunTable,
    intake: Intake,
    step: StepExecutor,
    /// The runs folder, if there is one.
    journal: Option<Journal<Written>>,
    jobs: Jobs<Found>,
    put_off: PutOff,
    /// Clients for which a run is being read in order to resume it.
    resuming: BTreeSet<ClientId>,
    step_log: StepLog,
    /// Refused peers, for the status.
    refusals: Arc<Refusals>,
    /// The last incarnation that a run was given.
    incarnation: Incarnation,
    next_sweep: Instant,
    next_heartbeat: Instant,
}

impl Engine {
    pub(super) fn new(config: ServerConfig, registry: Registry, refusals: Arc<Refusals>) -> Self {
        let now = Instant::now();
        // Higher than every assignment that workers may have from an earlier coordinator, which
        // made less than one per microsecond.
        let last_assignment = now_ms() * 1000;
        let scheduler = scheduler::SchedulerConfig { last_assignment, ..config.scheduler };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let (inbox, jobs) = Inbox::new();
        Self {
            inbox,
            scheduler: Scheduler::new(scheduler),
            pending: VecDeque::new(),
            now,
            peers: Peers::default(),
            runs: RunTable::default(),
            intake: Intake::new(registry, config.data_memory),
            step: StepExecutor::new(config.merge_memory, cores),
            journal: None,
            jobs,
            put_off: PutOff::default(),
            resuming: BTreeSet::new(),
            step_log: StepLog::default(),
            refusals,
            incarnation: Incarnation::default(),
            next_sweep: now,
            next_heartbeat: now,
            config,
        }
    }

    /// The channel for events of connections.
    pub(super) fn net_events(&self) -> mpsc::Sender<net::Event> {
        self.inbox.net_events()
    }

    /// Keeps runs in a folder from now on, and adds the recovered ones.
    ///
    /// # Errors
    /// The folder cannot be read, or the system cannot start a thread.
    pub(super) fn keep_runs(
        &mut self,
        config: RunsConfig,
        history: HistoryQueue,
        recovered: Vec<Recovered>,
    ) -> std::io::Result<()> {
        // The number of every run's folder is taken, whatever the folder holds.
        let numbers = config.folder.numbers().map_err(std::io::Error::other)?;
        self.runs.set_last_number(numbers.last().map_or(0, |last| last.0));
        self.journal = Some(Journal::start(config, history, self.inbox.storage_events())?);
        for Recovered { run, .. } in recovered {
            let (id, phase) = (run.id(), run.phase());
            self.runs.insert(run);
            if phase == RunState::Queued {
                self.queue_run(id);
            }
        }
        Ok(())
    }

    /// Runs until `shutdown` is sent, or dropped.
    pub(super) async fn run(mut self, mut shutdown: oneshot::Receiver<()>) {
        let mut turn = Turn::default();
        let timer = tokio::time::sleep_until(self.next_sweep);
        tokio::pin!(timer);
        loop {
            let deadline = self.deadline();
            // The timer is only moved to an earlier time: a timer that fires too soon costs less
            // than one that is reset in every turn.
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            let is_over = tokio::select! {
                biased;
                () = self.inbox.wait(&mut turn) => false,
                () = &mut timer => false,
                _ = &mut shutdown => true,
            };
            if is_over {
                // Messages received before the shutdown are handled.
                self.inbox.take_all(&mut turn);
            }
            self.now = Instant::now();
            if self.was_away(deadline) {
                self.restart_silences();
            }
            self.take_turn(&mut turn);
            if is_over {
                // The storage writer is waited for, so it must not wait for the engine.
                self.inbox.close();
                return self.say_goodbye();
            }
        }
    }

    /// Handles the messages of a turn, and sends the results.
    fn take_turn(&mut self, turn: &mut Turn) {
        for event in turn.storage.drain(..) {
            self.on_storage(event);
            self.follow_up();
        }
        for done in turn.jobs.drain(..) {
            self.on_job(done);
            self.follow_up();
        }
        for event in turn.net.drain(..) {
            self.on_net(event);
            self.follow_up();
        }
        if self.now >= self.deadline() {
            self.handle_time();
        }
        // A peer that does not read is disconnected, which may queue more messages for other peers.
        while let Some(peer) = self.peers.flush() {
            let cause = "it does not read what it is sent: its queue is full";
            self.close(peer, Departure::Crashed, cause);
        }
    }

    fn deadline(&self) -> Instant {
        let scheduler = self.scheduler.poll_timeout().map(Instant::from_std);
        scheduler.map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    fn on_net(&mut self, event: net::Event) {
        match event {
            net::Event::WorkerJoined { worker, info, handle } => self.join(worker, info, handle),
            net::Event::ClientJoined { client, handle } => self.join_client(client, handle),
            net::Event::FromWorker { worker, message, permit } => {
                if self.peers.worker(worker).is_some()
                    && let Err(cause) = self.on_worker_message(worker, message)
                {
                    self.close_worker(worker, Departure::Parted, &cause);
                }
                drop(permit);
            }
            net::Event::SegmentInMemory { worker, place, slot, permit } => {
                let payload = Payload::Shared(slot);
                if self.peers.worker(worker).is_some()
                    && let Err(cause) = self.on_segment(worker, place, payload)
                {
                    self.close_worker(worker, Departure::Parted, &cause);
                }
                drop(permit);
            }
            net::Event::FromClient { client, message, permit } => {
                if self.peers.has_client(client)
                    && let Err(cause) = self.on_client_message(client, message, permit)
                {
                    self.close_client(client, &cause);
                }
            }
            net::Event::Closed { peer, cause, by_us } => {
                let how = if by_us { Departure::Parted } else { Departure::Crashed };
                self.close(peer, how, &cause);
            }
        }
    }

    fn on_job(&mut self, done: Done<Found>) {
        match done {
            Done::With(Found::Intake(done)) => self.on_intake_done(done),
            Done::With(Found::Step(done)) => {
                let effects = self.step.on_done(self.now, done);
                self.perform_step(effects);
            }
            Done::With(Found::Loading(loading)) => self.on_loading(*loading),
            Done::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn on_storage(&mut self, event: persistence::Event<Written>) {
        use persistence::Event;
        match event {
            // `follow_up`, after every event, continues the work that waited for this.
            Event::Recorded => {}
            Event::Checkpointed(done) => self.on_checkpointed(done),
            Event::Done(Written::Submitted(submitted)) => self.on_submitted(submitted),
            Event::Done(Written::Counted(counted)) => self.on_counted(counted),
            Event::Done(Written::Loading(loading)) => self.on_loading(*loading),
            Event::Done(Written::FinalState(read)) => self.on_final_state(read),
            Event::Done(Written::Ended(ended)) => self.on_ended(ended),
            Event::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Does the work that an event has made possible.
    fn follow_up(&mut self) {
        self.queue_put_off();
        self.pump();
    }

    /// Sends the scheduler an event now. Must not be called while an action is performed; use
    /// `pending` there.
    fn tell(&mut self, event: scheduler::Event) {
        self.scheduler.handle_event(self.now.into_std(), event);
        self.pump();
    }

    /// Performs all actions of the scheduler and sends it the resulting events, until there are no
    /// more of either.
    fn pump(&mut self) {
        loop {
            while let Some(action) = self.scheduler.poll_action() {
                self.perform(action);
            }
            if let Some(event) = self.pending.pop_front() {
                self.scheduler.handle_event(self.now.into_std(), event);
            } else if self.step.active().is_some_and(step::ActiveRun::is_merged)
                && !self.is_journal_full()
            {
                self.next_step();
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::StartRun { run } => self.start_run(run),
            Action::Assign { worker, assignment, step, block, confirm } => {
                self.assign(worker, assignment, (step, block), confirm);
            }
            Action::Revoke { worker, assignment } => self.peers.revoke(worker, assignment),
            Action::Merge { step, parts } => {
                let effects = self.step.merge(self.now, step, &parts);
                self.perform_step(effects);
            }
            Action::PauseMerge { step } => self.step.pause(step),
            Action::Disconnect { worker, reason } => {
                self.disconnect(worker, &sentences::loss(reason));
            }
            Action::FailRun { run, reason } => {
                let hint = reason.shard().map(|shard| self.replay_hint(shard)).unwrap_or_default();
                self.fail_run(run, sentences::failure(&reason) + &hint);
            }
            Action::RunCancelled { run } => self.cancel_run(run),
            Action::Offered { run, worker, block } => self.on_offered(run, worker, block),
            Action::Audited { step, .. } => self.on_audited(step),
            Action::Unaudited { step, replica, reason } => {
                self.on_unaudited(step, replica, sentences::unaudited(reason));
            }
            Action::Note { run, worker, what, detail } => {
                self.publish_note(run, worker, what, sentences::detail(detail));
            }
        }
    }

    fn say_goodbye(mut self) {
        self.save_before_going();
        self.peers.say_goodbye(GOING_AWAY);
        // Connections end when the peers are dropped, after everything is written.
    }

    /// Closes a connection for a cause. The kind of departure matters for workers only.
    fn close(&mut self, peer: Peer, how: Departure, cause: &str) {
        match peer {
            Peer::Worker(worker) => self.close_worker(worker, how, cause),
            Peer::Client(client) => self.close_client(client, cause),
        }
    }
}
