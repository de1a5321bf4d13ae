//! The worker's driver: turns frames, ended shards, timers and signals into events of the
//! [`Session`], and the session's actions into I/O.
//!
//! ```text
//!  coordinator ─▶ reader ─┐                    ┌─▶ writer ─▶ coordinator
//!  pool ──────▶ reports ──┤                    │     ▲
//!  signals ───────────────┼▶ engine ─ session ─┤   heartbeat (its own task)
//!  timer ─────────────────┘                    └─▶ pool (slots threads)
//! ```
//!
//! One task, the engine, owns all data that is not shared. It never computes: long work (shards,
//! merges, digests, orders of epochs) runs on the pool, or on other threads (making a model,
//! checking chunks).

mod assignments;
mod bases;
mod block;
mod cache;
mod compute;
mod connection;
mod examples;
mod held;
pub(crate) mod memory;
mod messages;
mod panics;
mod parting;
mod regions;
mod run;
mod sharing;
#[cfg(test)]
mod test_model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::id::{AssignmentId, Block, ProcessId, RunId, StepId};
use common::limits;
use common::model::Registry;
use common::wire::event::TOLD;
use common::wire::handshake::Accepted;
use common::wire::message::{FromWorker, Role};
use common::wire::tls::CallerTls;
use common::wire::{FrameError, codec};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::session::{self, Action, Event, Session};
use bases::Bases;
use cache::ChunkCache;
use compute::{Compute, Report, WorkTable};
use connection::{ConnectError, Connection, Stuck};
use examples::Requests;
use held::{HeldAssignment, Kept};
use run::{CurrentOrder, OpenRun, Opening};

/// Finished blocks, kept to be pulled or offered again.
const KEPT_BLOCKS: usize = limits::OFFERS;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The coordinator's address, `HOST:PORT`.
    pub coordinator: String,
    /// The worker's certificate and keys, if the cluster has keys.
    pub tls: Option<CallerTls>,
    /// The worker's name, for people.
    pub name: String,
    /// Shards that run at the same time, if memory allows.
    pub slots: u32,
    /// Memory that the worker may use, in bytes.
    pub memory_limit: u64,
    /// Bytes of example data to keep.
    pub cache_limit: u64,
    /// Distinguishes this process from any other. Also the seed of the jitter between connection
    /// attempts.
    pub process: ProcessId,
    /// Longest time for leaving in order.
    pub drain_timeout: Duration,
    /// The directory of the Unix socket of a coordinator on this host, with which the worker then
    /// shares memory; without it, everything is sent.
    pub share_memory: Option<PathBuf>,
}

/// How a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to leave, and no work was lost.
    Left,
    /// It was told to leave at once.
    Cancelled,
    /// The coordinator refuses it, or their keys do not match, for this reason.
    Refused(String),
}

/// Works for a coordinator until it is refused or told to leave: the first message of `signals`
/// asks it to leave without losing work, the second one to leave at once.
pub async fn run(registry: Registry, config: WorkerConfig, mut signals: mpsc::Receiver<()>) -> End {
    // Shards and orders report one by one; the pool waits if there are many.
    let (sender, mut reports) = mpsc::channel(limits::SLOTS as usize);
    let compute = Compute::new(config.slots, sender);
    let mut engine = Engine::new(registry, config, compute);
    let mut told_to_leave = false;
    let sleep = tokio::time::sleep_until(Instant::now().into());
    tokio::pin!(sleep);
    loop {
        if let Some(end) = engine.perform_actions() {
            engine.close().await;
            return end;
        }
        let due = engine.session.poll_timeout();
        if let Some(due) = due
            && sleep.deadline() != due.into()
        {
            sleep.as_mut().reset(due.into());
        }
        tokio::select! {
            biased;
            Some(()) = signals.recv() => {
                if told_to_leave {
                    return End::Cancelled;
                }
                told_to_leave = true;
                tracing::info!(
                    "leaving once shards and partials are finished; a second signal exits at once"
                );
                engine.tell(Event::Drain);
            }
            Some(report) = reports.recv() => engine.on_report(report),
            frame = next_frame(&mut engine.connection) => engine.on_frame(frame),
            outcome = next_connection(&mut engine.connecting) => engine.on_connected(outcome),
            () = &mut sleep, if due.is_some() => engine.on_timeout(),
        }
    }
}

type Connecting =
    Pin<Box<dyn Future<Output = Result<(Connection, Accepted), ConnectError>> + Send>>;

async fn next_frame(connection: &mut Option<Connection>) -> Result<Option<Bytes>, FrameError> {
    match connection {
        Some(connection) => connection.reader.next().await,
        None => std::future::pending().await,
    }
}

async fn next_connection(
    connecting: &mut Option<Connecting>,
) -> Result<(Connection, Accepted), ConnectError> {
    match connecting {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A run that is open, or the reason why it cannot be.
#[derive(Debug)]
struct Opened {
    opening: Opening,
    run: Result<Arc<OpenRun>, String>,
    /// Shards that fit in memory at once; `None` until the model is made.
    parallel: Option<u32>,
    /// Whether this connection has opened it, and the session was not told yet.
    awaited: bool,
    order: CurrentOrder,
}

struct Engine {
    registry: Registry,
    config: WorkerConfig,
    session: Session,
    /// Events that arose while actions were performed.
    pending: VecDeque<Event>,
    connecting: Option<Connecting>,
    connection: Option<Connection>,
    /// The last connection that was closed with a reason, until the reason is sent.
    parting: Option<JoinHandle<()>>,
    /// Received bytes of the connection that the session was told of.
    reported: u64,
    /// The last connection error, which is logged only once.
    last_error: Option<String>,
    refusal: Option<String>,
    compute: Compute,
    runs: BTreeMap<RunId, Opened>,
    bases: Bases,
    cache: ChunkCache,
    requests: Requests,
    assignments: BTreeMap<AssignmentId, HeldAssignment>,
    work: WorkTable,
    kept: BTreeMap<(StepId, Block), Kept>,
}

impl Engine {
    fn new(registry: Registry, config: WorkerConfig, compute: Compute) -> Self {
        let session = Session::new(session::SessionConfig {
            slots: config.slots,
            seed: config.process.0,
            kept_blocks: KEPT_BLOCKS,
            drain_timeout: config.drain_timeout,
        });
        Self {
            session,
            pending: VecDeque::new(),
            connecting: None,
            connection: None,
            parting: None,
            reported: 0,
            last_error: None,
            refusal: None,
            compute,
            runs: BTreeMap::new(),
            bases: Bases::default(),
            cache: ChunkCache::new(config.cache_limit),
            requests: Requests::new(config.cache_limit),
            assignments: BTreeMap::new(),
            work: WorkTable::default(),
            kept: BTreeMap::new(),
            registry,
            config,
        }
    }

    fn tell(&mut self, event: Event) {
        self.session.handle_event(Instant::now(), event);
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Shard(event) => self.tell(event),
            Report::StartSaid(assignment) => self.tell(Event::StartSaid { assignment }),
            Report::Shared { token, memory } => self.on_shared(token, memory),
            Report::Built { run, id, outcome } => self.on_built(id, &run, outcome),
            Report::Checked { chunk, digest, outcome } => {
                self.on_checked_chunk(chunk, digest, outcome);
            }
            Report::Order { run, epoch, order } => {
                if let Some(opened) = self.runs.get_mut(&run) {
                    opened.order.insert(epoch, order);
                }
                let waiting = self.assignments_of(run, |assignment| assignment.fetching.is_none());
                for assignment in waiting {
                    self.fetch_data(assignment);
                }
            }
        }
    }

    fn on_timeout(&mut self) {
        // A long frame on a slow link does not count as silence.
        let received = self.connection.as_ref().map_or(0, Connection::received);
        if received != self.reported {
            self.reported = received;
            self.tell(Event::Heard);
        }
        self.session.handle_timeout(Instant::now());
    }

    fn on_frame(&mut self, frame: Result<Option<Bytes>, FrameError>) {
        let message =
            frame.and_then(|content| content.map(|content| codec::decode(&content)).transpose());
        match message {
            Ok(Some(message)) => {
                self.reported = self.connection.as_ref().map_or(0, Connection::received);
                self.tell(Event::Heard);
                if let Err(wrong) = self.on_message(message) {
                    self.makes_no_sense(&wrong);
                }
            }
            Ok(None) => self.lost("the coordinator closed the connection"),
            Err(error @ (FrameError::Io(_) | FrameError::Truncated)) => {
                self.lost(&error.to_string());
            }
            Err(error) => self.hang_up(&error.to_string()),
        }
    }

    fn on_connected(&mut self, outcome: Result<(Connection, Accepted), ConnectError>) {
        self.connecting = None;
        match outcome {
            Ok((connection, accepted)) => {
                let id = accepted.worker.map(|id| id.to_string()).unwrap_or_default();
                tracing::info!(
                    "connected to {} as {id} ({}), {} slot{}",
                    self.config.coordinator,
                    self.config.name,
                    self.config.slots,
                    if self.config.slots == 1 { "" } else { "s" }
                );
                self.reported = connection.received();
                self.connection = Some(connection);
                self.last_error = None;
                self.tell(Event::Connected { heartbeat_timeout: accepted.heartbeat_timeout });
            }
            Err(ConnectError::Refused(reason)) => {
                self.refusal = Some(reason);
                self.tell(Event::Refused);
            }
            Err(error) => {
                let error = error.to_string();
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!("{error}; trying again");
                }
                self.last_error = Some(error);
                self.tell(Event::Disconnected);
            }
        }
    }

    fn send(&mut self, message: FromWorker) {
        self.with_connection(|open| open.send(message));
    }

    fn with_connection(&mut self, send: impl FnOnce(&Connection) -> Result<(), Stuck>) {
        if self.connection.as_ref().is_some_and(|open| send(open).is_err()) {
            self.hang_up("the coordinator does not read messages");
        }
    }

    /// Performs all actions of the session. `Some` is the way in which the worker ends.
    fn perform_actions(&mut self) -> Option<End> {
        loop {
            while let Some(action) = self.session.poll_action() {
                if let Some(end) = self.perform(action) {
                    return Some(end);
                }
            }
            let event = self.pending.pop_front()?;
            self.tell(event);
        }
    }

    fn perform(&mut self, action: Action) -> Option<End> {
        match action {
            Action::Connect => {
                let role = Role::Worker {
                    name: self.config.name.clone(),
                    process: self.config.process,
                    slots: self.config.slots,
                    memory_limit: self.config.memory_limit,
                    cache_limit: self.config.cache_limit,
                };
                let address = self.config.coordinator.clone();
                let (tls, work) = (self.config.tls.clone(), self.work.clone());
                let reports = self.compute.reports();
                let connecting = Connection::open(address, tls, role, work, reports);
                self.connecting = Some(Box::pin(connecting));
            }
            Action::Disconnect => self.part("the coordinator is silent"),
            Action::FetchData { assignment, .. } => self.fetch_data(assignment),
            Action::RunShard { assignment, step, replica } => {
                self.run_shard(assignment, step, replica);
            }
            Action::SayStarted { assignment } => {
                self.with_connection(|open| open.send_started(assignment));
            }
            Action::StopShards { assignment } => {
                if let Some(assignment) = self.assignments.get(&assignment) {
                    assignment.work.cancel();
                }
            }
            Action::FinishBlock { assignment, .. } => self.finish_block(assignment),
            Action::SayOpened { run } => self.send(FromWorker::Opened { run }),
            Action::Offer { step, block } => {
                if let Some(done) = self.kept.get(&(step, block)).map(|kept| kept.done.clone()) {
                    self.send(done);
                }
            }
            Action::ReportFailure { assignment, step, replica, fatal, error } => {
                tracing::warn!(target: TOLD, "{step}, replica {replica}: {error}");
                self.forget_assignment(assignment);
                self.send(FromWorker::ShardFailed { assignment, step, replica, fatal, error });
            }
            Action::DropAssignment { assignment } => self.forget_assignment(assignment),
            Action::DropPartial { step, block } => {
                // A segment that is being sent keeps the partial in memory.
                if let Some(kept) = self.kept.remove(&(step, block))
                    && let Ok(partial) = Arc::try_unwrap(kept.partial)
                {
                    kept.run.spare.keep(partial);
                }
            }
            Action::DropState { step } => self.bases.drop_state(step),
            Action::HandBack { assignment } => self.send(FromWorker::HandedBack { assignment }),
            Action::SayDraining => self.send(FromWorker::Draining),
            Action::Leave => return Some(End::Left),
            Action::GiveUp => {
                return Some(End::Refused(self.refusal.take().unwrap_or_default()));
            }
        }
        None
    }
}
