//! Loading of datasets from their sources.

mod csv;
mod file;
mod idx;
mod npy;

use std::path::Path;

use super::Dataset;
use super::error::{DatasetError, invalid};
use super::examples::{Examples, Features};
use crate::limits;
use crate::spec::DatasetSpec;
use file::SourceFile;

/// UCI "Optical Recognition of Handwritten Digits": see `digits.md` beside it.
const DIGITS: &[u8] = include_bytes!("digits.csv.gz");

/// Every fifth example of `digits` is a test example. The file is sorted by writer, so a
/// split by position would test on other writers than it trained on.
const DIGITS_TEST_EVERY: usize = 5;

/// Names and descriptions of the dataset sources, for `coordinator datasets`.
pub fn sources() -> &'static [(&'static str, &'static str)] {
    &[
        (
            "digits",
            "1,797 handwritten digits of 8×8 pixels, embedded: 1,438 to train on, 359 to test \
             (UCI Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, CC BY 4.0)",
        ),
        (
            "idx:FOLDER",
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, and t10k-… if present, the format of \
             MNIST and Fashion-MNIST, with or without gzip",
        ),
        (
            "npy:FOLDER",
            "train_features.npy (u1 or f4, examples first), train_labels.npy (u1, u4, i4 or i8), \
             and test_….npy if present",
        ),
        (
            "csv:FILE",
            "numbers, one example per line, with the label in the last column; a header line and \
             gzip are accepted; test_examples splits it",
        ),
    ]
}

/// Loads a spec's dataset.
pub(super) fn load(spec: &DatasetSpec) -> Result<Dataset, DatasetError> {
    let label_bound = spec.classes.unwrap_or(limits::CLASSES);
    let loaded = match spec.source.split_once(':') {
        None if spec.source == "digits" => digits(label_bound)?,
        Some(("idx", folder)) if !folder.is_empty() => idx::load(Path::new(folder), label_bound)?,
        Some(("npy", folder)) if !folder.is_empty() => npy::load(Path::new(folder), label_bound)?,
        Some(("csv", path)) if !path.is_empty() => Loaded {
            train: csv::read(SourceFile::open(Path::new(path))?, label_bound)?,
            test: None,
            scale: 1.0,
        },
        _ => return Err(DatasetError::Source(spec.source.chars().take(200).collect())),
    };
    loaded.into_dataset(spec)
}

fn digits(label_bound: u32) -> Result<Loaded, DatasetError> {
    let all = csv::read(SourceFile::new("digits".into(), DIGITS)?, label_bound)?;
    let every_value = match all.features {
        Features::U8(values) => values,
        // Whole numbers from 0 to 16.
        Features::F32(values) => values.into_iter().map(|value| value as u8).collect(),
    };
    let (mut train, mut test) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let images = every_value.chunks_exact(all.width as usize);
    for (place, (image, label)) in images.zip(all.labels).enumerate() {
        let is_test = place % DIGITS_TEST_EVERY == DIGITS_TEST_EVERY - 1;
        let (values, labels) = if is_test { &mut test } else { &mut train };
        values.extend_from_slice(image);
        labels.push(label);
    }
    let part = |(values, labels)| Part { features: Features::U8(values), labels, width: all.width };
    Ok(Loaded { train: part(train), test: Some(part(test)), scale: 16.0 })
}

/// The content of a source.
struct Loaded {
    train: Part,
    /// The source's own test split.
    test: Option<Part>,
    /// The source's scale, if the spec sets none.
    scale: f32,
}

impl Loaded {
    fn into_dataset(self, spec: &DatasetSpec) -> Result<Dataset, DatasetError> {
        let Self { mut train, test, scale } = self;
        let all = train.labels.len();
        let test = match (test, spec.test_examples) {
            (Some(test), None) => test,
            (None, None) => train.split_off(all),
            (_, Some(wanted)) => {
                let first = usize::try_from(wanted).ok().and_then(|wanted| all.checked_sub(wanted));
                let Some(first) = first else {
                    let expected = format!(
                        "`test_examples` of at most {all}, the number of training examples"
                    );
                    return Err(invalid(expected, wanted));
                };
                train.split_off(first)
            }
        };
        let scale = spec.scale.unwrap_or(scale);
        let largest = train.labels.iter().chain(&test.labels).max().copied().unwrap_or(0);
        let classes = spec.classes.unwrap_or(largest.saturating_add(1));
        let examples =
            |part: Part| Examples::new(part.features, part.labels, part.width, classes, scale);
        Ok(Dataset { train: examples(train)?, test: examples(test)? })
    }
}

/// The examples of one file, or of a pair of files.
struct Part {
    features: Features,
    labels: Vec<u32>,
    width: u32,
}

impl Part {
    /// Removes and returns the examples from index `at` on.
    fn split_off(&mut self, at: usize) -> Self {
        let value = at * self.width as usize;
        let features = match &mut self.features {
            Features::U8(values) => Features::U8(values.split_off(value)),
            Features::F32(values) => Features::F32(values.split_off(value)),
        };
        Self { features, labels: self.labels.split_off(at), width: self.width }
    }
}

#[cfg(test)]
mod tests;
