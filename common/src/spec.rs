//! [`RunSpec`]: everything that a run's result depends on, except the data.

mod check;
mod dataset;
mod forms;
mod set;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::merge_rule::MergeRule;

pub use dataset::{DatasetSpec, Missing, Normalise, SHUFFLE_WINDOW, SplitBy, TargetKind};
pub use forms::{LabelColumns, TestExamples};

pub(crate) use dataset::{BLANK, TAB};

/// One training or evaluation job, as a user writes it in TOML.
///
/// Two runs of equal specs over equal data end in the same bits. A spec says nothing about
/// the cluster; only `audit` does not influence the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Name of the model in the registry.
    pub model: String,
    /// Seed of the initial state, of the order of the examples, and of the model's random
    /// numbers. At most 2⁶³ − 1 (a TOML integer).
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Logical network instances that train in parallel, from 1.
    #[serde(default = "default_replicas")]
    pub replicas: u32,
    /// Examples in a batch.
    #[serde(default = "default_batch_size")]
    pub batch_size: u32,
    /// Batches that each replica processes between two merges.
    #[serde(default = "default_update_interval")]
    pub update_interval: u32,
    /// Passes over the training examples. Exactly one of `epochs` and
    /// `rounds` is given when `update_weights` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Training rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// Whether to train. If not, the run only evaluates its initial state.
    #[serde(default = "default_true")]
    pub update_weights: bool,
    /// Whether to give the scores of each example of `evaluation.split`, in place of an evaluation.
    /// They are the run's final state: the tensor `scores`, `[examples, outputs]`. Such a run does
    /// not train, and does not label.
    #[serde(default, skip_serializing_if = "is_false")]
    pub predict: bool,
    /// Share of the shards that two workers compute, to compare their results: 0 to 1. It
    /// does not change the result.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub audit: f64,
    /// The dataset.
    pub dataset: DatasetSpec,
    /// Parameters of the model, which checks them.
    #[serde(default)]
    pub parameters: toml::Table,
    /// Merge rules that differ from the model's own, by tensor.
    #[serde(default)]
    pub merge: BTreeMap<String, MergeRule>,
    /// When and how to evaluate.
    #[serde(default)]
    pub evaluation: EvaluationSpec,
}

/// When and how to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Evaluate after every N epochs; 0: only at the end.
    #[serde(default)]
    pub every: u32,
    /// Which split to evaluate on.
    #[serde(default)]
    pub split: Split,
    /// Examples in one shard of an evaluation or of a labelling.
    #[serde(default = "default_evaluation_shard")]
    pub shard_size: u32,
    /// Whether a pass over the training split, without learning, labels the model's units
    /// before each evaluation.
    #[serde(default)]
    pub labelling: bool,
}

impl Default for EvaluationSpec {
    fn default() -> Self {
        Self {
            every: 0,
            split: Split::Test,
            shard_size: default_evaluation_shard(),
            labelling: false,
        }
    }
}

/// A part of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The training examples.
    Train,
    /// The test examples.
    #[default]
    Test,
}

// Serde hands out a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}
// Serde hands out a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}
fn default_seed() -> u64 {
    1
}
fn default_replicas() -> u32 {
    8
}
fn default_batch_size() -> u32 {
    10
}
fn default_update_interval() -> u32 {
    1
}
fn default_true() -> bool {
    true
}
fn default_evaluation_shard() -> u32 {
    256
}

/// What is wrong with a spec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The text is not TOML, lacks a field, or has one of the wrong type.
    #[error("the spec is not valid: {}", .0.to_string().trim_end())]
    Toml(#[from] toml::de::Error),
    /// A field's value is out of its range.
    #[error("spec field `{field}`: expected {expected}, found {found}")]
    Field {
        /// Path of the field, as in `evaluation.every`.
        field: String,
        /// A valid value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// The text is too long.
    #[error("the spec: expected at most {most} bytes of TOML, found {found}", most = limits::SPEC_BYTES)]
    TooLong {
        /// Its bytes.
        found: usize,
    },
}

impl SpecError {
    pub(crate) fn field(field: &str, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self::Field { field: field.into(), expected, found }
    }
}

impl RunSpec {
    /// Reads and validates a spec.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        if text.len() > limits::SPEC_BYTES {
            return Err(SpecError::TooLong { found: text.len() });
        }
        let spec: Self = toml::from_str(text)?;
        spec.validate()?;
        Ok(spec)
    }

    /// Reads and validates a spec from a table, as [`RunSpec::set`] leaves it.
    pub fn from_table(table: toml::Table) -> Result<Self, SpecError> {
        let spec: Self = table.try_into()?;
        spec.validate()?;
        Ok(spec)
    }

    /// The spec as TOML, every field written out. Reading it back gives an
    /// equal spec.
    ///
    /// # Panics
    /// If the seed is above 2⁶³ − 1, which no valid spec's is.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a valid spec can be written as TOML")
    }

    /// The spec as workers get it: TOML with every key that has a value, those at
    /// their defaults too, and the parameters of its model as they apply (what
    /// `Model::parameters` says). Reading it back gives a spec of the same run. Without a value are one of `epochs` and `rounds`, and
    /// what only the client needs of `dataset`, as it loads the examples. An error if
    /// it is longer than a spec may be.
    pub fn to_complete_toml(&self, parameters: &toml::Table) -> Result<String, SpecError> {
        let mut spec = self.clone();
        spec.parameters.extend(parameters.clone());
        let mut table = toml::Table::try_from(&spec).expect("a valid spec can be written as TOML");
        // Left out of the text that users' runs are known by.
        table.insert("audit".into(), self.audit.into());
        table.insert("predict".into(), self.predict.into());
        if let Some(toml::Value::Table(dataset)) = table.get_mut("dataset") {
            dataset.insert("shuffle_window".into(), i64::from(self.dataset.shuffle_window).into());
        }
        let text = table.to_string();
        if text.len() > limits::SPEC_BYTES {
            return Err(SpecError::TooLong { found: text.len() });
        }
        Ok(text)
    }

    /// Checks every field's range. `from_toml` has done so already.
    pub fn validate(&self) -> Result<(), SpecError> {
        check::spec(self)
    }

    /// Applies `key=value` settings (`replicas=4`, `parameters.learning_rate=0.1`,
    /// `merge.weights=mean`) to a TOML table, before it is read as a spec by
    /// [`RunSpec::from_table`].
    ///
    /// Values are read as TOML; what is not TOML is taken as a string. Parts
    /// of a key that hold a dot are quoted, as in TOML: `merge."layer.0"=sum`.
    /// Since a spec has either `epochs` or `rounds`, setting one removes the
    /// other.
    pub fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), SpecError> {
        set::set(table, key, value)
    }

    /// Whether a spec may have a field of this key, as [`RunSpec::set`] takes it. Any key of
    /// `parameters` counts: only the model knows its parameters.
    pub fn has(key: &str) -> bool {
        let mut table = toml::Table::new();
        // No value fits every field, so only errors about the name count here.
        set::set(&mut table, "model", "m").is_ok()
            && set::set(&mut table, "dataset.source", "digits").is_ok()
            && set::set(&mut table, key, "0").is_ok()
            && match Self::from_table(table) {
                Err(SpecError::Toml(error)) => !error.message().contains("unknown field"),
                _ => true,
            }
    }

    /// A commented example, which `coordinator spec` prints. It is the spec of
    /// [`RunSpec::default_digits`].
    pub fn example() -> &'static str {
        include_str!("spec/example.toml")
    }

    /// The default run, without a spec: `mlp` learns the embedded digits.
    pub fn default_digits() -> Self {
        Self::from_toml(Self::example()).expect("the example is valid, as its test says")
    }
}

#[cfg(test)]
mod tests;
