//! Arrays of numbers in files, of any type and order, as features of examples.

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::Splits;
use super::file::{SPLIT_BYTES, SourceFile};
use super::numbers::{Number, Order};
use crate::dataset::raw::{Places, Raw, RawLabels};
use crate::dataset::{DatasetError, Features};
use crate::limits;

/// Bytes that are read and converted at once, if an item is not larger.
const CHUNK_BYTES: u64 = 1 << 20;

/// An unpacked file, read from front to back.
pub(super) trait Bytes {
    /// The next `bytes` bytes, which are `what`. Memory is allocated as they arrive.
    fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError>;

    /// Checks that nothing follows.
    fn end(&mut self) -> Result<(), DatasetError>;

    /// The error for a byte.
    fn wrong_byte(&self, byte: u64, expected: String, found: String) -> DatasetError;
}

impl Bytes for SourceFile<'_> {
    fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        SourceFile::take(self, bytes, what)
    }

    fn end(&mut self) -> Result<(), DatasetError> {
        SourceFile::end(self)
    }

    fn wrong_byte(&self, byte: u64, expected: String, found: String) -> DatasetError {
        SourceFile::wrong_byte(self, byte, expected, found)
    }
}

/// A wrong item of an array: its index in the file, and the error.
pub(super) struct Wrong {
    pub(super) at: u64,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Items of one size that follow each other in a file.
pub(super) struct Items<'a> {
    /// The byte of the first one.
    pub(super) start: u64,
    /// Bytes of each, above 0.
    pub(super) size: u64,
    pub(super) count: u64,
    pub(super) what: &'a str,
}

impl Items<'_> {
    /// Reads all items up to the end of the file, and hands them to `each` in chunks, with the
    /// index of a chunk's first item. Memory for one chunk is needed.
    pub(super) fn read(
        &self,
        file: &mut dyn Bytes,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), Wrong>,
    ) -> Result<(), DatasetError> {
        let most = (CHUNK_BYTES / self.size).max(1);
        let mut done = 0;
        while done < self.count {
            let items = most.min(self.count - done);
            let chunk = file.take(items * self.size, self.what)?;
            self.check(file, each(done, &chunk))?;
            done += items;
        }
        file.end()
    }

    /// The error of a wrong item.
    fn check(&self, file: &dyn Bytes, result: Result<(), Wrong>) -> Result<(), DatasetError> {
        result.map_err(|Wrong { at, expected, found }| {
            file.wrong_byte(self.start + at * self.size, expected, found)
        })
    }
}

/// What an array's header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) number: Number,
    pub(super) order: Order,
    /// Lengths of the dimensions: as the file has them.
    pub(super) shape: Vec<u64>,
    /// Whether the first index, not the last one, changes fastest in the file.
    pub(super) fortran: bool,
    /// The byte of the header that errors of the shape name.
    pub(super) shape_at: u64,
    /// The byte of the first value.
    pub(super) start: u64,
}

impl Layout {
    /// Its first `count` values: all of them.
    pub(super) fn items<'a>(&self, count: u64, what: &'a str) -> Items<'a> {
        Items { start: self.start, size: self.number.bytes(), count, what }
    }

    /// The error for the shape.
    pub(super) fn wrong_shape(
        &self,
        file: &dyn Bytes,
        expected: String,
        hint: &str,
    ) -> DatasetError {
        let colon = if hint.is_empty() { "" } else { ": " };
        let found = format!("shape {:?}{colon}{hint}", self.shape);
        file.wrong_byte(self.shape_at, expected, found)
    }

    /// The number of examples, and the shape of one: the first dimension, and the others.
    fn examples(&self, file: &dyn Bytes) -> Result<(u64, Vec<u32>), DatasetError> {
        let wrong = |expected, hint| Err(self.wrong_shape(file, expected, hint));
        let [examples, rest @ ..] = &self.shape[..] else {
            return wrong("an array of examples".into(), "a single number");
        };
        if self.shape.len() > limits::DIMENSIONS {
            let expected = format!("at most {} dimensions", limits::DIMENSIONS);
            return wrong(expected, "reshape the array before saving it");
        }
        if !(1..=limits::EXAMPLES).contains(examples) {
            let hint = "the first dimension is that of the examples";
            return wrong(format!("1 to {} examples", limits::EXAMPLES), hint);
        }
        let width = rest.iter().try_fold(1_u64, |width, length| width.checked_mul(*length));
        let Some(width @ 1..) = width.filter(|width| *width <= limits::FEATURES.into()) else {
            let expected = format!("examples of 1 to {} features", limits::FEATURES);
            return wrong(expected, "the first dimension is that of the examples");
        };
        let stored = if self.number.is_byte() { 1 } else { 4 };
        if examples * width * stored > SPLIT_BYTES {
            return wrong(format!("at most {} features in all", SPLIT_BYTES / stored), "");
        }
        let mut shape: Vec<u32> = rest.iter().map(|length| *length as u32).collect();
        if shape.is_empty() {
            shape.push(1);
        }
        Ok((*examples, shape))
    }

    /// Reads the features of all examples. `name` is the file's name in errors.
    pub(super) fn features(
        &self,
        file: &mut dyn Bytes,
        name: String,
    ) -> Result<Examples, DatasetError> {
        let (count, shape) = self.examples(file)?;
        let values = shape.iter().fold(count, |values, length| values * u64::from(*length));
        let items = self.items(values, "features");
        let features = if self.number.is_byte() {
            // They are kept as they are read.
            let bytes = file.take(values, items.what)?;
            items.check(file, self.check_bools(0, &bytes))?;
            file.end()?;
            Features::U8(self.row_major(bytes))
        } else {
            let mut singles = Vec::new();
            items.read(file, |at, chunk| {
                singles.extend(self.finite(at, chunk)?);
                Ok(())
            })?;
            Features::F32(self.row_major(singles))
        };
        Ok(Examples { features, count, shape, name, layout: self.clone() })
    }

    /// Checks that the values are 0 or 1, if they are booleans. `at` is the first one's index.
    pub(super) fn check_bools(&self, at: u64, bytes: &[u8]) -> Result<(), Wrong> {
        if self.number != Number::Bool {
            return Ok(());
        }
        let wrong = bytes.iter().position(|byte| *byte > 1);
        wrong.map_or(Ok(()), |index| {
            let expected = "0 or 1, as the array is of type bool".into();
            Err(Wrong { at: at + index as u64, expected, found: bytes[index].to_string() })
        })
    }

    /// Values as single precision. `at` is the first one's index.
    fn finite(&self, at: u64, bytes: &[u8]) -> Result<Vec<f32>, Wrong> {
        let singles = self.number.singles(self.order, bytes);
        let Some(index) = singles.iter().position(|value| !value.is_finite()) else {
            return Ok(singles);
        };
        let size = self.number.bytes() as usize;
        let original = self.number.doubles(self.order, &bytes[index * size..(index + 1) * size]);
        let found = match original.first() {
            Some(value) if value.is_finite() => {
                format!("{value:e}, too large for single precision: scale the features first")
            }
            Some(value) => not_finite(*value, "features"),
            None => String::new(),
        };
        Err(Wrong { at: at + index as u64, expected: "a finite number".into(), found })
    }

    /// All values of the array in the order in which the last index changes fastest.
    fn row_major<T: Clone>(&self, values: Vec<T>) -> Vec<T> {
        if !self.fortran || self.shape.len() < 2 {
            return values;
        }
        let shape: Vec<usize> = self.shape.iter().map(|length| *length as usize).collect();
        let array = ArrayD::from_shape_vec(IxDyn(&shape).f(), values);
        let array = array.expect("there are as many values as the shape has places");
        array.as_standard_layout().into_owned().into_raw_vec_and_offset().0
    }
}

/// A value that is not finite, and what to do about it.
pub(super) fn not_finite(value: f64, what: &str) -> String {
    if value.is_nan() {
        format!("NaN, a missing value: fill the gaps of the {what} or leave those examples out")
    } else {
        format!("{value}: replace it in the {what}, or leave that example out")
    }
}

/// The features of one split.
#[derive(Debug)]
pub(super) struct Examples {
    features: Features,
    pub(super) count: u64,
    shape: Vec<u32>,
    name: String,
    layout: Layout,
}

/// The labels of one split, and where they are.
pub(super) struct Labels {
    pub(super) labels: RawLabels,
    pub(super) file: String,
    pub(super) places: Places,
}

/// One split, and the place of its shape in the file of the features.
pub(super) struct Part {
    raw: Raw,
    name: String,
    shape_at: u64,
}

impl Examples {
    /// The values in single precision.
    pub(super) fn into_singles(self) -> Vec<f32> {
        self.features.into_floats()
    }

    /// Joins features and labels.
    pub(super) fn with(self, labels: Option<Labels>) -> Part {
        let Self { features, shape, name, layout, .. } = self;
        let labels = labels.unwrap_or_else(|| {
            let values: u64 = shape.iter().map(|length| u64::from(*length)).product();
            let values = if layout.fortran { 1 } else { values };
            let places =
                Places::Bytes { start: layout.start, size: values * layout.number.bytes() };
            Labels { labels: RawLabels::None, file: name.clone(), places }
        });
        let Labels { labels, file, places } = labels;
        let raw = Raw { features, shape, labels, label_file: file, places };
        Part { raw, name, shape_at: layout.shape_at }
    }
}

/// Checks that both splits have examples of one shape, and makes the type of their features
/// one: single precision if either has it.
pub(super) fn agree(train: Part, test: Option<Part>) -> Result<Splits, DatasetError> {
    let Some(test) = test else {
        return Ok((train.raw, None));
    };
    if train.raw.shape != test.raw.shape {
        return Err(DatasetError::Content {
            path: test.name,
            place: format!("byte {}", test.shape_at),
            expected: format!("examples of shape {:?}, as in {}", train.raw.shape, train.name),
            found: format!("{:?}", test.raw.shape),
        });
    }
    let (mut train, mut test) = (train.raw, test.raw);
    match (&mut train.features, &mut test.features) {
        (Features::F32(_), Features::U8(bytes)) => test.features = singles(bytes),
        (Features::U8(bytes), Features::F32(_)) => train.features = singles(bytes),
        _ => {}
    }
    Ok((train, Some(test)))
}

fn singles(bytes: &[u8]) -> Features {
    Features::F32(bytes.iter().map(|byte| f32::from(*byte)).collect())
}
