//! Messages. There is one closed enum for each direction, so that a peer cannot send what its role
//! does not allow.
//!
//! A payload is always the last field of its variant.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dataset::SplitManifest;
use crate::digest::Digest;
use crate::id::{
    AssignmentId, Block, MemoryToken, ProcessId, RunId, RunIdentity, StepId, SubmissionKey,
    WorkerId,
};
use crate::merge::Partial;
use crate::plan::BlockPlan;
use crate::results::Results;
use crate::run_settings::RunSettings;
use crate::spec::Split;
use crate::state::Layout;
use crate::wire::payload;

pub use crate::wire::event::{RunEvent, RunStatus, Status, WorkerStatus};

/// Version of the protocol. It is increased with any change to a message.
pub const PROTOCOL: u32 = 12;

/// Identifies the order and kind of every floating-point operation, and the implementation of `exp`
/// and `ln`. Two builds whose results could differ in a bit must differ here; two builds that agree
/// here, and in the protocol, work together.
pub const NUMERIC_PROFILE: &str = "samebit-f32-2/libm-0.2.16";

/// First message of every connection, from the connecting side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Always `samebit`: distinguishes peers from other programs.
    pub magic: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the build, for people: it may differ from the coordinator's.
    pub build: String,
    /// [`NUMERIC_PROFILE`].
    pub numeric_profile: String,
    /// The peer's role.
    pub role: Role,
}

/// The role of a connecting peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Role {
    /// A worker.
    Worker {
        /// Its name, for people.
        name: String,
        /// The same for all connections of one process.
        process: ProcessId,
        /// Shards that it runs at the same time.
        slots: u32,
        /// Memory that it may use, in bytes.
        memory_limit: u64,
        /// The part of it that the cache of examples may use, in bytes, if nothing else needs it.
        cache_limit: u64,
    },
    /// A client.
    Client,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Welcome {
    /// The peer is accepted.
    Accepted {
        /// Build of the coordinator.
        build: String,
        /// The worker's id; `None` for clients.
        worker: Option<WorkerId>,
        /// Silence after which either side counts the other as lost, in ms.
        heartbeat_timeout_ms: u64,
    },
    /// The peer is refused.
    Refused {
        /// What to change, in a sentence.
        reason: String,
        /// Whether an unchanged retry may help: bytes were changed in transit, or all connections
        /// are in use at the moment.
        may_pass: bool,
    },
}

/// Progress of a running assignment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The assignment.
    pub assignment: AssignmentId,
    /// Replicas that are running.
    pub running: Vec<u32>,
    /// Shards finished.
    pub shards_done: u32,
    /// Examples processed, including those of unfinished shards.
    pub examples_done: u64,
}

/// A finished shard of a block. On the wire a list of two: digest and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Digest, u64)", into = "(Digest, u64)")]
pub struct ShardDone {
    /// Digest of the shard's contribution and results ([`crate::merge::Partial::shard_digest`]).
    pub digest: Digest,
    /// Compute time, in µs.
    pub compute_us: u64,
}

impl From<(Digest, u64)> for ShardDone {
    fn from((digest, compute_us): (Digest, u64)) -> Self {
        Self { digest, compute_us }
    }
}

impl From<ShardDone> for (Digest, u64) {
    fn from(done: ShardDone) -> Self {
        (done.digest, done.compute_us)
    }
}

/// A finished block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockDone {
    /// The step.
    pub step: StepId,
    /// The block.
    pub block: Block,
    /// Examples processed: the partial's weight.
    pub weight: u64,
    /// Results of the model.
    pub results: Results,
    /// Digest of everything that determines the result ([`BlockDone::digest_of`]).
    pub digest: Digest,
    /// Its shards, in replica order: at most [`crate::limits::BLOCK_REPLICAS`].
    pub shards: Vec<ShardDone>,
    /// Bytes of the partial's segments together.
    pub partial_bytes: u64,
    /// Time from the first shard's start to the last one's end, in µs.
    pub compute_us: u64,
    /// Whether the payload holds the partial. Otherwise the worker keeps it, to be pulled.
    pub is_inline: bool,
    /// For all merge segments, in order: if the partial is inline, the segment after its length in
    /// 4 bytes, big-endian; otherwise its [`crate::merge::segment_hash`] in 16 bytes, big-endian.
    #[serde(deserialize_with = "payload::deserialize")]
    pub payload: Bytes,
}

impl BlockDone {
    /// The right value of `digest`, for a partial whose merge segments have these hashes.
    pub fn digest_of(&self, segments: impl IntoIterator<Item = u128>) -> Digest {
        let partial = Partial::digest_of(self.weight, segments);
        let shards = self.shards.iter().map(|shard| shard.digest);
        Partial::block_digest((self.step, self.block), partial, self.results.digest(), shards)
    }
}

/// From a worker to its coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromWorker {
    /// The worker is alive. Sent every second, independently of everything else.
    Heartbeat {
        /// Resident memory, in bytes.
        memory: u64,
        /// Running assignments.
        progress: Vec<Progress>,
    },
    /// The run is open at this worker, and all kept blocks of it have been offered.
    Opened {
        /// The run.
        run: RunId,
    },
    /// This worker cannot work on the run (its build may lack the model): it answers no assignment
    /// of the run any more. Sent instead of [`FromWorker::Opened`], or later, if an assignment's
    /// plan differs from the worker's own.
    Cannot {
        /// The run.
        run: RunId,
        /// What is missing and what to do, in a sentence.
        reason: String,
    },
    /// Chunks of examples that the worker lacks for an assignment.
    NeedChunks {
        /// The run.
        run: RunId,
        /// The split.
        split: Split,
        /// Indexes in the split's manifest.
        chunks: Vec<u32>,
    },
    /// A block is finished. Sent again after a reconnect, for each kept partial of the run.
    BlockDone(BlockDone),
    /// A shard failed: an error or a panic of the model.
    ShardFailed {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The replica.
        replica: u32,
        /// Whether a retry cannot help (a value that is not finite).
        fatal: bool,
        /// The error.
        error: String,
    },
    /// The assignment begins: sent before any of its shards runs, if the assignment is to be
    /// confirmed.
    Started {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// The assignment is handed back unfinished (the worker is draining).
    HandedBack {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A pulled merge segment.
    PartialSegment {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Index among the layout's merge segments.
        segment: u32,
        /// The contribution, encoded.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A pulled merge segment, in a slot of the memory that this worker shares with the
    /// coordinator ([`crate::wire::shared_memory`]). Its hash came with [`FromWorker::BlockDone`].
    SegmentInMemory {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Index among the layout's merge segments.
        segment: u32,
        /// The slot, which the worker leaves alone until [`ToWorker::SlotsRead`].
        slot: u32,
        /// Bytes of the contribution, encoded.
        bytes: u32,
    },
    /// The worker has received the regions of memory that [`ToWorker::OffersMemory`] offered:
    /// payloads may come through them from now on.
    SharesMemory,
    /// The worker has read these slots of states, one for each [`ToWorker::StateInMemory`].
    SlotsRead {
        /// The slots, at most [`crate::wire::shared_memory::UNREAD_STATE_SLOTS`].
        slots: Vec<u32>,
    },
    /// The worker does not have a pulled partial.
    PartialMissing {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// The worker takes no more work, and will leave when its blocks are finished and pulled.
    Draining,
    /// The worker leaves now.
    Goodbye,
    /// The worker closes the connection because of something that the coordinator sent or failed to
    /// send. It will reconnect. No message follows.
    HangsUp {
        /// The reason, in a sentence.
        reason: String,
    },
}

/// From the coordinator to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToWorker {
    /// The coordinator is alive.
    Heartbeat,
    /// A run that assignments will refer to.
    OpenRun {
        /// The run.
        run: RunId,
        /// Its identity. A worker that keeps partials of another run with this number drops them: a
        /// new coordinator numbers its runs from the start again.
        identity: RunIdentity,
        /// Its spec as TOML, complete: every key that has a value, including defaults
        /// ([`crate::spec::RunSpec::to_complete_toml`]).
        spec: String,
        /// Version of its model ([`crate::model::Model::version`]).
        model_version: u32,
        /// Training examples.
        train: SplitManifest,
        /// Test examples.
        test: SplitManifest,
        /// Layout of its states.
        layout: Layout,
        /// Identity of the initial state; `None` if the model makes it.
        initial: Option<Digest>,
    },
    /// No later assignment will refer to the run.
    CloseRun {
        /// The run.
        run: RunId,
    },
    /// A segment of the base state of a step. All segments are sent in order.
    StateSegment {
        /// The step.
        step: StepId,
        /// Index among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// The worker may share memory with the coordinator, if it is on the same host. A worker that
    /// does not ignores this.
    OffersMemory {
        /// Name of the coordinator's Unix socket, in the directory for such sockets.
        socket: String,
        /// What the worker must show there.
        token: MemoryToken,
    },
    /// A segment of the base state of a step, in place of [`ToWorker::StateSegment`], for a worker
    /// that has sent [`FromWorker::SharesMemory`].
    StateInMemory {
        /// The step.
        step: StepId,
        /// Index among the layout's state segments.
        segment: u32,
        /// The slot in which the values lie, little-endian, until the worker has sent
        /// [`FromWorker::SlotsRead`].
        slot: u32,
        /// Their XXH3-64, seed 0.
        hash: u64,
    },
    /// The coordinator has read these slots of partials.
    SlotsRead {
        /// The slots, at most [`crate::wire::shared_memory::PARTIAL_SLOTS`].
        slots: Vec<u32>,
    },
    /// The base state of a step equals that of another step, which this worker was sent before (an
    /// evaluation does not change the state).
    SameState {
        /// The step.
        step: StepId,
        /// The step whose base is equal.
        as_of: StepId,
    },
    /// A block to process.
    Assign {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// The work of its replicas, and their examples.
        plan: BlockPlan,
        /// Whether the worker must send [`FromWorker::Started`] before it begins.
        confirm: bool,
    },
    /// An assignment is no longer needed.
    Revoke {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A chunk of examples.
    Chunk {
        /// The run.
        run: RunId,
        /// The split.
        split: Split,
        /// Index in the split's manifest.
        chunk: u32,
        /// Features and labels.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// Send merge segments of a kept partial.
    Pull {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// First segment.
        first: u32,
        /// Number of segments.
        count: u32,
    },
    /// The step is merged: the worker may drop partials and bases of it and of earlier steps of the
    /// run.
    StepDone {
        /// The step.
        step: StepId,
    },
    /// The coordinator closes the connection, because it stops, or because of something that this
    /// worker did. No message follows; the worker may reconnect later.
    Goodbye {
        /// The reason, in a sentence that is also logged and sent in events.
        reason: String,
    },
}

/// Steps of a run that are repeated, from a state that the client sends or the model makes. The
/// digests of their shards are sent as [`RunEvent::Shards`], and the digests of their states as
/// [`RunEvent::State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The first step, from whose base the run starts.
    pub first: u64,
    /// Number of steps, at least 1.
    pub steps: u64,
}

/// From a client to the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
// A submission is large, and there are few.
#[expect(clippy::large_enum_variant)]
pub enum FromClient {
    /// The client is alive.
    Heartbeat,
    /// A run to queue. The client then sends the requested chunks, and the segments of its state.
    Submit {
        /// Drawn at random for this submission, or derived from its content if it is to run only
        /// once. A submission with a known key is answered with the run of that key.
        key: SubmissionKey,
        /// The spec, as TOML.
        spec: String,
        /// What the examples mean, as JSON, which is stored with the final state; empty if nothing
        /// is known.
        schema: String,
        /// Training examples.
        train: SplitManifest,
        /// Test examples.
        test: SplitManifest,
        /// Layout of the initial state; without it the model makes the state.
        state: Option<Layout>,
        /// Settings of the run that do not change its result.
        settings: RunSettings,
        /// Only some steps, to be compared with earlier results; without it, the whole run.
        replay: Option<Replay>,
    },
    /// A requested chunk.
    Chunk {
        /// The split.
        split: Split,
        /// Index in the split's manifest.
        chunk: u32,
        /// Features and labels.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A segment of the initial state. All segments are sent in order.
    StateSegment {
        /// Index among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// Resume a run that has failed or was cancelled, from its last checkpoint.
    Resume {
        /// The run.
        run: RunId,
        /// Changes of its settings.
        settings: RunSettings,
        /// Make a new run instead, which starts from that checkpoint's state; the value has the
        /// changes of the spec, as pairs of key and value.
        fork: Option<Vec<(String, String)>>,
    },
    /// Send a run's events, from its beginning, and all later ones.
    Follow {
        /// The run.
        run: RunId,
    },
    /// Send the final state of a run.
    Fetch {
        /// The run.
        run: RunId,
    },
    /// Cancel a run.
    Cancel {
        /// The run.
        run: RunId,
    },
    /// Send the cluster's status.
    Status,
}

/// From the coordinator to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToClient {
    /// The coordinator is alive.
    Heartbeat,
    /// Chunks of the submission that the coordinator lacks.
    NeedChunks {
        /// The split.
        split: Split,
        /// Indexes in the split's manifest.
        chunks: Vec<u32>,
    },
    /// The run is queued.
    Accepted {
        /// Its id.
        run: RunId,
        /// For a run that is resumed or forked: as in [`RunEvent::Resumed`].
        passed_over: Option<String>,
    },
    /// The request is rejected.
    Rejected {
        /// Whether the request itself is wrong (bad input); otherwise the coordinator cannot serve
        /// it now.
        bad_input: bool,
        /// The reason, in a sentence.
        reason: String,
    },
    /// An event of a followed run.
    Event(RunEvent),
    /// The requested state: its layout, then all segments in order, then the run's history.
    State {
        /// The run.
        run: RunId,
        /// Its spec, as TOML.
        spec: String,
        /// What its examples mean, as the client has submitted it.
        schema: String,
        /// Its layout.
        layout: Layout,
        /// Its digest.
        digest: Digest,
        /// Bytes of the history that follows.
        history_bytes: u64,
    },
    /// A segment of that state.
    StateSegment {
        /// Index among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A piece of the run's history, JSON, which is stored in the state's file. All pieces but the
    /// last one have the maximum length.
    History {
        /// Its index, from 0.
        piece: u32,
        /// The text.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// The cluster's status.
    Status(Status),
    /// The run is cancelled, or was over already.
    Cancelled {
        /// The run.
        run: RunId,
    },
    /// The coordinator closes the connection, because it stops, or because of something that this
    /// client did. No message follows.
    Goodbye {
        /// The reason, in a sentence.
        reason: String,
    },
}
