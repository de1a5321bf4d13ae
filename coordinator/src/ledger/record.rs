//! The records of the history, as plain values: times are milliseconds since 1970 (UTC),
//! steps and replicas count from 0, rounds from 1.

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;
use serde::Serialize;

/// A record of the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A run was queued. If the run is recorded already, it was resumed, and only its end is
    /// dropped.
    Run(RunRow),
    /// A run was restored: the records of steps from this one on, and of later checkpoints,
    /// are dropped. Events stay.
    Rewind {
        /// The run.
        run: RunId,
        /// The step that comes next.
        step: u64,
    },
    /// A merged step. It replaces an earlier record of the same step.
    Step(StepRow),
    /// An event.
    Event(EventRow),
    /// A checkpoint on disk.
    Checkpoint(CheckpointRow),
    /// The run has ended.
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
    /// Its event for clients: [`RunEvent::Round`], [`RunEvent::Labelled`] or
    /// [`RunEvent::Evaluation`].
    pub event: RunEvent,
    /// The [`step_digest`] of its shards.
    pub digest: Digest,
    /// Its shards, one for each replica.
    pub shards: Vec<ShardRow>,
}

/// Prefix of the hashed bytes of a step.
const STEP: &[u8] = b"samebit-step-1\n";

/// The digest of a step, from the digests of all its shards in the order of replicas. It is
/// the same on every cluster.
pub fn step_digest<'a>(shards: impl IntoIterator<Item = &'a Digest>) -> Digest {
    Digest::of_digests(STEP, shards)
}

/// A shard whose result counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardRow {
    /// The replica.
    pub replica: u32,
    /// Name of the worker that computed it.
    pub worker: String,
    /// The attempt, from 1: larger numbers mean that the shard was handed out more than once.
    pub attempt: u32,
    /// Digest of its contribution.
    pub digest: Digest,
    /// Time that it took to compute, µs.
    pub compute_us: u64,
}

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRow {
    /// The run.
    pub run: RunId,
    /// When.
    pub at_ms: u64,
    /// The step at which the run was.
    pub step: Option<u64>,
    /// Its kind.
    pub kind: EventKind,
    /// Name of the worker concerned.
    pub worker: Option<String>,
    /// A sentence with details.
    pub detail: String,
}

/// The words in the detail of an [`EventKind::Lost`] that say that memory may have been the
/// cause.
pub const KILLED_FOR_MEMORY: &str = "may have been killed for that";

/// The kind of an event. For kinds about shards, [`EventRow::detail`] begins with their number,
/// as in `4 shards of step 3`; without a number it is one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A worker joined.
    Joined,
    /// A worker left in order.
    Left,
    /// A worker was lost. The detail says how. If it may have died, it also has the memory
    /// of its last heartbeat, and [`KILLED_FOR_MEMORY`] if that was close to its limit.
    Lost,
    /// Shards were handed to another worker.
    Reassigned,
    /// Shards are slow, and were handed to a second worker.
    Slow,
    /// Shards arrived that had arrived before.
    Duplicate,
    /// A shard failed.
    Error,
    /// A worker cannot work on the run; the detail says what it lacks.
    Cannot,
    /// A worker delivered shards that it had finished before a reconnect, so that they were
    /// not computed again.
    Offered,
    /// The run was resumed.
    Resumed,
    /// A checkpoint could not be written.
    CheckpointFailed,
    /// A checkpoint is damaged, and the run continues from another one.
    PassedOver,
    /// Shards that two workers computed differ.
    Audit,
    /// Number of audited shards of the whole run, without a difference.
    Audited,
    /// Number of shards of the whole run that were to be audited, but were not.
    Unaudited,
    /// A worker's cache is smaller than the chunks with the examples of a round, so it fetches
    /// chunks repeatedly.
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

/// A checkpoint on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointRow {
    /// The run.
    pub run: RunId,
    /// When it was on disk.
    pub at_ms: u64,
    /// Training rounds completed in it.
    pub round: u64,
    /// The step that comes next.
    pub step: u64,
    /// Digest of its state.
    pub digest: Digest,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Time to write it, ms.
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
    /// Digest of the final state, if there is one.
    pub digest: Option<Digest>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The event for clients: [`RunEvent::Finished`], [`RunEvent::Failed`] or
    /// [`RunEvent::Cancelled`].
    pub event: RunEvent,
}
