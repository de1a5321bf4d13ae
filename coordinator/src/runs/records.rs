//! What the JSON files of a run say. A reader of another version refuses them
//! by their `format`.

use std::collections::BTreeMap;

use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::RunId;
use common::run_settings::RunSettings;
use serde::{Deserialize, Deserializer, Serialize, de};

/// First bytes under the digest of a run's data.
const DATASET: &[u8] = b"samebit-dataset-1\n";

/// Version of the files in a run's folder.
pub const FORMAT: u32 = 1;

/// Reads [`FORMAT`], and nothing else.
fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        found => Err(de::Error::custom(format!(
            "format {found}, where this version of Samebit reads format {FORMAT}"
        ))),
    }
}

/// A run as it was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmissionRecord {
    /// [`FORMAT`].
    #[serde(deserialize_with = "format")]
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// Its spec, as TOML.
    pub spec: String,
    /// How to carry it out.
    pub settings: RunSettings,
    /// Digest of the state to start from, where a client sent one.
    pub initial: Option<Digest>,
    /// The run and the round that it was forked from.
    pub forked_from: Option<(RunId, u64)>,
    /// Training examples.
    pub train: SplitManifest,
    /// Test examples.
    pub test: SplitManifest,
}

/// What a run has come to by a round: what its end is told of beside its last
/// state.
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
    /// Examples that the model warned of in all training rounds, by warning.
    pub training_warnings: BTreeMap<String, u64>,
    /// The same of the last labelling.
    pub labelling_warnings: BTreeMap<String, u64>,
    /// The same of the last evaluation.
    pub evaluation_warnings: BTreeMap<String, u64>,
    /// Shards that were taken from workers instead of computed again.
    pub offered: u64,
    /// Shards that two workers computed for an audit.
    #[serde(default)]
    pub audited: u64,
    /// Shards that were to be audited, and were not.
    #[serde(default)]
    pub unaudited: u64,
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
pub struct CheckpointRecord {
    /// [`FORMAT`].
    #[serde(deserialize_with = "format")]
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// Training rounds that are behind the state.
    pub round: u64,
    /// The step that begins from it.
    pub step: u64,
    /// When it was written, in ms since 1970.
    pub at_ms: u64,
    /// Digest of the state.
    pub digest: Digest,
    /// Bytes of the state.
    pub bytes: u64,
    /// Digest of the run's data ([`dataset_digest`]).
    pub dataset: Digest,
    /// The run's spec, as TOML.
    pub spec: String,
    /// Version of the build that wrote it.
    pub build: String,
    /// Its numeric profile.
    pub numeric_profile: String,
    /// Workers that were there: a coordinator that goes on waits for as many.
    pub workers: u32,
    /// What the run has come to.
    pub progress: Progress,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    #[serde(deserialize_with = "format")]
    pub format: u32,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// How.
    pub state: OutcomeState,
    /// Training rounds done.
    pub round: u64,
    /// Mean training loss of the last one.
    pub loss: Option<f64>,
    /// Digest of the final state, if the run ended well.
    pub digest: Option<Digest>,
    /// Why the run failed.
    pub reason: Option<String>,
    /// What it had come to: what clients are told at its end. Files that were
    /// written before there was this have none, nor do runs that never began.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Why the final state is not on disk, if it should be and is not.
    #[serde(default)]
    pub unsaved: Option<String>,
}

/// The ways for a run to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// Well.
    Finished,
    /// By an error.
    Failed,
    /// Because somebody wanted it to.
    Cancelled,
}

/// Identity of the data of a run: of both splits' manifests.
pub fn dataset_digest(train: &SplitManifest, test: &SplitManifest) -> Digest {
    Digest::of_digests(DATASET, &[train.digest(), test.digest()])
}
