//! The content of a run's JSON files; `sealed` has their format.

use std::collections::BTreeMap;

use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity, SubmissionKey};
use common::run_settings::RunSettings;
use common::run_state::RunEnd;
use common::wire::message::NUMERIC_PROFILE;
use serde::{Deserialize, Serialize};

use super::error::RunsError;
use super::history::HistorySoFar;
use super::sealed::Record;

/// Prefix of the hashed bytes of a run's data.
const DATASET: &[u8] = b"samebit-dataset-1\n";

/// A run as it was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionRecord {
    /// The run.
    pub run: RunId,
    /// Its identity, which no other run has, in this folder or another one.
    pub identity: RunIdentity,
    /// The client's key for the submission; `None` for a fork.
    pub key: Option<SubmissionKey>,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// Its spec, as TOML.
    pub spec: String,
    /// What its examples mean, as JSON; empty if nothing is known.
    #[serde(default)]
    pub schema: String,
    /// Its settings.
    pub settings: RunSettings,
    /// Digest of the initial state, if a client sent one.
    pub initial: Option<Digest>,
    /// The run and the round that it was forked from.
    pub forked_from: Option<(RunId, u64)>,
    /// Numeric profile of the coordinator that accepted it: a run uses one profile from
    /// beginning to end.
    pub numeric_profile: String,
    /// Version of its model, in the coordinator that accepted it.
    pub model_version: u32,
    /// Training examples.
    pub train: SplitManifest,
    /// Test examples.
    pub test: SplitManifest,
}

impl SubmissionRecord {
    /// Whether this build computes with the run's numeric profile.
    pub fn check_numeric_profile(&self) -> Result<(), RunsError> {
        if self.numeric_profile == NUMERIC_PROFILE {
            return Ok(());
        }
        let (run, expected) = (self.run, self.numeric_profile.clone());
        Err(RunsError::NumericProfile { run, expected, found: NUMERIC_PROFILE })
    }

    /// Whether this build's version of the model is the run's.
    pub fn check_model(&self, name: &str, found: u32) -> Result<(), RunsError> {
        if self.model_version == found {
            return Ok(());
        }
        let (run, name, expected) = (self.run, name.to_owned(), self.model_version);
        Err(RunsError::ModelVersion { run, name, expected, found })
    }

    /// Whether both are of one run with the same bits: everything except the settings, which
    /// may change.
    pub fn is_same_run(&self, other: &Self) -> bool {
        let settings = other.settings.clone();
        *other == Self { settings, ..self.clone() }
    }
}

impl Record for SubmissionRecord {
    const KIND: &'static str = "submission";
}

/// The progress of a run up to a round: results and times for its summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Training rounds done.
    pub round: u64,
    /// Mean training loss of the last one.
    pub loss: Option<f64>,
    /// Examples of all training rounds.
    pub examples: u64,
    /// Seconds that the run has taken.
    pub seconds: f64,
    /// Of these, in training rounds.
    pub training_seconds: f64,
    /// Of these, until the slowest worker was done computing.
    pub computing_seconds: f64,
    /// Loss of the last evaluation.
    pub evaluation_loss: Option<f64>,
    /// Accuracy of the last evaluation.
    pub evaluation_accuracy: Option<f64>,
    /// Examples that the model warned about in all training rounds, by warning.
    pub training_warnings: BTreeMap<String, u64>,
    /// The same of the last labelling.
    pub labelling_warnings: BTreeMap<String, u64>,
    /// The same of the last evaluation.
    pub evaluation_warnings: BTreeMap<String, u64>,
    /// Shards that workers delivered after a reconnect, instead of being computed again.
    pub offered: u64,
    /// Shards that two workers computed for an audit.
    pub audited: u64,
    /// Shards to audit that only one worker computed.
    pub unaudited: u64,
    /// Its history so far.
    pub history: HistorySoFar,
}

impl Progress {
    /// Share of the training time that was not computing.
    pub fn synchronisation_share(&self) -> f64 {
        match self.training_seconds {
            0.0 => 0.0,
            training => (1.0 - self.computing_seconds / training).clamp(0.0, 1.0),
        }
    }
}

/// The manifest of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecord {
    /// The run's submission, to restore a missing `run.json` and to check an existing one.
    pub submission: SubmissionRecord,
    /// Training rounds completed in the state.
    pub round: u64,
    /// The step that begins from it.
    pub step: u64,
    /// When it was written, in ms since 1970.
    pub at_ms: u64,
    /// Digest of the state.
    pub digest: Digest,
    /// Bytes of the state.
    pub bytes: u64,
    /// Version of the build that wrote it, for people only.
    pub build: String,
    /// Number of connected workers: after a restart, the coordinator waits for as many.
    pub workers: u32,
    /// The run's progress.
    pub progress: Progress,
}

impl Record for CheckpointRecord {
    const KIND: &'static str = "checkpoint";
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// Its identity.
    pub identity: RunIdentity,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// How.
    pub state: RunEnd,
    /// Training rounds done.
    pub round: u64,
    /// Mean training loss of the last one.
    pub loss: Option<f64>,
    /// Digest of the final state, if the run finished.
    pub digest: Option<Digest>,
    /// Why the run failed.
    pub reason: Option<String>,
    /// Its progress, for the summary. `None` for runs that never began.
    pub progress: Option<Progress>,
    /// Why the final state could not be written to disk.
    pub unsaved: Option<String>,
}

impl Record for Outcome {
    const KIND: &'static str = "outcome";
}

/// Identity of the data of a run: of both splits' manifests.
pub fn dataset_digest(train: &SplitManifest, test: &SplitManifest) -> Digest {
    Digest::of_digests(DATASET, &[train.digest(), test.digest()])
}
