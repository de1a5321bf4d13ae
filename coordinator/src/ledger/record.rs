//! What can be recorded of runs. Plain values: times are milliseconds since
//! 1970 (UTC), steps and replicas count from 0, rounds from 1.

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;
use serde::Serialize;

/// One thing to record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A run was queued. Of a run that is recorded already, only its end is
    /// dropped: it was taken up again.
    Run(RunRow),
    /// What is recorded of steps from this one on is dropped, and so are
    /// checkpoints of later ones: the run goes on from before it. Events stay.
    Rewind {
        /// The run.
        run: RunId,
        /// The step that comes next.
        step: u64,
    },
    /// A merged step. It replaces what was recorded of the same step.
    Step(StepRow),
    /// Something worth telling.
    Event(EventRow),
    /// A durable checkpoint.
    Checkpoint(CheckpointRow),
    /// The run is over.
    Ended(EndRow),
}

/// A run as it was queued.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// When it was queued.
    pub at_ms: u64,
    /// Name of its model.
    pub model: String,
    /// Its spec, as TOML.
    pub spec: String,
    /// Identity of its data.
    pub dataset: Digest,
    /// Training rounds.
    pub rounds: u64,
    /// Steps: rounds, labellings and evaluations.
    pub steps: u64,
    /// The run that it was forked from, and the rounds that it took over.
    pub forked_from: Option<(RunId, u64)>,
}

/// A merged step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: u64,
    /// When it was merged.
    pub at_ms: u64,
    /// What clients were told of it: [`RunEvent::Round`],
    /// [`RunEvent::Labelled`] or [`RunEvent::Evaluation`].
    pub event: RunEvent,
    /// Digest of what it was merged of, the [`step_digest`] of its shards.
    pub digest: Digest,
    /// The shards that it was merged of, one for each replica.
    pub shards: Vec<ShardRow>,
}

/// First bytes under the digest of a step.
const STEP: &[u8] = b"samebit-step-1\n";

/// The digest of a step by those of all its shards, in the order of replicas:
/// the same on every cluster.
pub fn step_digest<'a>(shards: impl IntoIterator<Item = &'a Digest>) -> Digest {
    Digest::of_digests(STEP, shards)
}

/// A shard whose outcome counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardRow {
    /// The replica.
    pub replica: u32,
    /// Name of the worker that computed it.
    pub worker: String,
    /// Which handing out of the shard this was, from 1: more than 1 means that
    /// it was handed out more than once.
    pub attempt: u32,
    /// Digest of its outcome.
    pub digest: Digest,
    /// Time that it took to compute, µs.
    pub compute_us: u64,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRow {
    /// The run.
    pub run: RunId,
    /// When.
    pub at_ms: u64,
    /// The step at which the run was.
    pub step: Option<u64>,
    /// What kind of thing.
    pub kind: EventKind,
    /// Name of the worker that it is about.
    pub worker: Option<String>,
    /// More, in words.
    pub detail: String,
}

/// The words of an [`EventKind::Lost`] by which an account tells that memory may
/// have been the cause.
pub const KILLED_FOR_MEMORY: &str = "may have been killed for that";

/// What kind of thing an event tells. Of kinds that are about shards,
/// [`EventRow::detail`] begins with their number, as in `4 shards of step 3`;
/// without a number it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A worker joined.
    Joined,
    /// A worker said goodbye.
    Left,
    /// A worker was lost. The detail says how, and, where it may have died, what
    /// memory it had used when it was last heard; close to its limit,
    /// [`KILLED_FOR_MEMORY`].
    Lost,
    /// Shards were handed to another worker than had them.
    Reassigned,
    /// Shards are slow, and were handed to a second worker.
    Slow,
    /// Shards came in that were there already.
    Duplicate,
    /// A shard failed.
    Error,
    /// A worker cannot work on the run; the detail says what it lacks.
    Cannot,
    /// Shards were offered by a worker that had finished them before, and not
    /// computed anew.
    Offered,
    /// The run was taken up again.
    Resumed,
    /// A checkpoint could not be written.
    CheckpointFailed,
    /// A checkpoint is damaged, and the run goes on from another one.
    PassedOver,
    /// Shards that two workers computed differ.
    Audit,
    /// Shards of the whole run that two workers computed, and do not differ.
    Audited,
    /// Shards of the whole run that two workers were to compute, and did not.
    Unaudited,
    /// A worker keeps fewer examples than the chunks hold in which those of a
    /// round lie, and so fetches them again.
    SmallCache,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Joined,
        Self::Left,
        Self::Lost,
        Self::Reassigned,
        Self::Slow,
        Self::Duplicate,
        Self::Error,
        Self::Cannot,
        Self::Offered,
        Self::Resumed,
        Self::CheckpointFailed,
        Self::PassedOver,
        Self::Audit,
        Self::Audited,
        Self::Unaudited,
        Self::SmallCache,
    ];

    /// The name that it is stored by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Reassigned => "reassigned",
            Self::Slow => "slow",
            Self::Duplicate => "duplicate",
            Self::Error => "error",
            Self::Cannot => "cannot",
            Self::Offered => "offered",
            Self::Resumed => "resumed",
            Self::CheckpointFailed => "checkpoint_failed",
            Self::PassedOver => "passed_over",
            Self::Audit => "audit",
            Self::Audited => "audited",
            Self::Unaudited => "unaudited",
            Self::SmallCache => "small_cache",
        }
    }
}

/// A durable checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointRow {
    /// The run.
    pub run: RunId,
    /// When it was durable.
    pub at_ms: u64,
    /// Training rounds that it holds.
    pub round: u64,
    /// The step that comes next.
    pub step: u64,
    /// Digest of its state.
    pub digest: Digest,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Time that it took to write, ms.
    pub ms: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct EndRow {
    /// The run.
    pub run: RunId,
    /// When.
    pub at_ms: u64,
    /// How.
    pub state: RunEnd,
    /// Digest of the final state, where there is one.
    pub digest: Option<Digest>,
    /// Why, where it failed.
    pub reason: Option<String>,
    /// What clients were told: [`RunEvent::Finished`], [`RunEvent::Failed`] or
    /// [`RunEvent::Cancelled`].
    pub event: RunEvent,
}
