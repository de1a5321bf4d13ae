//! Datasets: their sources, and the chunks in which examples are sent.
//!
//! A split's examples are cut into content-addressed chunks. A [`SplitManifest`] names them
//! by digest. The manifest and the chunks together are the data, whatever its source.

mod columns;
mod error;
mod examples;
mod features;
mod labels;
mod load;
mod manifest;
mod normalise;
mod raw;
mod rows;
mod schema;
mod sentence;
mod shape;
mod source;
mod split;
mod targets;

use std::path::Path;

use crate::spec::{DatasetSpec, Split};

use error::invalid;

pub use error::DatasetError;
pub use examples::Examples;
pub use features::{Features, TableFeatures};
pub use manifest::{FeatureType, SplitManifest, SplitSize};
pub use schema::{DataDigests, Schema};
pub use shape::DataShape;
pub use source::memory::{ArrayTargets, Arrays, Origin, SplitArrays};
pub use source::sources;
pub use targets::{ExampleBuffer, TargetType, TargetValues};

/// Both splits of a dataset, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The training examples.
    pub train: Examples,
    /// The test examples; may be empty.
    pub test: Examples,
}

/// Gives examples by index. Implemented over memory here, and over its chunk
/// cache by the worker.
pub trait ExampleSource: Send + Sync {
    /// Appends the scaled features and the targets of `examples` of `split`, in
    /// that order.
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError>;
}

impl ExampleSource for Dataset {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError> {
        let all = self.split(split);
        for example in examples {
            all.read(*example, into).ok_or_else(|| {
                invalid(format!("an example of the {split:?} split below {}", all.len()), example)
            })?;
        }
        Ok(())
    }
}

impl Dataset {
    /// Loads a spec's dataset. Reads files; `digits` is in the binary.
    pub fn load(spec: &DatasetSpec) -> Result<Self, DatasetError> {
        Ok(Self::load_as(spec, Path::new(""), None)?.0)
    }

    /// Loads a spec's dataset, and says what it was taken for. Relative paths are those of the
    /// folder `base`. `known` is the schema of the data that a state was trained on: then columns,
    /// classes and scales are the same.
    pub fn load_as(
        spec: &DatasetSpec,
        base: &Path,
        known: Option<&Schema>,
    ) -> Result<(Self, Schema), DatasetError> {
        load::load(spec, base, known, true)
    }

    /// [`Dataset::load_as`] for examples that are to be predicted: labels are not read, whether they
    /// are there or not, and all are 0. No example is left out, as there is a prediction for each.
    pub fn load_unlabelled(
        spec: &DatasetSpec,
        base: &Path,
        known: Option<&Schema>,
    ) -> Result<(Self, Schema), DatasetError> {
        load::load(spec, base, known, false)
    }

    /// One split.
    pub fn split(&self, split: Split) -> &Examples {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// [`Dataset::load_as`], or without `labels` [`Dataset::load_unlabelled`], of examples of any origin.
///
/// # Errors
/// A file cannot be read, or the examples are not what the spec says.
pub fn load_from(
    spec: &DatasetSpec,
    origin: &Origin,
    known: Option<&Schema>,
    labels: bool,
) -> Result<(Dataset, Schema), DatasetError> {
    load::load_from(spec, origin, known, labels)
}

#[cfg(test)]
mod tests;
