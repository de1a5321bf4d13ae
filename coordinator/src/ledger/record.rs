//! The records of the history, as plain values: times are milliseconds since 1970 (UTC),
//! steps and replicas count from 0, rounds from 1.

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;
use common::worker_event::WorkerEvent;
use serde::{Serialize, Serializer};

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

/// The words in the detail of a [`WorkerEvent::Lost`] or a [`EventKind::Resumed`] that say that
/// memory may have been the cause.
pub const KILLED_FOR_MEMORY: &str = "may have been killed for that";

/// The kind of an event. For kinds about shards, [`EventRow::detail`] begins with their number,
/// as in `4 shards of step 3`; without a number it is one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// An event of a worker. The detail of [`WorkerEvent::Lost`] says how. If the worker may have
    /// died, it also has the memory of its last heartbeat, and [`KILLED_FOR_MEMORY`] if that was
    /// close to its limit.
    Worker(WorkerEvent),
    /// The run was resumed. If the coordinator before was ended, the detail has its memory, and
    /// [`KILLED_FOR_MEMORY`] if that may have been the cause.
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
    pub fn all() -> impl Iterator<Item = Self> {
        let of_runs = [
            Self::Resumed,
            Self::CheckpointFailed,
            Self::PassedOver,
            Self::Audit,
            Self::Audited,
            Self::Unaudited,
            Self::SmallCache,
        ];
        WorkerEvent::ALL.map(Self::Worker).into_iter().chain(of_runs)
    }

    /// The name that it is stored by.
    pub fn name(self) -> &'static str {
        match self {
            // Clients know it as `failed`. Histories have always had the other word.
            Self::Worker(WorkerEvent::Failed) => "error",
            Self::Worker(event) => event.name(),
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

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_events_keep_the_names_of_older_histories() {
        let names: Vec<&str> = EventKind::all().map(EventKind::name).collect();
        let of_workers = ["joined", "left", "lost", "slow", "error", "cannot"];
        let of_shards = ["reassigned", "duplicate", "offered"];
        let of_runs = ["resumed", "checkpoint_failed", "passed_over"];
        let others = ["audit", "audited", "unaudited", "small_cache"];
        assert_eq!(names, [&of_workers[..], &of_shards, &of_runs, &others].concat());
        for kind in EventKind::all() {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
