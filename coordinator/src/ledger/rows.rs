//! The rows that a reader returns, with checked columns.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Error, Result, Row};
use serde::{Serialize, Serializer};

use super::record::{CheckpointRow, EventKind, EventRow, ShardRow};

/// A recorded run and its progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredRun {
    /// The run.
    pub run: RunId,
    /// Name of its model.
    pub model: String,
    /// How it ended; `None` (as text `unfinished`) if it has not.
    #[serde(serialize_with = "state_name")]
    pub state: Option<RunEnd>,
    /// The last training round that is merged, from 1; 0 before the first.
    pub round: u64,
    /// Training rounds in all.
    pub rounds: u64,
    /// Steps in all: rounds, labellings and evaluations.
    pub steps: u64,
    /// Steps that were merged but not recorded: the history could not be written, or was
    /// lost.
    pub missing: u64,
    /// Steps whose shards were dropped to make room.
    pub thinned: u64,
    /// Mean loss of the last evaluation, or of the last round if there was no evaluation;
    /// `None` if the model reports none.
    pub loss: Option<f64>,
    /// Accuracy of the same step.
    pub accuracy: Option<f64>,
    /// The kind of that step.
    pub judged_by: Option<StepName>,
    /// Training rounds completed in the last checkpoint.
    pub checkpoint: Option<u64>,
    /// Digest of the final state.
    pub digest: Option<Digest>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it was queued, in ms since 1970.
    pub at_ms: u64,
    /// When it ended, in ms since 1970.
    pub ended_ms: Option<u64>,
    /// The run that it was forked from.
    pub forked_from: Option<RunId>,
    /// Training rounds completed in the state that it started from.
    pub forked_round: Option<u64>,
    /// Identity of its data.
    pub dataset: Digest,
    /// Its spec, as TOML; `None` in the list of all runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
}

impl StoredRun {
    /// The state's name.
    pub fn state_name(&self) -> &'static str {
        self.state.map_or("unfinished", RunEnd::name)
    }
}

fn state_name<S: Serializer>(
    state: &Option<RunEnd>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(state.map_or("unfinished", RunEnd::name))
}

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// A training round.
    Train,
    /// A labelling.
    Label,
    /// An evaluation.
    Evaluate,
    /// A part of a prediction.
    Predict,
}

impl StepName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Train, Self::Label, Self::Evaluate, Self::Predict];

    /// The name of such a step for people.
    pub fn place(self) -> &'static str {
        match self {
            Self::Train => "round",
            Self::Label => "labelling",
            Self::Evaluate => "evaluation",
            Self::Predict => "prediction",
        }
    }

    /// The name that it is stored by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Label => "label",
            Self::Evaluate => "evaluate",
            Self::Predict => "predict",
        }
    }
}

/// The record of a merged step, without its shards. A quantity is `None` if the model does not
/// report it, the kind of step does not have it, or it was not finite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredStep {
    /// The run.
    pub run: RunId,
    /// The step, from 0.
    pub step: u64,
    /// Its kind.
    pub kind: StepName,
    /// The training round, from 1.
    pub round: Option<u64>,
    /// The epoch of a round, from 1; epochs trained before anything else.
    pub epoch: u64,
    /// Examples processed.
    pub examples: u64,
    /// Mean loss.
    pub loss: Option<f64>,
    /// Accuracy, 0 to 1.
    pub accuracy: Option<f64>,
    /// Further metrics of the model, by name, per example.
    pub metrics: BTreeMap<String, f64>,
    /// Longest compute time of a worker, ms.
    pub compute_ms: Option<f64>,
    /// The rest of the round: sending, merging, waiting, ms.
    pub synchronisation_ms: Option<f64>,
    /// Bytes of the partials that were merged.
    pub bytes: Option<u64>,
    /// Workers connected.
    pub workers: Option<u32>,
    /// Digest of its shards: SHA-256 over the 15 bytes `samebit-step-1\n` and the digests of
    /// its shards, by replica.
    pub digest: Digest,
    /// When it was merged, in ms since 1970.
    pub at_ms: u64,
}

/// A shard whose result counted, with its run and step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredShard {
    /// The run.
    pub run: RunId,
    /// The step, from 0.
    pub step: u64,
    /// The training round, from 1; `None` in other steps.
    pub round: Option<u64>,
    /// The shard.
    #[serde(flatten)]
    pub shard: ShardRow,
}

/// A count as SQLite's integer. Larger counts do not occur, and would be stored as the largest
/// integer.
pub(super) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn run(row: &Row<'_>) -> Result<StoredRun> {
    let state: Option<String> = row.get("state")?;
    let state = state.map(|name| of_name(&name, RunEnd::ALL, RunEnd::name)).transpose()?;
    let (rounds, steps) = (row.get("rounds")?, row.get("steps")?);
    let (round, last) =
        (row.get::<_, Option<u64>>("round")?, row.get::<_, Option<u64>>("last_step")?);
    let judged_by: Option<String> = row.get("judged_by")?;
    let judged_by =
        judged_by.map(|kind| of_name(&kind, StepName::ALL, StepName::name)).transpose()?;
    // A run that has succeeded has done all its rounds, even if some are not recorded.
    let (round, merged) = match state {
        Some(RunEnd::Finished) => (rounds, steps),
        _ => (round.unwrap_or(0), last.map_or(0, |last| last.saturating_add(1))),
    };
    Ok(StoredRun {
        run: RunId(row.get("run")?),
        model: row.get("model")?,
        state,
        round,
        rounds,
        steps,
        missing: u64::saturating_sub(merged, row.get("recorded")?),
        thinned: row.get("thinned")?,
        loss: row.get("loss")?,
        accuracy: row.get("accuracy")?,
        judged_by,
        checkpoint: row.get("checkpoint")?,
        digest: row.get::<_, Option<[u8; 32]>>("digest")?.map(Digest),
        reason: row.get("reason")?,
        at_ms: row.get("at_ms")?,
        ended_ms: row.get("ended_ms")?,
        forked_from: row.get::<_, Option<u64>>("forked_run")?.map(RunId),
        forked_round: row.get("forked_round")?,
        dataset: Digest(row.get("dataset")?),
        spec: row.get("spec")?,
    })
}

pub(super) fn step(row: &Row<'_>) -> Result<StoredStep> {
    let kind: String = row.get("kind")?;
    let metrics: Option<String> = row.get("metrics")?;
    let metrics = metrics.map(|json| serde_json::from_str(&json)).transpose();
    Ok(StoredStep {
        run: RunId(row.get("run")?),
        step: row.get("step")?,
        kind: of_name(&kind, StepName::ALL, StepName::name)?,
        round: row.get("round")?,
        epoch: row.get("epoch")?,
        examples: row.get("examples")?,
        loss: row.get("loss")?,
        accuracy: row.get("accuracy")?,
        metrics: metrics.map_err(not_ours)?.unwrap_or_default(),
        compute_ms: row.get("compute_ms")?,
        synchronisation_ms: row.get("synchronisation_ms")?,
        bytes: row.get("bytes")?,
        workers: row.get("workers")?,
        digest: Digest(row.get("digest")?),
        at_ms: row.get("at_ms")?,
    })
}

pub(super) fn shard(row: &Row<'_>) -> Result<StoredShard> {
    Ok(StoredShard {
        run: RunId(row.get("run")?),
        step: row.get("step")?,
        round: row.get("round")?,
        shard: ShardRow {
            replica: row.get("replica")?,
            worker: row.get("worker")?,
            attempt: row.get("attempt")?,
            digest: Digest(row.get("digest")?),
            compute_us: row.get("compute_us")?,
        },
    })
}

/// An event after its number.
pub(super) fn event(row: &Row<'_>) -> Result<(i64, EventRow)> {
    let kind: String = row.get("kind")?;
    let event = EventRow {
        run: RunId(row.get("run")?),
        at_ms: row.get("at_ms")?,
        step: row.get("step")?,
        kind: of_name(&kind, EventKind::all(), EventKind::name)?,
        worker: row.get("worker")?,
        detail: row.get("detail")?,
    };
    Ok((row.get("id")?, event))
}

pub(super) fn checkpoint(row: &Row<'_>) -> Result<CheckpointRow> {
    Ok(CheckpointRow {
        run: RunId(row.get("run")?),
        at_ms: row.get("at_ms")?,
        round: row.get("round")?,
        step: row.get("step")?,
        digest: Digest(row.get("digest")?),
        bytes: row.get("bytes")?,
        ms: row.get::<_, Option<f64>>("ms")?.unwrap_or(f64::NAN),
    })
}

/// The element of `all` with this name.
fn of_name<T: Copy>(
    name: &str,
    all: impl IntoIterator<Item = T>,
    name_of: fn(T) -> &'static str,
) -> Result<T> {
    let found = all.into_iter().find(|one| name_of(*one) == name);
    found.ok_or_else(|| not_ours(format!("unknown name {name:?}")))
}

/// The error for a value that this program does not write.
pub(super) fn not_ours(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, Box::new(FromSqlError::Other(cause.into())))
}
