//! What a client is told of runs and of the cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{RunId, WorkerId};
use crate::results::Results;
use crate::run_state::RunState;
use crate::spec::Split;
use crate::wire::message::ShardDone;

/// The target of what is logged and told to those who follow a run as well. Where both
/// come out on one screen, a filter leaves it out.
pub const TOLD: &str = "told";

/// News of a run. `--json` prints these, one a line, with the variant's name
/// as the field `event`.
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
        /// Mean training loss, where the model reports one.
        loss: Option<f64>,
        /// Training accuracy, where the model reports one.
        accuracy: Option<f64>,
        /// What else the model reports, by name, for each example.
        metrics: BTreeMap<String, f64>,
        /// Bytes of the partials that were merged.
        partial_bytes: u64,
        /// Longest compute time of a worker, ms.
        compute_ms: f64,
        /// The rest of the round: sending, merging, waiting, ms.
        synchronisation_ms: f64,
        /// Examples a second, this round.
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
    /// An evaluation is done.
    Evaluation {
        /// The run.
        run: RunId,
        /// Epochs trained before it.
        epochs: u64,
        /// The split.
        split: Split,
        /// What was observed.
        results: Results,
        /// Mean loss, where the model reports one.
        loss: Option<f64>,
        /// Accuracy, where the model reports one.
        accuracy: Option<f64>,
    },
    /// A worker came, went, or was given another's work.
    Worker {
        /// The run.
        run: RunId,
        /// Its name.
        worker: String,
        /// `joined`, `left`, `lost`, `reassigned`, `slow`, `failed`, `offered`,
        /// `cannot` (its build lacks what the run needs).
        what: String,
        /// More, in a sentence.
        detail: String,
    },
    /// The run goes on after its coordinator was gone, or after it was taken
    /// up again. What was done after `round` is done again.
    Resumed {
        /// The run.
        run: RunId,
        /// Rounds that are behind it.
        round: u64,
        /// Training rounds in all.
        rounds: u64,
        /// Checkpoints that it does not go on from, as they are damaged: which,
        /// what is wrong, and what is used instead.
        passed_over: Option<String>,
    },
    /// The state after a round is on disk: whatever happens, the run goes on
    /// from here.
    Checkpoint {
        /// The run.
        run: RunId,
        /// The round, from 1; 0 for the state that the run starts from.
        round: u64,
        /// Digest of the state.
        digest: Digest,
        /// Bytes of the state.
        bytes: u64,
        /// Time that it took beside the work, ms.
        ms: f64,
    },
    /// A checkpoint could not be written.
    CheckpointFailed {
        /// The run.
        run: RunId,
        /// The round.
        round: u64,
        /// What went wrong, and what to do.
        error: String,
    },
    /// What shards of a replayed step gave.
    Shards {
        /// The run.
        run: RunId,
        /// The step.
        step: u64,
        /// The first replica.
        first: u32,
        /// It and those that follow.
        shards: Vec<ShardDone>,
    },
    /// What a replayed round was merged to, or a labelling wrote: told after the
    /// shards of the step. An evaluation leaves the state as it is.
    State {
        /// The run.
        run: RunId,
        /// The step.
        step: u64,
        /// Digest of the state after it.
        digest: Digest,
    },
    /// The run has ended well.
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
        /// Examples that the model warns of, by warning: in all training
        /// rounds, the last labelling and the last evaluation.
        warnings: BTreeMap<String, u64>,
        /// Shards that workers had finished before their coordinator went, and
        /// that were taken from them instead of computed again.
        offered: u64,
        /// Shards that two workers computed for an audit, with the same bits.
        /// Of a run that a history has from before they were told: 0.
        #[serde(default)]
        audited: u64,
        /// Shards that were to be audited, and were not.
        #[serde(default)]
        unaudited: u64,
        /// Why the final state is not on disk, if it should be and is not.
        unsaved: Option<String>,
    },
    /// The run has failed.
    Failed {
        /// The run.
        run: RunId,
        /// Which shard, which error, what to do.
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
    /// Whether other hosts can reach the coordinator although it has no keys:
    /// whoever does is let in.
    pub insecure: bool,
    /// Connections that were turned away so far.
    pub refused: u64,
    /// Why the history of runs cannot be written now, if it should be and
    /// cannot.
    pub unrecorded: Option<String>,
    /// Whether the history of runs has grown to its bound, and rows of shards had
    /// to make room.
    pub thinned: bool,
    /// Connected workers.
    pub workers: Vec<WorkerStatus>,
    /// Runs that wait, run, or have ended lately.
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
    /// Where it connected from.
    pub address: String,
    /// Its slots.
    pub slots: u32,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Memory that it may use, bytes.
    pub memory_limit: u64,
    /// `idle`, `busy`, `draining`, or `set aside`: it fails again and again, and
    /// gets no work while there are others.
    pub state: String,
    /// Why it cannot work on the run that is active, if it cannot; said of the
    /// first [`crate::limits::STATUS_UNFIT`] of these.
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
    /// Whether it does steps of another run again, to be compared.
    pub replay: bool,
}
