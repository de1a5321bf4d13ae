//! A server in memory, and peers that use the wire protocol directly.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::dataset::Dataset;
use common::id::{ProcessId, SubmissionKey};
use common::limits;
use common::run_settings::RunSettings;
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::codec::{FrameReader, Message, decode, encode, write};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{FromClient, Role, RunEvent, ToClient, ToWorker, WorkerStatus};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fake_worker::{FakeWorker, Lie};
use super::test_model;
use crate::runs::RunsFolder;
use crate::server::ServerConfig;
use crate::server::engine::Engine;
use crate::server::net::{Admission, ConnectionLimits, LastActivity, Refusals};

/// A server without sockets.
pub(super) struct TestServer {
    admission: Arc<Admission>,
    pub(super) engine: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    processes: AtomicU64,
    started: Instant,
}

impl TestServer {
    pub(super) fn start(config: ServerConfig) -> Self {
        Self::start_with(config, None)
    }

    /// A server that keeps its runs in a folder, and continues the runs of that folder. These peers
    /// send no heartbeats, and the machine may be busy.
    pub(super) fn start_in(folder: &Path, config: ServerConfig) -> Self {
        Self::start_on(RunsFolder::open(folder).unwrap(), config)
    }

    /// The same on an open folder, which a test may control.
    pub(super) fn start_on(folder: RunsFolder, mut config: ServerConfig) -> Self {
        config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
        Self::start_with(config, Some(folder))
    }

    fn start_with(config: ServerConfig, folder: Option<RunsFolder>) -> Self {
        let refusals = Arc::new(Refusals::default());
        let heartbeat_timeout = config.scheduler.heartbeat_timeout;
        let mut engine = Engine::new(config, test_model::registry(), refusals.clone());
        let limits = ConnectionLimits::of_this_process();
        let events = engine.net_events();
        let admission = Admission::new(events, heartbeat_timeout, None, limits, refusals);
        if let Some(folder) = folder {
            super::keep_runs(&mut engine, folder);
        }
        let (stop, stopped) = oneshot::channel();
        Self {
            admission: Arc::new(admission),
            engine: tokio::spawn(engine.run(stopped)),
            stop,
            processes: AtomicU64::new(1),
            started: Instant::now(),
        }
    }

    /// A new connection, before its handshake.
    pub(super) fn connect(&self) -> TestPeer {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let admission = self.admission.clone();
        let (reader, writer) = tokio::io::split(theirs);
        let activity = Arc::new(LastActivity::new(self.started));
        tokio::spawn(async move {
            let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
            let reader = (reader, activity);
            if let Ok(accepted) = admission.greet(reader, writer, None, deadline).await {
                admission.serve(accepted, SocketAddr::from(([127, 0, 0, 1], 1))).await;
            }
        });
        let (reader, writer) = tokio::io::split(ours);
        TestPeer { frames: FrameReader::new(reader, limits::FRAME_BYTES), writer }
    }

    /// A client.
    pub(super) async fn client(&self) -> TestPeer {
        let mut peer = self.connect();
        peer.greet(Role::Client).await.unwrap();
        peer
    }

    /// A connection as a worker of two slots that does no work.
    pub(super) async fn idle_worker(&self, name: &str) -> TestPeer {
        let mut peer = self.connect();
        let process = ProcessId(self.processes.fetch_add(1, Ordering::Relaxed));
        let name = name.into();
        let (memory_limit, cache_limit) = (1 << 30, 1 << 30);
        let role = Role::Worker { name, process, slots: 2, memory_limit, cache_limit };
        peer.greet(role).await.unwrap();
        peer
    }

    /// A worker that works until the server is gone, or until it has finished this many blocks, and
    /// then closes without a message.
    pub(super) async fn worker(&self, name: &str, blocks: usize) -> tokio::task::JoinHandle<()> {
        let peer = self.idle_worker(name).await;
        tokio::spawn(peer.work(FakeWorker::new(Lie::Nothing), blocks))
    }

    /// Runs a connection's worker until the server is gone.
    pub(super) fn put_to_work(peer: TestPeer) {
        tokio::spawn(peer.work(FakeWorker::new(Lie::Nothing), usize::MAX));
    }

    /// Starts a worker whose first partial is changed in transit.
    pub(super) async fn altered_worker(&self, name: &str) {
        let peer = self.idle_worker(name).await;
        tokio::spawn(peer.work(FakeWorker::altered(), usize::MAX));
    }

    /// Starts a worker that lies until its connection is closed.
    pub(super) async fn liar(&self, lie: Lie) -> tokio::task::JoinHandle<()> {
        let peer = self.idle_worker("liar").await;
        tokio::spawn(peer.work(FakeWorker::new(lie), usize::MAX))
    }

    pub(super) async fn shut_down(self) {
        self.stop.send(()).unwrap();
        self.engine.await.unwrap();
    }
}

/// The other end of a connection.
pub(super) struct TestPeer {
    pub(super) frames: FrameReader<ReadHalf<DuplexStream>>,
    pub(super) writer: WriteHalf<DuplexStream>,
}

impl TestPeer {
    pub(super) async fn greet(&mut self, role: Role) -> Result<(), HandshakeError> {
        let hello = handshake::hello(role);
        handshake::ask(&mut self.frames, &mut self.writer, hello).await.map(|_| ())
    }

    /// Sends a message; the server may be gone.
    pub(super) async fn say<M: Message>(&mut self, message: M) {
        let _ = write(&mut self.writer, &encode(message)).await;
    }

    /// The next message except heartbeats; `None` at the end.
    pub(super) async fn hear<M: Message + PartialEq>(&mut self, heartbeat: &M) -> Option<M> {
        loop {
            let content = self.frames.next().await.ok()??;
            let message = decode(&content).unwrap();
            if message != *heartbeat {
                return Some(message);
            }
        }
    }

    pub(super) async fn hear_client(&mut self) -> Option<ToClient> {
        self.hear(&ToClient::Heartbeat).await
    }

    /// Whether the server still answers this client.
    pub(super) async fn is_served(&mut self) -> bool {
        self.say(FromClient::Status).await;
        matches!(self.hear_client().await, Some(ToClient::Status(_)))
    }

    /// Works until the server is gone, or until this many blocks are done, and then closes without
    /// a message.
    async fn work(mut self, mut worker: FakeWorker, blocks: usize) {
        let mut done = 0;
        while let Some(message) = self.hear(&ToWorker::Heartbeat).await {
            if matches!(message, ToWorker::Goodbye { .. }) {
                return;
            }
            worker.hear(message);
            loop {
                let has_worked = worker.work();
                for message in worker.take_said() {
                    self.say(message).await;
                }
                if !has_worked {
                    break;
                }
                done += 1;
                if done == blocks {
                    return;
                }
            }
        }
    }

    /// The status of the workers.
    pub(super) async fn workers(&mut self) -> Vec<WorkerStatus> {
        self.say(FromClient::Status).await;
        let answer = self.hear_client().await;
        let Some(ToClient::Status(status)) = answer else { panic!("{answer:?}") };
        status.workers
    }

    /// Submits a run with the test dataset, sends the requested data, and returns the answer.
    pub(super) async fn submit(
        &mut self,
        spec: &RunSpec,
        state: Option<&NetworkState>,
    ) -> Option<ToClient> {
        self.submit_as(SubmissionKey::draw().unwrap(), spec, state).await
    }

    /// The same with a key that may have been sent before.
    pub(super) async fn submit_as(
        &mut self,
        key: SubmissionKey,
        spec: &RunSpec,
        state: Option<&NetworkState>,
    ) -> Option<ToClient> {
        self.submit_over(key, spec, state, &test_model::dataset()).await
    }

    /// The same with other data.
    pub(super) async fn submit_over(
        &mut self,
        key: SubmissionKey,
        spec: &RunSpec,
        state: Option<&NetworkState>,
        data: &Dataset,
    ) -> Option<ToClient> {
        self.say(FromClient::Submit {
            key,
            spec: spec.to_toml(),
            schema: String::new(),
            train: data.train.manifest(),
            test: data.test.manifest(),
            state: state.map(NetworkState::layout),
            settings: RunSettings::default(),
            replay: None,
        })
        .await;
        let segments = state.map(|state| state.layout().state_segments()).unwrap_or_default();
        for (index, segment) in segments.iter().enumerate() {
            let mut payload = Vec::new();
            state?.read_segment(segment, &mut payload);
            let segment = index as u32;
            self.say(FromClient::StateSegment { segment, payload: payload.into() }).await;
        }
        loop {
            match self.hear_client().await? {
                ToClient::NeedChunks { split, chunks } => {
                    for chunk in chunks {
                        let payload = data.split(split).chunk(chunk as usize);
                        self.say(FromClient::Chunk { split, chunk, payload }).await;
                    }
                }
                answer => return Some(answer),
            }
        }
    }

    /// Follows a run to its last event.
    pub(super) async fn follow(&mut self, run: common::id::RunId) -> Vec<RunEvent> {
        self.say(FromClient::Follow { run }).await;
        let mut events = Vec::new();
        while let Some(message) = self.hear_client().await {
            let ToClient::Event(event) = message else { panic!("{message:?}") };
            let is_last = event.is_last();
            events.push(event);
            if is_last {
                break;
            }
        }
        events
    }
}
