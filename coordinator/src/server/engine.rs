//! The engine: one task that owns the scheduler, the runs, and the engine's
//! side of every connection. Everything that happens comes to it as an
//! [`Event`]; it never waits for a peer.
//!
//! ```text
//! connections ──┐
//! jobs ─────────┼─▶ Event ─▶ Engine ─▶ scheduler ─▶ Action ─▶ outboxes, jobs
//! timer ────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use common::id::{Block, RunId, StepId, SubmissionKey, WorkerId};
use common::model::Registry;
use common::results::Results;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{FromClient, FromWorker, ToClient, ToWorker};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Config;
use super::active::{ActiveRun, Outcome};
use super::client::{Client, FinalState};
use super::connection::{ClientId, Introduction, Link, Peer, Room};
use super::door::Refusals;
use super::durable::{Durable, Ended};
use super::jobs::{Found, Incarnation};
use super::load::PutOff;
use super::reading::Reading;
use super::recorder::{Checkpointed, now_ms};
use super::run::Run;
use super::starts::Counted;
use super::step_log::StepLog;
use super::store::ChunkStore;
use super::submitted::Submitted;
use super::upload::{CheckedChunk, Designed, Prepared};
use super::worker::Worker;
use crate::scheduler::{self, Action, Departure, Scheduler};

/// Events that may wait for the engine. What one connection may have among
/// them is bounded by itself (its [`Room`]).
pub(super) const EVENTS: usize = 4096;

/// Events handled in one turn, before what they gave is sent.
const TURN: usize = 256;

/// What peers are told at the end.
const GOING_AWAY: &str = "the coordinator is going away";

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker has shaken hands.
    WorkerJoined { worker: WorkerId, about: Introduction, link: Link },
    /// A client has shaken hands.
    ClientJoined { client: ClientId, link: Link },
    /// A worker's message.
    FromWorker { worker: WorkerId, message: FromWorker, room: Room },
    /// A client's message.
    FromClient { client: ClientId, message: FromClient, room: Room },
    /// A connection is gone. Where its peer is there, it was ended on this side.
    Closed { peer: Peer, cause: String, is_there: bool },
    /// A submission's model is made, or cannot be.
    Designed(Designed),
    /// The state of a submission's model is made, or cannot be.
    Prepared(Prepared),
    /// A client's chunk was checked.
    ChunkChecked(CheckedChunk),
    /// What work for a run found, in one of its lives.
    Found { of: Incarnation, found: Found },
    /// A complete submission is durable, or cannot be.
    Submitted(Submitted),
    /// Some of what waited to be recorded is.
    Recorded,
    /// A run is further on its way from the runs folder, or cannot be.
    Reading(Box<Reading>),
    /// A start of a run is counted, or cannot be.
    Counted(Counted),
    /// A final state was read for a client, or cannot be.
    FinalState(FinalState),
    /// A checkpoint is durable, or cannot be.
    Checkpointed(Checkpointed),
    /// How a run ended is durable, or cannot be.
    Ended(Ended),
    /// A job has panicked: a bug of ours, as what models do is caught before.
    Panicked(Box<dyn std::any::Any + Send>),
    /// Say goodbye to all.
    Shutdown,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) config: Config,
    pub(super) registry: Registry,
    pub(super) scheduler: Scheduler,
    /// What the scheduler is to be told once its actions are drained.
    pub(super) pending: VecDeque<scheduler::Event>,
    /// The current step is merged: go on to the next one once the scheduler
    /// knows.
    pub(super) advance: bool,
    pub(super) now: Instant,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) active: Option<ActiveRun>,
    pub(super) put_off: PutOff,
    pub(super) store: ChunkStore,
    /// Where runs are kept, and who writes there.
    pub(super) durable: Option<Durable>,
    /// Jobs of merges that are running, and how many may.
    pub(super) merging: usize,
    pub(super) cores: usize,
    /// Where jobs send what they found.
    pub(super) events: mpsc::Sender<Event>,
    /// Workers that went in this turn, for what is told of it.
    pub(super) departed: BTreeMap<WorkerId, Worker>,
    /// Connections with something new to send.
    dirty: Vec<Peer>,
    /// When a step was logged last.
    pub(super) step_log: StepLog,
    /// Who was not let in, for the status.
    pub(super) refusals: Arc<Refusals>,
    /// Of the run that was started last, or is read to be.
    pub(super) incarnation: Incarnation,
    pub(super) last_run: u64,
    pub(super) last_upload: u64,
    /// Submissions that are being written, by their keys, and who else has sent
    /// them since.
    pub(super) submitting: BTreeMap<SubmissionKey, BTreeSet<ClientId>>,
    /// What came inline in the event at hand, until the scheduler has said
    /// whether to keep it.
    pub(super) arrived: Option<(StepId, Block, Outcome, Results)>,
    pub(super) next_sweep: Instant,
    pub(super) next_heartbeat: Instant,
    pub(super) worker_heartbeat: Frame,
    pub(super) client_heartbeat: Frame,
}

impl Engine {
    pub(super) fn new(
        config: Config,
        registry: Registry,
        events: mpsc::Sender<Event>,
        refusals: Arc<Refusals>,
    ) -> Self {
        let now = Instant::now();
        // Above every assignment that workers may have of a coordinator that
        // was here before: it made less than one in a microsecond.
        let last_assignment = now_ms() * 1000;
        let scheduler = scheduler::Config { last_assignment, ..config.scheduler };
        Self {
            scheduler: Scheduler::new(scheduler),
            durable: None,
            store: ChunkStore::new(config.data_memory),
            config,
            registry,
            pending: VecDeque::new(),
            advance: false,
            now,
            workers: BTreeMap::new(),
            clients: BTreeMap::new(),
            runs: BTreeMap::new(),
            active: None,
            put_off: PutOff::default(),
            merging: 0,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            events,
            departed: BTreeMap::new(),
            dirty: Vec::new(),
            step_log: StepLog::default(),
            refusals,
            incarnation: Incarnation::default(),
            last_run: 0,
            last_upload: 0,
            submitting: BTreeMap::new(),
            arrived: None,
            next_sweep: now,
            next_heartbeat: now,
            worker_heartbeat: encode(ToWorker::Heartbeat),
            client_heartbeat: encode(ToClient::Heartbeat),
        }
    }

    /// Runs until [`Event::Shutdown`].
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut turn = Vec::with_capacity(TURN);
        let timer = tokio::time::sleep_until(self.next_sweep);
        tokio::pin!(timer);
        loop {
            let deadline = self.deadline();
            // Moved only to be earlier: a timer that fires too soon costs less
            // than one that is set anew in every turn.
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                _ = events.recv_many(&mut turn, TURN) => {}
                () = &mut timer => {}
            }
            self.now = Instant::now();
            if self.was_away(deadline) {
                self.begin_silences_anew();
            }
            for event in turn.drain(..) {
                if matches!(event, Event::Shutdown) {
                    // The recorder, which is waited for, waits for nobody.
                    events.close();
                    return self.say_goodbye();
                }
                self.handle(event);
            }
            if self.now >= self.deadline() {
                self.handle_time();
            }
            self.flush();
        }
    }

    fn deadline(&self) -> Instant {
        let scheduler = self.scheduler.poll_timeout().map(Instant::from_std);
        scheduler.map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::WorkerJoined { worker, about, link } => {
                self.join(worker, Worker::new(about, link));
            }
            Event::ClientJoined { client, link } => {
                debug!(peer = %link.address, "client {} joined", client.0);
                self.clients.insert(client, Client::new(link));
            }
            Event::FromWorker { worker, message, room } => {
                if self.workers.contains_key(&worker)
                    && let Err(cause) = self.on_worker_message(worker, message)
                {
                    self.close_worker(worker, Departure::Parted, &cause);
                }
                drop(room);
            }
            Event::FromClient { client, message, room } => {
                if self.clients.contains_key(&client)
                    && let Err(cause) = self.on_client_message(client, message, room)
                {
                    self.close_client(client, &cause);
                }
            }
            Event::Closed { peer, cause, is_there } => {
                let how = if is_there { Departure::Parted } else { Departure::Crashed };
                self.close(peer, how, &cause);
            }
            Event::Designed(designed) => self.on_designed(designed),
            Event::Prepared(prepared) => self.on_prepared(prepared),
            Event::ChunkChecked(chunk) => self.on_checked_chunk(chunk),
            Event::Found { of, found } => self.on_found(of, found),
            Event::Submitted(submitted) => self.on_submitted(submitted),
            // What waits for it is seen to below.
            Event::Recorded => {}
            Event::Counted(counted) => self.on_counted(counted),
            Event::Reading(reading) => self.on_reading(*reading),
            Event::FinalState(read) => self.on_final_state(read),
            Event::Checkpointed(done) => self.on_checkpointed(done),
            Event::Ended(ended) => self.on_ended(ended),
            Event::Panicked(panic) => std::panic::resume_unwind(panic),
            Event::Shutdown => unreachable!("the loop ends at a shutdown"),
        }
        self.queue_put_off();
        self.pump();
    }

    /// Tells the scheduler something now. Only from where no action is being
    /// performed; from there, use `pending`.
    pub(super) fn tell(&mut self, event: scheduler::Event) {
        self.scheduler.handle_event(self.now.into_std(), event);
        self.pump();
    }

    /// Performs all that the scheduler wants, and tells it what comes of it,
    /// until both are done.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(action) = self.scheduler.poll_action() {
                self.perform(action);
            }
            if let Some(event) = self.pending.pop_front() {
                self.scheduler.handle_event(self.now.into_std(), event);
            } else if self.advance && !self.recorder_is_full() {
                self.advance = false;
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
                self.assign(worker, assignment, step, block, confirm);
            }
            Action::Revoke { worker, assignment } => {
                if let Some(about) = self.workers.get_mut(&worker) {
                    about.assignments.remove(&assignment);
                    self.send_worker(worker, ToWorker::Revoke { assignment });
                }
            }
            Action::Inline { step, block, keep } => self.on_verdict(step, block, keep),
            Action::Merge { step, parts } => self.merge_step(step, &parts),
            Action::PauseMerge { step } => self.pause_merge(step),
            Action::Disconnect { worker, reason } => self.disconnect(worker, &reason),
            Action::FailRun { run, reason, shard } => {
                let hint = shard.map(|shard| self.replay_hint(shard)).unwrap_or_default();
                self.fail_run(run, reason + &hint);
            }
            Action::RunCancelled { run } => self.cancel_run(run),
            Action::Offered { run, worker, block } => self.on_offered(run, worker, block),
            Action::Audited { step, .. } => self.on_audited(step),
            Action::Unaudited { step, replica, reason } => self.on_unaudited(step, replica, reason),
            Action::Note { run, worker, what, detail } => {
                self.publish_note(run, worker, what, detail);
            }
        }
    }

    /// Queues a control message to a worker.
    pub(super) fn send_worker(&mut self, worker: WorkerId, message: ToWorker) {
        self.send_worker_frame(worker, encode(message));
    }

    /// Queues an encoded control message to a worker.
    pub(super) fn send_worker_frame(&mut self, worker: WorkerId, frame: Frame) {
        if let Some(about) = self.workers.get_mut(&worker) {
            about.link.outbox.control(frame);
            self.mark(Peer::Worker(worker));
        }
    }

    /// Queues a message to a client.
    pub(super) fn send_client(&mut self, client: ClientId, message: ToClient) {
        if let Some(about) = self.clients.get_mut(&client) {
            about.link.outbox.control(encode(message));
            self.mark(Peer::Client(client));
        }
    }

    /// Notes that a connection has something new to send.
    pub(super) fn mark(&mut self, peer: Peer) {
        if let Some(link) = self.link(peer)
            && !std::mem::replace(&mut link.dirty, true)
        {
            self.dirty.push(peer);
        }
    }

    pub(super) fn link(&mut self, peer: Peer) -> Option<&mut Link> {
        match peer {
            Peer::Worker(worker) => Some(&mut self.workers.get_mut(&worker)?.link),
            Peer::Client(client) => Some(&mut self.clients.get_mut(&client)?.link),
        }
    }

    /// Lets the writers see what this turn queued. Who does not read is
    /// disconnected, which may queue more for others.
    fn flush(&mut self) {
        while let Some(peer) = self.dirty.pop() {
            let Some(link) = self.link(peer) else { continue };
            link.dirty = false;
            if link.outbox.flush().is_err() {
                let cause = "it does not read what it is sent: its queue is full";
                self.close(peer, Departure::Crashed, cause);
            }
        }
        self.departed.clear();
    }

    fn say_goodbye(mut self) {
        self.save_before_going();
        for (worker, about) in &self.workers {
            about.link.outbox.control(Peer::Worker(*worker).goodbye(GOING_AWAY));
        }
        for (client, about) in &self.clients {
            // Behind what it is still to be told.
            let goodbye = Peer::Client(*client).goodbye(GOING_AWAY);
            about.link.outbox.events(std::iter::once(goodbye));
        }
        // Links end their connections, once all is written, as they are
        // dropped.
    }
}
