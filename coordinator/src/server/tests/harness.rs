//! The whole server without its sockets, driven by hand: a test passes events in, and gets the
//! messages to its peers. Nothing happens between two calls, so a test decides the order, and no
//! test waits for anything but the disk.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::id::{ProcessId, RunId, SubmissionKey, WorkerId};
use common::limits;
use common::run_settings::RunSettings;
use common::spec::RunSpec;
use common::wire::codec::{FrameReader, Message, decode};
use common::wire::message::{FromClient, FromWorker, RunEvent, ToClient, ToWorker};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fake_worker::{FakeWorker, Lie};
use super::test_model;
use crate::runs::RunsFolder;
use crate::server::ServerConfig;
use crate::server::engine::Engine;
use crate::server::net::{
    ClientId, Event, Handle, LastActivity, Outbox, Peer, Permit, Refusals, WorkerInfo,
};

/// See the [module](self).
pub(super) struct Harness {
    engine: Engine,
    started: Instant,
    /// Time that a test has let pass.
    passed: Duration,
    activities: Vec<Arc<LastActivity>>,
    outboxes: BTreeMap<Peer, Arc<Outbox>>,
    workers: BTreeMap<WorkerId, FakeWorker>,
    /// The reasons for which workers were disconnected.
    goodbyes: BTreeMap<WorkerId, String>,
    last_peer: u64,
}

impl Harness {
    /// A server without a runs folder.
    pub(super) fn new(config: ServerConfig) -> Self {
        Self::with(config, None)
    }

    /// A server with a runs folder, and a checkpoint after each round.
    pub(super) fn on(folder: &Path, config: ServerConfig) -> Self {
        Self::with(config, Some(RunsFolder::open(folder).unwrap()))
    }

    fn with(config: ServerConfig, folder: Option<RunsFolder>) -> Self {
        let mut engine = Engine::new(config, test_model::registry(), Arc::new(Refusals::default()));
        engine.hold_jobs();
        if let Some(folder) = folder {
            super::keep_runs(&mut engine, folder);
        }
        Self {
            engine,
            started: Instant::now(),
            passed: Duration::ZERO,
            activities: Vec::new(),
            outboxes: BTreeMap::new(),
            workers: BTreeMap::new(),
            goodbyes: BTreeMap::new(),
            last_peer: 0,
        }
    }

    fn handle(&mut self, peer: impl FnOnce(u64) -> Peer) -> (Peer, Handle) {
        self.last_peer += 1;
        let (peer, outbox) = (peer(self.last_peer), Arc::new(Outbox::new()));
        self.outboxes.insert(peer, outbox.clone());
        let activity = Arc::new(LastActivity::new(self.started));
        self.activities.push(activity.clone());
        (peer, Handle::new(outbox, activity, "here".into()))
    }

    /// A client joins.
    pub(super) fn client(&mut self) -> ClientId {
        let (peer, handle) = self.handle(|id| Peer::Client(ClientId(id)));
        let Peer::Client(client) = peer else { unreachable!("it was made as one") };
        self.engine.drive(Event::ClientJoined { client, handle });
        client
    }

    /// A worker of two slots joins, and does no work.
    pub(super) fn idle_worker(&mut self, name: &str) -> WorkerId {
        let (peer, handle) = self.handle(|id| Peer::Worker(WorkerId(id)));
        let Peer::Worker(worker) = peer else { unreachable!("it was made as one") };
        let info = WorkerInfo {
            name: name.into(),
            process: ProcessId(worker.0),
            slots: 2,
            memory_limit: 1 << 30,
            cache_limit: 1 << 30,
        };
        self.engine.drive(Event::WorkerJoined { worker, info, handle });
        worker
    }

    /// A worker joins that works whenever the test calls it.
    pub(super) fn worker(&mut self, name: &str) -> WorkerId {
        self.liar(name, Lie::Nothing)
    }

    /// The same with a lying worker.
    pub(super) fn liar(&mut self, name: &str, lie: Lie) -> WorkerId {
        let worker = self.idle_worker(name);
        self.workers.insert(worker, FakeWorker::new(lie));
        worker
    }

    /// A worker sends a message.
    pub(super) fn say(&mut self, worker: WorkerId, message: FromWorker) {
        self.engine.drive(Event::FromWorker { worker, message, permit: permit() });
    }

    /// A client sends a request.
    pub(super) fn ask(&mut self, client: ClientId, message: FromClient) {
        self.engine.drive(Event::FromClient { client, message, permit: permit() });
    }

    /// A worker's connection breaks.
    pub(super) fn lose(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        let (peer, cause) = (Peer::Worker(worker), "closed by the peer".to_owned());
        self.engine.drive(Event::Closed { peer, cause, by_us: false });
    }

    /// Messages to a worker since the last call, without heartbeats.
    pub(super) fn sent_to(&mut self, worker: WorkerId) -> Vec<ToWorker> {
        let sent: Vec<ToWorker> = messages(&self.outboxes[&Peer::Worker(worker)].take_bytes());
        sent.into_iter().filter(|it| *it != ToWorker::Heartbeat).collect()
    }

    /// Messages to a client since the last call, without heartbeats.
    pub(super) fn told(&mut self, client: ClientId) -> Vec<ToClient> {
        let sent: Vec<ToClient> = messages(&self.outboxes[&Peer::Client(client)].take_bytes());
        sent.into_iter().filter(|it| *it != ToClient::Heartbeat).collect()
    }

    /// Lets a worker receive what it was sent, without working. Returns the messages.
    pub(super) fn hear(&mut self, worker: WorkerId) -> Vec<ToWorker> {
        let sent = self.sent_to(worker);
        if let Some(it) = self.workers.get_mut(&worker) {
            sent.iter().cloned().for_each(|message| it.hear(message));
        }
        sent
    }

    /// Runs one job of the server, if there is one.
    pub(super) fn finish_job(&mut self) -> bool {
        self.engine.finish_job()
    }

    /// Waits for an event of the storage writer.
    pub(super) fn await_storage(&mut self) {
        self.engine.await_storage();
    }

    /// Lets time pass; then all peers send heartbeats.
    pub(super) fn elapse(&mut self, time: Duration) {
        self.passed += time;
        let at = self.passed.as_millis() as u64;
        self.activities.iter().for_each(|activity| activity.set(at));
        self.engine.elapse(time);
    }

    /// The reason for which a worker was disconnected, if it was.
    pub(super) fn first_worker(&self) -> WorkerId {
        *self.workers.keys().next().expect("a worker")
    }

    /// The reason that a worker was sent away for.
    pub(super) fn goodbye(&self, worker: WorkerId) -> Option<&str> {
        self.goodbyes.get(&worker).map(String::as_str)
    }

    /// Lets a worker receive its messages, work, and send its answers. Returns whether it did
    /// anything.
    pub(super) fn let_work(&mut self, worker: WorkerId) -> bool {
        let sent = self.sent_to(worker);
        let Some(it) = self.workers.get_mut(&worker) else { return false };
        let mut has_done = !sent.is_empty();
        for message in sent {
            if let ToWorker::Goodbye { reason } = &message {
                self.goodbyes.insert(worker, reason.clone());
            }
            it.hear(message);
        }
        while it.work() {
            has_done = true;
        }
        for message in it.take_said() {
            self.say(worker, message);
        }
        has_done
    }

    /// Runs workers and jobs until nothing is left to do.
    pub(super) fn settle(&mut self) {
        loop {
            let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
            let mut has_done = self.finish_job();
            for worker in workers {
                has_done |= self.let_work(worker);
            }
            if !has_done {
                return;
            }
        }
    }

    /// Runs workers and jobs until nothing is left to do; then waits for an event of the storage
    /// writer.
    pub(super) fn settle_or_await(&mut self) {
        self.settle();
        self.await_storage();
    }

    /// Submits a run with the test model's examples, and sends the requested data. Returns the
    /// answer.
    pub(super) fn submit(&mut self, client: ClientId, spec: &RunSpec) -> ToClient {
        let data = test_model::dataset();
        let (train, test) = (data.train.manifest(), data.test.manifest());
        let (key, spec) = (SubmissionKey::draw().unwrap(), spec.to_toml());
        let settings = RunSettings::default();
        let (schema, state, replay) = (String::new(), None, None);
        let submit = FromClient::Submit { key, spec, schema, train, test, state, settings, replay };
        self.ask(client, submit);
        let mut told = VecDeque::new();
        loop {
            while self.finish_job() {}
            told.extend(self.told(client));
            match told.pop_front() {
                Some(ToClient::NeedChunks { split, chunks }) => {
                    for chunk in chunks {
                        let payload = data.split(split).chunk(chunk as usize);
                        self.ask(client, FromClient::Chunk { split, chunk, payload });
                    }
                }
                Some(answer) => return answer,
                None => self.await_storage(),
            }
        }
    }

    /// All events of a run so far.
    pub(super) fn events(&mut self, run: RunId) -> Vec<RunEvent> {
        let client = self.client();
        self.ask(client, FromClient::Follow { run });
        let event = |message| match message {
            ToClient::Event(event) => event,
            other => panic!("{other:?}"),
        };
        self.told(client).into_iter().map(event).collect()
    }
}

fn permit() -> Permit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

/// Decodes messages.
fn messages<M: Message>(bytes: &[u8]) -> Vec<M> {
    // A reader has deadlines, which need a runtime.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut frames = FrameReader::new(bytes, limits::FRAME_BYTES);
        let mut messages = Vec::new();
        while let Some(content) = frames.next().await.unwrap() {
            messages.push(decode(&content).unwrap());
        }
        messages
    })
}
