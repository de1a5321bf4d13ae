//! [`Features`]: the feature values of a split's examples, in memory.

mod table;

use super::manifest::FeatureType;
use super::rows::{rows, take_rows};

use table::Numbers;

pub use table::TableFeatures;
pub(super) use table::{FeatureColumn, TextColumn, is_byte};

/// Feature values as their source stores them, `[examples, features]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Features {
    /// Bytes, as in `idx` files and `digits`.
    U8(Vec<u8>),
    /// Finite single-precision values.
    F32(Vec<f32>),
    /// Rows of a table that has texts, of which each becomes many features.
    Table(TableFeatures),
}

impl Features {
    /// Type of the values, in a chunk.
    pub fn element(&self) -> FeatureType {
        match self {
            Self::U8(_) => FeatureType::U8,
            Self::F32(_) => FeatureType::F32,
            Self::Table(table) => table.element(),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `take` with the features of each example, of which there are `width`.
    pub fn each_example(&self, width: usize, mut take: impl FnMut(&[f32])) {
        let width = width.max(1);
        match self {
            Self::F32(values) => values.chunks_exact(width).for_each(take),
            _ => {
                let mut row = Vec::with_capacity(width);
                for example in 0..self.len() / width {
                    row.clear();
                    self.append(example, width, &mut row);
                    take(&row);
                }
            }
        }
    }

    /// All values in single precision, `[examples, features]`.
    pub(super) fn into_floats(self) -> Vec<f32> {
        match self {
            Self::U8(bytes) => bytes.into_iter().map(f32::from).collect(),
            Self::F32(values) => values,
            Self::Table(table) => {
                let mut all = Vec::with_capacity(table.len());
                (0..table.examples()).for_each(|example| table.append(example, &mut all));
                all
            }
        }
    }

    /// Appends the features of one example.
    ///
    /// # Panics
    /// If there is no such example.
    pub(super) fn append(&self, example: usize, width: usize, into: &mut Vec<f32>) {
        let values = example * width..(example + 1) * width;
        match self {
            Self::U8(all) => into.extend(all[values].iter().map(|byte| f32::from(*byte))),
            Self::F32(all) => into.extend_from_slice(&all[values]),
            Self::Table(table) => table.append(example, into),
        }
    }

    /// Appends the bytes of the features of some examples, little-endian.
    pub(super) fn write(
        &self,
        examples: std::ops::Range<usize>,
        width: usize,
        bytes: &mut Vec<u8>,
    ) {
        let values = examples.start * width..examples.end * width;
        match self {
            Self::U8(all) => bytes.extend_from_slice(&all[values]),
            Self::F32(all) => write_floats(&all[values], bytes),
            Self::Table(table) => {
                let mut row = Vec::with_capacity(width);
                for example in examples {
                    row.clear();
                    table.append(example, &mut row);
                    match table.element() {
                        FeatureType::U8 => bytes.extend(row.iter().map(|value| *value as u8)),
                        FeatureType::F32 => write_floats(&row, bytes),
                    }
                }
            }
        }
    }

    /// The largest magnitude of all values; of texts, the largest that one can stand for.
    pub(super) fn largest(&self) -> f32 {
        match self {
            // By value: the largest of references is not found with vector instructions.
            Self::U8(values) => values.iter().fold(0, |most: u8, value| most.max(*value)).into(),
            Self::F32(values) => values.iter().fold(0.0, |most: f32, value| most.max(value.abs())),
            Self::Table(table) => table.largest(),
        }
    }

    /// The place and the value of the first feature that is not as it must be.
    pub(super) fn first_not(
        &self,
        width: usize,
        is_right: impl Fn(f32) -> bool,
    ) -> Option<(usize, f32)> {
        match self {
            Self::U8(_) => None,
            Self::F32(values) => {
                let at = values.iter().position(|value| !is_right(*value))?;
                Some((at, values[at]))
            }
            Self::Table(table) if table.are_all(&is_right) => None,
            Self::Table(_) => {
                let (mut before, mut found) = (0, None);
                self.each_example(width, |row| {
                    let wrong = row.iter().position(|value| !is_right(*value));
                    found = found.or(wrong.map(|at| (before + at, row[at])));
                    before += row.len();
                });
                found
            }
        }
    }

    /// No values of the same type.
    pub(super) fn none(&self) -> Self {
        match self {
            Self::U8(_) => Self::U8(Vec::new()),
            Self::F32(_) => Self::F32(Vec::new()),
            Self::Table(table) => Self::Table(table.rows(&[])),
        }
    }

    /// Some examples, in this order.
    pub(super) fn rows(&self, width: usize, examples: &[usize]) -> Self {
        match self {
            Self::U8(values) => Self::U8(rows(values, width, examples)),
            Self::F32(values) => Self::F32(rows(values, width, examples)),
            Self::Table(table) => Self::Table(table.rows(examples)),
        }
    }

    /// Takes examples out, which are in ascending order. Needs memory for those only.
    pub(super) fn take_rows(&mut self, width: usize, examples: &[usize]) -> Self {
        match self {
            Self::U8(values) => Self::U8(take_rows(values, width, examples)),
            Self::F32(values) => Self::F32(take_rows(values, width, examples)),
            Self::Table(table) => Self::Table(table.take_rows(examples)),
        }
    }
}

impl From<TableFeatures> for Features {
    /// Without texts, they are plain numbers.
    fn from(table: TableFeatures) -> Self {
        if table.has_texts() {
            return Self::Table(table);
        }
        match table.numbers {
            Numbers::Bytes(values) => Self::U8(values),
            Numbers::Floats(values) => Self::F32(values),
        }
    }
}

fn write_floats(values: &[f32], bytes: &mut Vec<u8>) {
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

#[cfg(test)]
mod tests;
