//! A server in memory, and a worker and a client that speak the wire by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use common::dataset::{Dataset, DatasetError, ExampleSource, SplitManifest};
use common::digest::Digest;
use common::id::{AssignmentId, Block, ProcessId, StepId, SubmissionKey};
use common::limits;
use common::merge::{MergeTree, Partial, segment_hash};
use common::model::{DataShape, Model};
use common::plan::RunPlan;
use common::run_settings::{CheckpointEvery, RunSettings};
use common::shard::{self, ShardInput};
use common::spec::{RunSpec, Split};
use common::state::{ElementType, Layout, NetworkState, Segment};
use common::wire::codec::{FrameReader, Message, decode, encode, write};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{
    BlockDone, FromClient, FromWorker, Role, RunEvent, ShardDone, ToClient, ToWorker, WorkerStatus,
};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Config;
use super::super::connection::Heard;
use super::super::door::{Bounds, Door};
use super::super::durable::RunsConfig;
use super::super::engine::{EVENTS, Engine, Event};
use super::super::jobs::{Found, Incarnation};
use super::super::recover::recover;
use super::toy;
use crate::runs::RunsFolder;

/// A server without sockets.
pub(super) struct TestServer {
    door: Arc<Door>,
    pub(super) engine: tokio::task::JoinHandle<()>,
    events: mpsc::Sender<Event>,
    processes: AtomicU64,
}

impl TestServer {
    pub(super) fn start(config: Config) -> Self {
        let (events, inbox) = mpsc::channel(EVENTS);
        let door = Arc::new(Door::new(events.clone(), &config, Bounds::of_this_process()));
        let engine = Engine::new(config, toy::registry(), events.clone(), door.refusals.clone());
        Self { door, engine: tokio::spawn(engine.run(inbox)), events, processes: AtomicU64::new(1) }
    }

    /// One that keeps its runs in a folder, and goes on with those that are there.
    /// These peers have no heart, and the machine may be busy.
    pub(super) fn start_in(folder: &Path, config: Config) -> Self {
        Self::start_on(RunsFolder::open(folder).unwrap(), config)
    }

    /// The same on a folder that is open, and may behave as a test wants.
    pub(super) fn start_on(folder: RunsFolder, config: Config) -> Self {
        Self::start_with(folder, config, |_| {})
    }

    /// The same with an engine that is changed before it runs.
    pub(super) fn start_with(
        folder: RunsFolder,
        mut config: Config,
        change: impl FnOnce(&mut Engine),
    ) -> Self {
        config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
        let (events, inbox) = mpsc::channel(EVENTS);
        let door = Arc::new(Door::new(events.clone(), &config, Bounds::of_this_process()));
        let registry = toy::registry();
        let refusals = door.refusals.clone();
        let mut engine = Engine::new(config, registry.clone(), events.clone(), refusals);
        let runs = RunsConfig {
            checkpoint_every: CheckpointEvery::Rounds(1),
            resume_wait: Duration::ZERO,
            ..RunsConfig::new(folder)
        };
        let (recovered, history) = recover(&runs.folder, runs.history_bytes);
        engine.keep_runs(runs, events.clone(), history, recovered).unwrap();
        change(&mut engine);
        Self { door, engine: tokio::spawn(engine.run(inbox)), events, processes: AtomicU64::new(1) }
    }

    /// A new connection, before its handshake.
    pub(super) fn connect(&self) -> TestPeer {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let door = self.door.clone();
        let (reader, writer) = tokio::io::split(theirs);
        tokio::spawn(async move {
            let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
            let reader = (reader, Arc::new(Heard::new(door.started)));
            if let Ok(guest) = door.greet(reader, writer, None, deadline).await {
                door.serve(guest, SocketAddr::from(([127, 0, 0, 1], 1))).await;
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

    /// A connection as a worker of two slots, with nobody to work.
    pub(super) async fn idle_worker(&self, name: &str) -> TestPeer {
        let mut peer = self.connect();
        let process = ProcessId(self.processes.fetch_add(1, Ordering::Relaxed));
        let name = name.into();
        let (memory_limit, cache_limit) = (1 << 30, 1 << 30);
        let role = Role::Worker { name, process, slots: 2, memory_limit, cache_limit };
        peer.greet(role).await.unwrap();
        peer
    }

    /// A worker that works until the server is gone, or until it has finished
    /// so many blocks, and then goes without a word.
    pub(super) async fn worker(&self, name: &str, blocks: usize) -> tokio::task::JoinHandle<()> {
        let peer = self.idle_worker(name).await;
        tokio::spawn(async move { TestWorker::new(peer).work(blocks).await })
    }

    /// Has a connection's worker work until the server is gone.
    pub(super) fn put_to_work(peer: TestPeer) {
        tokio::spawn(TestWorker::new(peer).work(usize::MAX));
    }

    /// Starts a worker whose first partial changes on its way.
    pub(super) async fn altered_worker(&self, name: &str) {
        let worker =
            TestWorker { alters_next: true, ..TestWorker::new(self.idle_worker(name).await) };
        tokio::spawn(worker.work(usize::MAX));
    }

    /// Starts a worker that tells a lie until its connection ends.
    pub(super) async fn liar(&self, lie: Lie) -> tokio::task::JoinHandle<()> {
        let worker = TestWorker { lie, ..TestWorker::new(self.idle_worker("liar").await) };
        tokio::spawn(worker.work(usize::MAX))
    }

    /// Work for a run, begun in one of its lives, has found this.
    pub(super) async fn find(&self, of: Incarnation, found: Found) {
        self.events.send(Event::Found { of, found }).await.unwrap();
    }

    pub(super) async fn shut_down(self) {
        self.events.send(Event::Shutdown).await.unwrap();
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

    /// Says something; the server may be gone.
    pub(super) async fn say<M: Message>(&mut self, message: M) {
        let _ = write(&mut self.writer, &encode(message)).await;
    }

    /// The next message but heartbeats; `None` at the end.
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

    /// What is said of the workers.
    pub(super) async fn workers(&mut self) -> Vec<WorkerStatus> {
        self.say(FromClient::Status).await;
        let answer = self.hear_client().await;
        let Some(ToClient::Status(status)) = answer else { panic!("{answer:?}") };
        status.workers
    }

    /// Submits the toy dataset's run, sends what is asked for, and returns the
    /// answer.
    pub(super) async fn submit(
        &mut self,
        spec: &RunSpec,
        state: Option<&NetworkState>,
    ) -> Option<ToClient> {
        self.submit_as(SubmissionKey::draw().unwrap(), spec, state).await
    }

    /// The same by a key, which may have been sent before.
    pub(super) async fn submit_as(
        &mut self,
        key: SubmissionKey,
        spec: &RunSpec,
        state: Option<&NetworkState>,
    ) -> Option<ToClient> {
        self.submit_over(key, spec, state, &toy::dataset()).await
    }

    /// The same over other data.
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

/// Chunks, as a source of examples.
#[derive(Default)]
struct Chunks {
    manifests: BTreeMap<Split, SplitManifest>,
    chunks: BTreeMap<(Split, usize), Bytes>,
}

impl ExampleSource for Chunks {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        features: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DatasetError> {
        let manifest = &self.manifests[&split];
        for example in examples {
            let chunk = &self.chunks[&(split, manifest.chunk_of(*example))];
            manifest.read_example(chunk, *example, features, labels);
        }
        Ok(())
    }
}

/// A run that a [`TestWorker`] knows of.
struct KnownRun {
    plan: RunPlan,
    model: Box<dyn Model>,
    layout: Layout,
}

/// A worker that does one thing after another.
struct TestWorker {
    peer: TestPeer,
    run: Option<KnownRun>,
    data: Chunks,
    incoming: Option<(StepId, NetworkState)>,
    bases: BTreeMap<StepId, Arc<NetworkState>>,
    assigned: Vec<(AssignmentId, StepId, Block)>,
    kept: BTreeMap<(StepId, Block), Partial>,
    /// Whether the next payload changes on its way.
    alters_next: bool,
    lie: Lie,
}

/// What is wrong with all that a worker says, under digests that are right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Lie {
    #[default]
    Nothing,
    /// A value of its partials is no number.
    NotANumber,
    /// A block has an example more than it has.
    Weight,
    /// A shard is missing in its block.
    Shards,
    /// Its shards fail, before it says what they gave.
    Failure,
    /// It has partials, and sends nothing of them.
    Mute,
    /// The block beside its own, which others were given, is done too.
    Beside,
}

impl TestWorker {
    fn new(peer: TestPeer) -> Self {
        Self {
            peer,
            run: None,
            data: Chunks::default(),
            incoming: None,
            bases: BTreeMap::new(),
            assigned: Vec::new(),
            kept: BTreeMap::new(),
            alters_next: false,
            lie: Lie::default(),
        }
    }

    async fn work(mut self, blocks: usize) {
        let mut done = 0;
        while let Some(message) = self.peer.hear(&ToWorker::Heartbeat).await {
            if matches!(message, ToWorker::Goodbye { .. }) {
                return;
            }
            self.handle(message).await;
            while let Some((assignment, step, block)) = self.next_block() {
                if self.lie == Lie::Failure {
                    let (replica, error) = (block.start() as u32, "so it says".to_owned());
                    let failed =
                        FromWorker::ShardFailed { assignment, step, replica, fatal: false, error };
                    self.peer.say(failed).await;
                }
                self.process(step, block).await;
                done += 1;
                if done == blocks {
                    return;
                }
            }
        }
    }

    async fn handle(&mut self, message: ToWorker) {
        match message {
            ToWorker::OpenRun { run, spec, train, test, layout, .. } => {
                let spec = RunSpec::from_toml(&spec).unwrap();
                let plan = RunPlan::new(&spec, train.size(), test.examples).unwrap();
                let shape = DataShape { features: 1, classes: 1 };
                let model = toy::registry().build("toy", &spec.parameters, shape, spec.seed);
                for (split, manifest) in [(Split::Train, train), (Split::Test, test)] {
                    let chunks = (0..manifest.chunks.len() as u32).collect();
                    self.peer.say(FromWorker::NeedChunks { run, split, chunks }).await;
                    self.data.manifests.insert(split, manifest);
                }
                self.run = Some(KnownRun { plan, model: model.unwrap(), layout });
            }
            ToWorker::Chunk { split, chunk, payload, .. } => {
                self.data.manifests[&split].check_chunk(chunk as usize, &payload).unwrap();
                self.data.chunks.insert((split, chunk as usize), payload);
            }
            ToWorker::StateSegment { step, segment, payload } => {
                let layout = &self.run.as_ref().unwrap().layout;
                if segment == 0 {
                    self.incoming = Some((step, NetworkState::zeros(layout).unwrap()));
                }
                let segments = layout.state_segments();
                let (of, state) = self.incoming.as_mut().unwrap();
                assert_eq!(*of, step);
                let index = segment as usize;
                state.write_segment(index, &segments[index], &payload).unwrap();
                if index + 1 == segments.len() {
                    let (_, state) = self.incoming.take().unwrap();
                    self.bases.insert(step, Arc::new(state));
                }
            }
            ToWorker::SameState { step, as_of } => {
                let base = self.bases[&as_of].clone();
                self.bases.insert(step, base);
            }
            ToWorker::Assign { assignment, step, block, confirm } => {
                if confirm {
                    self.peer.say(FromWorker::Started { assignment }).await;
                }
                let run = self.run.as_ref().unwrap();
                let replicas = run.plan.step(step.index).unwrap().replicas;
                let beside = Block { index: block.index ^ 1, ..block };
                let is_one =
                    !beside.replicas(replicas).is_empty() && block != Block::root(replicas);
                if self.lie == Lie::Beside && is_one {
                    self.assigned.push((assignment, step, beside));
                }
                self.assigned.push((assignment, step, block));
            }
            ToWorker::Pull { .. } if self.lie == Lie::Mute => {}
            ToWorker::Pull { step, block, first, count } => {
                let layout = &self.run.as_ref().unwrap().layout;
                let segments = layout.merge_segments();
                for segment in first..first + count {
                    let partial = &self.kept[&(step, block)];
                    let mut payload = self.lie.told(partial, layout, &segments[segment as usize]);
                    flip_a_bit(&mut payload, &mut self.alters_next);
                    let payload = payload.into();
                    let piece = FromWorker::PartialSegment { step, block, segment, payload };
                    self.peer.say(piece).await;
                }
            }
            ToWorker::StepDone { step } => {
                self.bases.remove(&step);
                self.kept.retain(|(of, _), _| *of != step);
                self.assigned.retain(|(_, of, _)| *of != step);
            }
            ToWorker::CloseRun { .. } => {
                self.bases.clear();
                self.assigned.clear();
                self.data = Chunks::default();
            }
            ToWorker::Revoke { .. } | ToWorker::Heartbeat | ToWorker::Goodbye { .. } => {}
        }
    }

    /// A block that can be processed now.
    fn next_block(&mut self) -> Option<(AssignmentId, StepId, Block)> {
        let wanted: usize = self.data.manifests.values().map(|it| it.chunks.len()).sum();
        if self.data.chunks.len() < wanted {
            return None;
        }
        let ready = self.assigned.iter().position(|(_, step, _)| self.bases.contains_key(step))?;
        Some(self.assigned.remove(ready))
    }

    async fn process(&mut self, id: StepId, block: Block) {
        let run = self.run.as_ref().unwrap();
        let step = run.plan.step(id.index).unwrap();
        let order = run.plan.order(&step);
        let base = &*self.bases[&id];
        let (plan, data) = (&run.plan, &self.data);
        let input = ShardInput { plan, step: &step, order: order.as_ref(), base, data };
        let mut tree = MergeTree::of_block(block, step.replicas);
        let mut shards = Vec::new();
        for replica in block.replicas(step.replicas) {
            let mut instance = run.model.replica().unwrap();
            let go_on = &mut |_, _| ControlFlow::Continue(());
            let partial = shard::run(&input, replica, instance.as_mut(), go_on).unwrap();
            let digest = match &partial {
                Some(partial) => {
                    let segments = run.layout.merge_segments();
                    let told = |segment| self.lie.told(partial, &run.layout, segment);
                    let hashes = segments.iter().map(|segment| segment_hash(&told(segment)));
                    let digest = Partial::digest_of(partial.weight, hashes);
                    Partial::shard_digest_of(digest, partial.results.digest())
                }
                None => Partial::shard_digest(None, &run.layout),
            };
            shards.push(ShardDone { digest, compute_us: 1 });
            tree.insert(Block::of_replica(replica), partial);
        }
        let partial = tree.into_root().unwrap_or_else(|| Partial {
            tensors: vec![None; run.layout.tensors.len()],
            ..Default::default()
        });
        let partial_bytes = partial.encoded_bytes(&run.layout);
        let is_inline = partial_bytes <= limits::INLINE_PARTIAL_BYTES;
        let mut hashes = Vec::new();
        let mut inline = Vec::new();
        for segment in &run.layout.merge_segments() {
            let payload = self.lie.told(&partial, &run.layout, segment);
            hashes.push(segment_hash(&payload));
            if is_inline {
                inline.put_u32(payload.len() as u32);
                inline.extend(payload);
            }
        }
        if is_inline {
            flip_a_bit(&mut inline, &mut self.alters_next);
        }
        let mut done = BlockDone {
            step: id,
            block,
            weight: partial.weight,
            results: partial.results.clone(),
            digest: Digest::of(b""),
            shards,
            partial_bytes,
            compute_us: 1,
            is_inline,
            payload: match is_inline {
                true => inline.into(),
                false => hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect(),
            },
        };
        match self.lie {
            Lie::Weight => done.weight += 1,
            Lie::Shards => drop(done.shards.pop()),
            Lie::Nothing | Lie::NotANumber | Lie::Failure | Lie::Mute | Lie::Beside => {}
        }
        done.digest = done.digest_of(hashes);
        self.kept.insert((id, block), partial);
        self.peer.say(FromWorker::BlockDone(done)).await;
    }
}

impl Lie {
    /// A segment as it is told.
    fn told(self, partial: &Partial, layout: &Layout, segment: &Segment) -> Vec<u8> {
        let mut payload = partial.segment(layout, segment);
        let is_real = layout.tensors[segment.tensor].element == ElementType::F32;
        if let Some(value) = payload.last_chunk_mut::<4>().filter(|_| is_real)
            && self == Self::NotANumber
        {
            *value = f32::NAN.to_le_bytes();
        }
        payload
    }
}

/// Flips a bit of the last value, once.
fn flip_a_bit(payload: &mut [u8], flips: &mut bool) {
    if std::mem::take(flips)
        && let Some(value) = payload.last_chunk_mut::<4>()
    {
        value[0] ^= 1;
    }
}
