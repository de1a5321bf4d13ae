//! The shape of the data that a model is built for.

use super::manifest::values;
use super::targets::TargetType;
use super::{Dataset, SplitManifest};
use crate::limits;
use crate::spec::Split;

/// The shape of the data that a model is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// Features of one example.
    pub features: usize,
    /// What each example has as its target.
    pub targets: TargetType,
    /// The lengths of an example's axes, and 1 behind the last.
    lengths: [u32; limits::DIMENSIONS],
    axes: usize,
}

/// What one split has.
struct One<'a> {
    examples: u64,
    shape: &'a [u32],
    targets: TargetType,
}

impl<'a> One<'a> {
    fn of(split: &'a SplitManifest) -> Self {
        One { examples: split.examples, shape: &split.shape, targets: split.targets }
    }
}

impl DataShape {
    /// Examples of so many features in one row.
    pub const fn new(features: usize, targets: TargetType) -> Self {
        let mut lengths = [1; limits::DIMENSIONS];
        lengths[0] = features as u32;
        Self { features, targets, lengths, axes: 1 }
    }

    /// The shape of a run's data: that of the examples, and the larger number of classes of its
    /// two splits. Clients, coordinators and workers all use this function, so that they build the
    /// same model.
    pub fn of(train: &SplitManifest, test: &SplitManifest) -> Self {
        Self::of_both(&One::of(train), &One::of(test))
    }

    /// The same examples with other targets.
    #[must_use]
    pub const fn with_targets(self, targets: TargetType) -> Self {
        Self { targets, ..self }
    }

    /// The shape of one example, as `[28, 28]`.
    pub fn example(&self) -> &[u32] {
        &self.lengths[..self.axes]
    }

    fn of_both(train: &One<'_>, test: &One<'_>) -> Self {
        let one = if train.examples == 0 && test.examples > 0 { test } else { train };
        let axes = one.shape.len().min(limits::DIMENSIONS);
        let mut lengths = [1; limits::DIMENSIONS];
        lengths[..axes].copy_from_slice(&one.shape[..axes]);
        let targets = train.targets.with(test.targets).unwrap_or(one.targets);
        Self { features: values(one.shape) as usize, targets, lengths, axes }
    }
}

impl Dataset {
    /// The shape of the data, as [`DataShape::of`] gives it for the manifests.
    pub fn shape(&self) -> DataShape {
        let one = |split: Split| {
            let split = self.split(split);
            One { examples: split.len(), shape: split.shape(), targets: split.target_type() }
        };
        DataShape::of_both(&one(Split::Train), &one(Split::Test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Examples, Features, TargetValues};

    #[test]
    fn data_and_manifests_have_one_shape() {
        let split = |examples: usize, count: u32| {
            let features = Features::F32(vec![1.0; 6 * examples]);
            let targets = TargetValues::Classes { labels: vec![0; examples], count };
            Examples::with_targets(features, targets, vec![3, 2], 1.0).unwrap()
        };
        for (train, test) in [((4, 2), (1, 5)), ((4, 5), (0, 2)), ((0, 2), (4, 5))] {
            let data = Dataset { train: split(train.0, train.1), test: split(test.0, test.1) };
            let shape = data.shape();
            assert_eq!((shape.features, shape.targets), (6, TargetType::Classes(5)));
            assert_eq!(shape.example(), [3, 2]);
            let (train, test) = (data.train.manifest(), data.test.manifest());
            assert_eq!(DataShape::of(&train, &test), shape);
        }
        let none =
            Examples::with_targets(Features::F32(Vec::new()), TargetValues::None, vec![1], 1.0);
        let data = Dataset { train: split(4, 2), test: none.unwrap() };
        assert_eq!(data.shape(), Dataset { test: split(0, 2), ..data.clone() }.shape());
    }
}
