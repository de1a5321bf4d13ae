//! [`Batch`]: examples for a replica to learn from or to be evaluated on.

use ndarray::ArrayView2;

use super::{DataShape, ModelError};
use crate::dataset::TargetType;

/// Examples for a replica to process, in order.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// `[examples, features]`, scaled as the dataset says.
    pub features: ArrayView2<'a, f32>,
    /// What the model should find for each example.
    pub targets: Targets<'a>,
    /// Each example's place in its split: with the run's seed and the epoch,
    /// the only keys that a model's randomness may have ([`Random`](super::Random)).
    pub examples: &'a [u64],
    /// The epoch, from 0.
    pub epoch: u64,
}

/// What a model should find for each example of a batch. Later versions may add kinds of
/// data; a model refuses those that it does not know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// Nothing: the model learns without.
    None,
    /// The class of each example, from 0.
    Classes(&'a [u32]),
    /// Numbers for each example, `[examples, numbers]`, as the dataset has them.
    Vectors(ArrayView2<'a, f32>),
}

impl Targets<'_> {
    /// The error where others are needed.
    fn not(&self, expected: &str) -> ModelError {
        let found = match self {
            Self::None => "no targets",
            Self::Classes(_) => "classes",
            Self::Vectors(_) => "vectors",
        };
        ModelError::Data { expected: expected.into(), found: found.into() }
    }
}

impl DataShape {
    /// The number of classes, for a model that needs classes.
    ///
    /// # Errors
    /// [`ModelError::Data`] where the examples have none.
    pub fn classes(&self) -> Result<usize, ModelError> {
        match self.targets {
            TargetType::Classes(count) => Ok(count as usize),
            other => Err(ModelError::Data {
                expected: "a class for each example (`dataset.targets` set to \"class\")".into(),
                found: other.to_string(),
            }),
        }
    }
}

impl<'a> Batch<'a> {
    /// A batch of these parts, which belong to the same examples.
    pub fn new(
        features: ArrayView2<'a, f32>,
        targets: Targets<'a>,
        examples: &'a [u64],
        epoch: u64,
    ) -> Self {
        Self { features, targets, examples, epoch }
    }

    /// The class of each example, from 0.
    ///
    /// # Errors
    /// [`ModelError::Data`] where the examples have no classes.
    pub fn classes(&self) -> Result<&'a [u32], ModelError> {
        match self.targets {
            Targets::Classes(classes) => Ok(classes),
            other => Err(other.not("classes")),
        }
    }

    /// The numbers of each example's target, `[examples, numbers]`.
    ///
    /// # Errors
    /// [`ModelError::Data`] where the examples have none.
    pub fn vectors(&self) -> Result<ArrayView2<'a, f32>, ModelError> {
        match self.targets {
            Targets::Vectors(vectors) => Ok(vectors),
            other => Err(other.not("vectors")),
        }
    }
}
