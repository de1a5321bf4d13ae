//! Datasets: where examples come from, and how they travel.
//!
//! A split's examples are cut into content-addressed chunks. A
//! [`SplitManifest`] names them by digest; whoever has the manifest and the
//! chunks has the data, wherever it came from.

mod examples;
mod manifest;
mod shape;
mod source;

use crate::spec::{DatasetSpec, Split};

pub use examples::{Examples, Features};
pub use manifest::{FeatureType, SplitManifest, SplitSize};
pub use shape::DataShape;
pub use source::sources;

/// Both splits of a dataset, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The examples to learn from.
    pub train: Examples,
    /// The examples to judge by; may be empty.
    pub test: Examples,
}

/// What is wrong with a dataset.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The source is none that is known.
    #[error("dataset source {0:?}: expected `digits`, `idx:FOLDER`, `npy:FOLDER` or `csv:FILE`")]
    Source(String),
    /// A file cannot be opened or read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file's content is wrong.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// `byte N` (of the unpacked file) or `line N`.
        place: String,
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// Parts of the dataset do not agree, or a value is out of range.
    #[error("dataset: expected {expected}, found {found}")]
    Invalid {
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A chunk is not at hand: a bug of the caller.
    #[error("chunk {0} of the {1:?} split is not at hand")]
    MissingChunk(usize, Split),
}

fn invalid(expected: impl ToString, found: impl ToString) -> DatasetError {
    DatasetError::Invalid { expected: expected.to_string(), found: found.to_string() }
}

/// Gives examples by index. Implemented over memory here, and over its chunk
/// cache by the worker.
pub trait ExampleSource: Send + Sync {
    /// Appends the scaled features and the labels of `examples` of `split`, in
    /// that order.
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        features: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DatasetError>;
}

impl ExampleSource for Dataset {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        features: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DatasetError> {
        let all = self.split(split);
        for example in examples {
            all.read(*example, features, labels).ok_or_else(|| {
                invalid(format!("an example of the {split:?} split below {}", all.len()), example)
            })?;
        }
        Ok(())
    }
}

impl Dataset {
    /// Loads what a spec names. Reads files; `digits` is in the binary.
    pub fn load(spec: &DatasetSpec) -> Result<Self, DatasetError> {
        source::load(spec)
    }

    /// One split.
    pub fn split(&self, split: Split) -> &Examples {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

#[cfg(test)]
mod tests;
