//! The events and the status that clients receive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{RunId, WorkerId};
use crate::results::Results;
use crate::run_state::RunState;
use crate::spec::Split;
use crate::wire::message::ShardDone;
use crate::worker_event::WorkerEvent;

/// The log target of messages that clients also receive as events. If both are printed on one
/// screen, a filter suppresses it.
pub const TOLD: &str = "told";

/// An event of a run. `--json` prints one per line, with the variant's name as the field
/// `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RunEvent {
    /// The run waits for others, or for workers.
    Queued {
        /// The run.
        run: RunId,
        /// Runs before it.
        ahead: u64,
        /// Workers connected.
        workers: u32,
        /// Workers that it waits for.
        min_workers: u32,
    },
    /// The run has begun.
    Started {
        /// The run.
        run: RunId,
        /// Name of the model.
        model: String,
        /// Training rounds to come.
        rounds: u64,
        /// Bytes of the state.
        state_bytes: u64,
        /// Workers connected.
        workers: u32,
    },
    /// A training round is merged.
    Round {
        /// The run.
        run: RunId,
        /// The round, from 1.
        round: u64,
        /// Training rounds of the run.
        rounds: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Examples processed in the round.
        examples: u64,
        /// Mean training loss, if the model reports one.
        loss: Option<f64>,
        /// Training accuracy, if the model reports one.
        accuracy: Option<f64>,
        /// Further metrics of the model, by name, per example.
        metrics: BTreeMap<String, f64>,
        /// Bytes of the partials that were merged.
        partial_bytes: u64,
        /// Longest compute time of a worker, ms.
        compute_ms: f64,
        /// The rest of the round: sending, merging, waiting, ms.
        synchronisation_ms: f64,
        /// Examples per second in this round.
        examples_per_second: f64,
        /// Workers connected.
        workers: u32,
    },
    /// A labelling is done: the model's units have their labels.
    Labelled {
        /// The run.
        run: RunId,
        /// Epochs trained before it.
        epochs: u64,
        /// Examples that the labels come from.
        examples: u64,
    },
    /// A part of a prediction is done.
    Predicted {
        /// The run.
        run: RunId,
        /// Examples that have their scores.
        examples: u64,
        /// All examples.
        of: u64,
    },
    /// An evaluation is done.
    Evaluation {
        /// The run.
        run: RunId,
        /// Epochs trained before it.
        epochs: u64,
        /// The split.
        split: Split,
        /// The results.
        results: Results,
        /// Mean loss, if the model reports one.
        loss: Option<f64>,
        /// Accuracy, if the model reports one.
        accuracy: Option<f64>,
    },
    /// An event of a worker: it joined, left, was lost, or its work went to another one.
    Worker {
        /// The run.
        run: RunId,
        /// Its name.
        worker: String,
        /// What happened.
        what: WorkerEvent,
        /// Details, in a sentence.
        detail: String,
    },
    /// The run continues after its coordinator was restarted, or after it was resumed. Work after
    /// `round` is repeated.
    Resumed {
        /// The run.
        run: RunId,
        /// Rounds completed.
        round: u64,
        /// Training rounds in all.
        rounds: u64,
        /// The damaged checkpoints that were skipped, the reasons, and what is used instead.
        passed_over: Option<String>,
    },
    /// The state after a round is on disk: after a failure the run continues from here.
    Checkpoint {
        /// The run.
        run: RunId,
        /// The round, from 1; 0 for the initial state.
        round: u64,
        /// Digest of the state.
        digest: Digest,
        /// Bytes of the state.
        bytes: u64,
        /// Time to write it, in parallel to the rounds, ms.
        ms: f64,
    },
    /// A checkpoint could not be written.
    CheckpointFailed {
        /// The run.
        run: RunId,
        /// The round.
        round: u64,
        /// The error, and what to do.
        error: String,
    },
    /// The digests of shards of a replayed step.
    Shards {
        /// The run.
        run: RunId,
        /// The step.
        step: u64,
        /// The first replica.
        first: u32,
        /// Its digest and those of the following replicas.
        shards: Vec<ShardDone>,
    },
    /// The state after a replayed round or labelling, sent after the shards of the step. An
    /// evaluation does not change the state.
    State {
        /// The run.
        run: RunId,
        /// The step.
        step: u64,
        /// Digest of the state after it.
        digest: Digest,
    },
    /// The run has succeeded.
    Finished {
        /// The run.
        run: RunId,
        /// Digest of the final state.
        digest: Digest,
        /// Training rounds done.
        rounds: u64,
        /// Examples processed in training.
        examples: u64,
        /// Seconds from start to end.
        seconds: f64,
        /// Loss of the last evaluation.
        loss: Option<f64>,
        /// Accuracy of the last evaluation.
        accuracy: Option<f64>,
        /// Share of the training time that was not computing, 0 to 1.
        synchronisation_share: f64,
        /// Examples that the model warns about, by warning: in all training rounds, the last
        /// labelling and the last evaluation.
        warnings: BTreeMap<String, u64>,
        /// Shards that workers had finished before their coordinator was restarted, and delivered
        /// afterwards, so that they were not computed again.
        offered: u64,
        /// Shards that two workers computed for an audit, with the same bits. 0 for a run in an
        /// old history without this field.
        #[serde(default)]
        audited: u64,
        /// Shards that were to be audited, but were not.
        #[serde(default)]
        unaudited: u64,
        /// Why the final state could not be written to disk.
        unsaved: Option<String>,
    },
    /// The run has failed.
    Failed {
        /// The run.
        run: RunId,
        /// The shard, the error, and what to do.
        reason: String,
    },
    /// The run was cancelled.
    Cancelled {
        /// The run.
        run: RunId,
    },
}

impl RunEvent {
    /// Whether no event follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. } | Self::Cancelled { .. })
    }
}

/// The cluster's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Build of the coordinator.
    pub build: String,
    /// Whether other hosts can reach the coordinator although it has no keys, so that all of them
    /// are admitted.
    pub insecure: bool,
    /// Connections that were refused so far.
    pub refused: u64,
    /// Why the history of runs cannot be written at the moment.
    pub unrecorded: Option<String>,
    /// Whether the history of runs has reached its limit, so that rows of shards were dropped.
    pub thinned: bool,
    /// Connected workers.
    pub workers: Vec<WorkerStatus>,
    /// Queued runs, the active run, and runs that have ended recently.
    pub runs: Vec<RunStatus>,
}

/// A connected worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its slots.
    pub slots: u32,
    /// Whether it shares memory with the coordinator, on one host.
    pub shares_memory: bool,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Memory that it may use, bytes.
    pub memory_limit: u64,
    /// `idle`, `busy`, `draining`, or `set aside`: after repeated failures it gets no work while
    /// there are other workers.
    pub state: String,
    /// Why it cannot work on the active run, if it cannot; set for the first
    /// [`crate::limits::STATUS_UNFIT`] such workers.
    pub cannot: Option<String>,
    /// Shards done since it joined.
    pub shards_done: u64,
    /// Milliseconds since it was last heard.
    pub last_heard_ms: u64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStatus {
    /// Its id.
    pub id: RunId,
    /// Name of its model.
    pub model: String,
    /// Where it stands.
    pub state: RunState,
    /// What a queued run waits for.
    pub waits_for: Option<String>,
    /// Training rounds done.
    pub round: u64,
    /// Training rounds in all.
    pub rounds: u64,
    /// Mean training loss of the last round.
    pub loss: Option<f64>,
    /// Digest of the final state, once there is one.
    pub digest: Option<Digest>,
    /// The last round whose state is on disk.
    pub checkpoint: Option<u64>,
    /// Whether the last checkpoint could not be written.
    pub unsaved: bool,
    /// Whether it is a replay of another run, for a comparison.
    pub replay: bool,
}
