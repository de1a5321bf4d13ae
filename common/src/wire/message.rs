//! Messages. One closed enum for each direction, so that a peer cannot say
//! what its role does not allow.
//!
//! A payload is always the last field of its variant.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dataset::SplitManifest;
use crate::digest::Digest;
use crate::id::{
    AssignmentId, Block, ProcessId, RunId, RunIdentity, StepId, SubmissionKey, WorkerId,
};
use crate::merge::Partial;
use crate::plan::BlockPlan;
use crate::results::Results;
use crate::run_settings::RunSettings;
use crate::spec::Split;
use crate::state::Layout;
use crate::wire::payload;

pub use crate::wire::event::{RunEvent, RunStatus, Status, WorkerStatus};

/// Version of the protocol. Any change to a message changes it.
pub const PROTOCOL: u32 = 8;

/// Names the order and kind of every floating-point operation, and where `exp`
/// and `ln` come from. Two builds that could differ in a bit must differ here;
/// two that agree here, and in the protocol, work together.
pub const NUMERIC_PROFILE: &str = "samebit-f32-1/libm-0.2.16";

/// First message of every connection, from the one who connects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Always `samebit`: what tells a stray connection from ours.
    pub magic: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the build, for people: it need not be the coordinator's own.
    pub build: String,
    /// [`NUMERIC_PROFILE`].
    pub numeric_profile: String,
    /// Who connects.
    pub role: Role,
}

/// Who connects.
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
        /// Of these, bytes of examples that it keeps, if nothing else needs them.
        cache_limit: u64,
    },
    /// A client.
    Client,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Welcome {
    /// Come in.
    Accepted {
        /// Build of the coordinator.
        build: String,
        /// The worker's id; `None` for clients.
        worker: Option<WorkerId>,
        /// Silence after which either side counts the other as lost, in ms.
        heartbeat_timeout_ms: u64,
    },
    /// Stay out.
    Refused {
        /// What to change, in a sentence.
        reason: String,
        /// Whether trying again as it is may help: bytes changed on their way,
        /// or there is no room now.
        may_pass: bool,
    },
}

/// Where a running assignment stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The assignment.
    pub assignment: AssignmentId,
    /// Replicas that are running right now.
    pub running: Vec<u32>,
    /// Shards finished.
    pub shards_done: u32,
    /// Examples processed, those of unfinished shards included.
    pub examples_done: u64,
}

/// A finished shard of a block. On the wire a list of two: digest and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Digest, u64)", into = "(Digest, u64)")]
pub struct ShardDone {
    /// Of what the shard contributes and observed
    /// ([`crate::merge::Partial::shard_digest`]).
    pub digest: Digest,
    /// Time that it took, in µs.
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
    /// What was observed.
    pub results: Results,
    /// Digest of all that matters of it ([`BlockDone::digest_of`]).
    pub digest: Digest,
    /// Its shards, in replica order: at most [`crate::limits::BLOCK_REPLICAS`].
    pub shards: Vec<ShardDone>,
    /// Bytes of the partial's segments together.
    pub partial_bytes: u64,
    /// Time from the first shard's start to the last one's end, in µs.
    pub compute_us: u64,
    /// Whether the partial comes along. Otherwise the worker keeps it, to be
    /// pulled.
    pub is_inline: bool,
    /// Of all merge segments, in order: the segment with its length in 4 bytes,
    /// big-endian, before it, if the partial comes along; if not, the
    /// [`crate::merge::segment_hash`], as 16 bytes, big-endian.
    #[serde(deserialize_with = "payload::deserialize")]
    pub payload: Bytes,
}

impl BlockDone {
    /// What `digest` is to be, for a partial whose merge segments have these
    /// hashes.
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
    /// The worker lives. Sent every second, whatever else goes on.
    Heartbeat {
        /// Resident memory, in bytes.
        memory: u64,
        /// Running assignments.
        progress: Vec<Progress>,
    },
    /// The run is open here, and what was kept of it has been offered.
    Opened {
        /// The run.
        run: RunId,
    },
    /// The run cannot be worked on here (a build without its model, say): no
    /// assignment of it is answered any more. Said in place of
    /// [`FromWorker::Opened`], or later, where an assignment's plan is not the
    /// worker's own.
    Cannot {
        /// The run.
        run: RunId,
        /// What is lacking and what to do, in a sentence.
        reason: String,
    },
    /// Chunks of examples that the worker lacks for an assignment.
    NeedChunks {
        /// The run.
        run: RunId,
        /// The split.
        split: Split,
        /// Places in the split's manifest.
        chunks: Vec<u32>,
    },
    /// A block is finished. Also said again, for each kept partial of the
    /// run, after a reconnect.
    BlockDone(BlockDone),
    /// A shard failed: an error or a panic of the model.
    ShardFailed {
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The replica.
        replica: u32,
        /// Whether trying again cannot help (a value that is not finite).
        fatal: bool,
        /// What went wrong.
        error: String,
    },
    /// The assignment begins now: said of those that are to be confirmed, before
    /// any of their shards runs.
    Started {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// The assignment is given back unfinished (draining).
    HandedBack {
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A merge segment that was pulled.
    PartialSegment {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Place among the layout's merge segments.
        segment: u32,
        /// The contribution, encoded.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A partial that was pulled is not here.
    PartialMissing {
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// The worker takes no more work and will leave when its blocks are done
    /// and pulled.
    Draining,
    /// The worker leaves now.
    Goodbye,
    /// The worker closes the connection, for what the coordinator sent or did not
    /// send. It is well, and will connect again. Nothing follows.
    HangsUp {
        /// Why, in a sentence.
        reason: String,
    },
}

/// From the coordinator to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToWorker {
    /// The coordinator lives.
    Heartbeat,
    /// A run that assignments will refer to.
    OpenRun {
        /// The run.
        run: RunId,
        /// Its identity. A worker that kept partials of a run of this number, but
        /// of another opening, drops them: run numbers begin anew with a new
        /// coordinator.
        identity: RunIdentity,
        /// Its spec as TOML, complete: every key that has a value, defaults
        /// included ([`crate::spec::RunSpec::to_complete_toml`]).
        spec: String,
        /// Version of its model ([`crate::model::Model::version`]).
        model_version: u32,
        /// Training examples.
        train: SplitManifest,
        /// Test examples.
        test: SplitManifest,
        /// Layout of its states.
        layout: Layout,
        /// Identity of the state that it starts from; nothing where the model
        /// makes that.
        initial: Option<Digest>,
    },
    /// No assignment will refer to the run any more.
    CloseRun {
        /// The run.
        run: RunId,
    },
    /// A segment of the base state of a step. All segments come in order.
    StateSegment {
        /// The step.
        step: StepId,
        /// Place among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// The base state of a step is that of another one, which this worker was
    /// sent before (an evaluation changes nothing).
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
        /// What its replicas do, and with which examples.
        plan: BlockPlan,
        /// Whether the worker is to say [`FromWorker::Started`] before it begins.
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
        /// Place in the split's manifest.
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
        /// How many.
        count: u32,
    },
    /// The step is merged: partials and bases of it and of earlier steps of the
    /// run may be dropped.
    StepDone {
        /// The step.
        step: StepId,
    },
    /// The coordinator closes the connection: as it is going away, or for what
    /// this worker did. Nothing follows; reconnect later.
    Goodbye {
        /// Why, in a sentence: the words of its log and its events.
        reason: String,
    },
}

/// Steps of a run that are done again, from a state that the client sends or
/// the model makes. The digests of their shards are told as
/// [`RunEvent::Shards`], those of their states as [`RunEvent::State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The first step, whose base the run starts from.
    pub first: u64,
    /// How many, at least 1.
    pub steps: u64,
}

/// From a client to the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromClient {
    /// The client lives.
    Heartbeat,
    /// A run to queue. Chunks and state segments that the coordinator lacks
    /// follow.
    Submit {
        /// Drawn for this submission, or made of what is to be run only once. One whose key the coordinator knows already
        /// is the run that it knows.
        key: SubmissionKey,
        /// The spec, as TOML.
        spec: String,
        /// Training examples.
        train: SplitManifest,
        /// Test examples.
        test: SplitManifest,
        /// Layout of a state to start from; without it the model makes one.
        state: Option<Layout>,
        /// How to carry it out.
        settings: RunSettings,
        /// Only some steps, to be compared with what they gave before; without
        /// it, the whole run.
        replay: Option<Replay>,
    },
    /// A chunk that the coordinator asked for.
    Chunk {
        /// The split.
        split: Split,
        /// Place in the split's manifest.
        chunk: u32,
        /// Features and labels.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A segment of the state to start from. All come in order.
    StateSegment {
        /// Place among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// Take a run up again that has failed or was cancelled, from its last
    /// checkpoint.
    Resume {
        /// The run.
        run: RunId,
        /// What to change of how it is carried out.
        settings: RunSettings,
        /// Make a new run instead, which starts from that checkpoint's state:
        /// changes of the spec, as pairs of key and value.
        fork: Option<Vec<(String, String)>>,
    },
    /// Send events of a run as they come, from its beginning.
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
    /// The coordinator lives.
    Heartbeat,
    /// Chunks that the coordinator lacks for the submission.
    NeedChunks {
        /// The split.
        split: Split,
        /// Places in the split's manifest.
        chunks: Vec<u32>,
    },
    /// The run is queued.
    Accepted {
        /// Its id.
        run: RunId,
        /// Of a run that is taken up again, or forked: as in
        /// [`RunEvent::Resumed`].
        passed_over: Option<String>,
    },
    /// The request cannot be served.
    Rejected {
        /// Whether the request itself is wrong (bad input), or the coordinator
        /// could not serve it.
        bad_input: bool,
        /// Why, in a sentence.
        reason: String,
    },
    /// News of a followed run.
    Event(RunEvent),
    /// The state that was asked for: its layout, then all segments in order, then
    /// what the run reported on its way.
    State {
        /// The run.
        run: RunId,
        /// Its spec, as TOML.
        spec: String,
        /// Its layout.
        layout: Layout,
        /// Its digest.
        digest: Digest,
        /// Bytes of the history that follows.
        history_bytes: u64,
    },
    /// A segment of that state.
    StateSegment {
        /// Place among the layout's state segments.
        segment: u32,
        /// Values, little-endian.
        #[serde(deserialize_with = "payload::deserialize")]
        payload: Bytes,
    },
    /// A piece of the run's history, JSON: what its state's file keeps of it. All
    /// are as long as they may be but the last one.
    History {
        /// Its place, from 0.
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
    /// The coordinator closes the connection: as it is going away, or for what
    /// this client did. Nothing follows.
    Goodbye {
        /// Why, in a sentence.
        reason: String,
    },
}
