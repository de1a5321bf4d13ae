//! One split as its files have it, before labels become classes.

use super::examples::Features;

/// Labels as their source has them, one for each example.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RawLabels {
    /// The source has none.
    None,
    /// Finite numbers: whole ones of any integer type up to 2^53, floats, and booleans as 0 and 1.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// Where the label of an example stands in its file, for errors.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Places {
    /// The line of each example, from 1.
    Lines(Vec<u64>),
    /// The row of each example, from 0.
    Rows(Vec<u64>),
    /// The first label is at byte `start` of the unpacked file, the next `size` bytes later.
    Bytes { start: u64, size: u64 },
}

/// One split as its files have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) features: Features,
    /// The shape of one example, as `[28, 28]`; at least one number, all above 0.
    pub(super) shape: Vec<u32>,
    pub(super) labels: RawLabels,
    /// The file that has the labels (or the features, if there are no labels), as it is named in
    /// errors, and the place of each label in it.
    pub(super) label_file: String,
    pub(super) places: Places,
}

impl Raw {
    /// Features of one example.
    pub(super) fn width(&self) -> usize {
        self.shape.iter().map(|length| *length as usize).product()
    }

    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.features.len() / self.width().max(1)
    }

    /// Some of its examples, in this order.
    pub(super) fn rows(&self, examples: &[usize]) -> Self {
        let width = self.width();
        let features = match &self.features {
            Features::U8(values) => Features::U8(rows(values, width, examples)),
            Features::F32(values) => Features::F32(rows(values, width, examples)),
        };
        let labels = match &self.labels {
            RawLabels::None => RawLabels::None,
            RawLabels::Numbers(labels) => RawLabels::Numbers(rows(labels, 1, examples)),
            RawLabels::Texts(labels) => RawLabels::Texts(rows(labels, 1, examples)),
        };
        let places = match &self.places {
            Places::Lines(lines) => Places::Lines(rows(lines, 1, examples)),
            Places::Rows(all) => Places::Rows(rows(all, 1, examples)),
            bytes => bytes.clone(),
        };
        let (shape, label_file) = (self.shape.clone(), self.label_file.clone());
        Self { features, shape, labels, label_file, places }
    }
}

/// Rows of `width` values.
pub(super) fn rows<T: Clone>(values: &[T], width: usize, examples: &[usize]) -> Vec<T> {
    let mut taken = Vec::with_capacity(examples.len() * width);
    for example in examples {
        taken.extend_from_slice(&values[example * width..(example + 1) * width]);
    }
    taken
}
