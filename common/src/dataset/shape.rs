//! The shape of the data that a model is built for.

use super::{Dataset, SplitManifest};

/// The shape of the data that a model is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// Features of one example.
    pub features: usize,
    /// Number of classes.
    pub classes: usize,
}

impl DataShape {
    /// The shape of a run's data: the larger numbers of its two splits. Clients, coordinators
    /// and workers all use this function, so that they build the same model.
    pub fn of(train: &SplitManifest, test: &SplitManifest) -> Self {
        Self {
            features: train.features.max(test.features) as usize,
            classes: train.classes.max(test.classes) as usize,
        }
    }
}

impl Dataset {
    /// The shape of the data, as [`DataShape::of`] gives it for the manifests.
    pub fn shape(&self) -> DataShape {
        let (train, test) = (&self.train, &self.test);
        DataShape {
            features: train.width().max(test.width()) as usize,
            classes: train.classes().max(test.classes()) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Examples, Features};

    #[test]
    fn data_and_manifests_have_one_shape() {
        let split = |examples: usize, classes: u32| {
            let features = Features::F32(vec![1.0; 3 * examples]);
            Examples::new(features, vec![0; examples], 3, classes, 1.0).unwrap()
        };
        for (train, test) in [((4, 2), (1, 5)), ((4, 5), (0, 2)), ((0, 2), (4, 5))] {
            let data = Dataset { train: split(train.0, train.1), test: split(test.0, test.1) };
            let expected = DataShape { features: 3, classes: 5 };
            assert_eq!(data.shape(), expected);
            let (train, test) = (data.train.manifest(), data.test.manifest());
            assert_eq!(DataShape::of(&train, &test), expected);
        }
    }
}
