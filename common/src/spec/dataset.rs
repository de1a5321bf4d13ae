//! [`DatasetSpec`]: where the examples come from, and what their values mean.

use serde::{Deserialize, Serialize};

use super::forms::{LabelColumns, TestExamples, columns};

/// Where the examples come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// `digits`, `csv:FILE`, `idx:FOLDER`, `npy:FOLDER`, `npz:FILE`, `safetensors:FILE`,
    /// `parquet:PATH`, or a path without a kind, which is told by its name.
    pub source: String,
    /// Another source of the same kind, whose examples are the test split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_source: Option<String>,
    /// What the examples have as targets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub targets: TargetKind,
    /// Number of classes. By default those that the labels of both splits have: the largest plus
    /// one, if they are whole numbers from 0 without a gap, or else as many as there are different
    /// ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<u32>,
    /// Feature values are divided by this, to bring them to [0, 1]. The default depends on
    /// the source: 16 for `digits`, 255 for arrays of bytes, 1 for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// How features are then scaled, by what the training examples have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// How many training examples are the test split, instead of the source's own if it has one:
    /// a count, or a share below 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_examples: Option<TestExamples>,
    /// Which examples these are. Specs from before this field existed mean the last ones; each
    /// spec that is written has it, so that it means the same when it is run again.
    #[serde(default = "last")]
    pub split: SplitBy,
    /// Seed of the draw, if there is one.
    #[serde(default = "one")]
    pub split_seed: u64,
    /// The column of the label or of the target in a table: its name, its number (from 1, as
    /// `column 5`), `first` or `last`; a list of them, if each target is a vector. By default it is found by its name or its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelColumns>,
    /// The character that separates the columns of a table, or `tab` or
    /// `blank`. By default it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// What is done about missing values in a table.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: Missing,
    /// Columns of a table to leave out. By default those that count the examples, and texts that
    /// nearly every example has another one of.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "columns")]
    pub ignore: Option<Vec<String>>,
    /// Size of a window for shuffling, in MiB of chunks, from 1. A split that fits into one
    /// window is shuffled as a whole. In a larger split the chunks are shuffled first, and
    /// then the examples within each window, so that a worker needs few chunks for a step.
    #[serde(default = "default_shuffle_window", skip_serializing_if = "is_default_window")]
    pub shuffle_window: u32,
}

/// Default of [`DatasetSpec::shuffle_window`], in MiB.
pub const SHUFFLE_WINDOW: u32 = 64;

/// A tab and a blank as [`DatasetSpec::separator`], which a command line does not pass on well.
pub(crate) const TAB: &str = "tab";
pub(crate) const BLANK: &str = "blank";

/// What examples have as targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A class.
    #[default]
    Class,
    /// Numbers that a model learns to predict: a vector of f32.
    Vector,
    /// Nothing, for models that learn without.
    None,
}

/// A way of scaling features, by what the training examples have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// None.
    #[default]
    None,
    /// To mean 0 and standard deviation 1.
    Standard,
    /// To the range from 0 to 1.
    Minmax,
}

/// How the test examples are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// Drawn, with the same share of each class if there are classes.
    #[default]
    Stratified,
    /// The last ones.
    Last,
}

/// What is done about missing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The data is refused.
    #[default]
    Error,
    /// Examples that miss a value are left out.
    Drop,
    /// The mean of the column stands for it.
    Mean,
}

impl DatasetSpec {
    /// A source, with defaults for everything else.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            test_source: None,
            targets: TargetKind::Class,
            classes: None,
            scale: None,
            normalise: Normalise::None,
            test_examples: None,
            split: SplitBy::Last,
            split_seed: 1,
            label: None,
            separator: None,
            missing: Missing::Error,
            ignore: None,
            shuffle_window: SHUFFLE_WINDOW,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn last() -> SplitBy {
    SplitBy::Last
}
fn one() -> u64 {
    1
}
fn default_shuffle_window() -> u32 {
    SHUFFLE_WINDOW
}
// Serde hands out a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_default_window(window: &u32) -> bool {
    *window == SHUFFLE_WINDOW
}
