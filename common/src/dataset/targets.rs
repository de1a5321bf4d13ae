//! What the examples of a dataset have as targets: nothing, a class or numbers.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, invalid};
use super::rows::rows;
use crate::limits;

/// What each example has as its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetType {
    /// Nothing, for networks that learn without.
    None,
    /// One of so many classes.
    Classes(u32),
    /// So many numbers.
    Vector(u32),
}

impl TargetType {
    /// Bytes of a target in a chunk.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Classes(_) => 4,
            Self::Vector(width) => 4 * u64::from(width),
        }
    }

    /// Scores that a model gives for an example: for each class one, or the numbers themselves.
    pub fn outputs(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Classes(count) => count,
            Self::Vector(width) => width,
        }
    }

    /// The byte that stands for the kind in a digest, and the number of classes or numbers.
    pub(super) fn code(self) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Classes(count) => (1, count),
            Self::Vector(width) => (2, width),
        }
    }

    /// Checks the number of classes or of numbers.
    pub(super) fn check(self) -> Result<(), DatasetError> {
        let (what, most, found) = match self {
            Self::None => return Ok(()),
            Self::Classes(count) => ("classes", limits::CLASSES, count),
            Self::Vector(width) => ("numbers in a target", limits::TARGET_NUMBERS, width),
        };
        if found < 1 || found > most {
            return Err(invalid(format!("{what} from 1 to {most}"), found));
        }
        Ok(())
    }

    /// The type of two splits together: the larger number of classes. `None` if they differ.
    pub fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Classes(one), Self::Classes(two)) => Some(Self::Classes(one.max(two))),
            _ => (self == other).then_some(self),
        }
    }
}

impl fmt::Display for TargetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no targets"),
            Self::Classes(1) => f.write_str("one class"),
            Self::Classes(count) => write!(f, "{count} classes"),
            Self::Vector(1) => f.write_str("a number"),
            Self::Vector(width) => write!(f, "vectors of {width} numbers"),
        }
    }
}

/// The targets of some examples.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetValues {
    /// There are none.
    None,
    /// A class for each.
    Classes {
        /// The class of each example.
        labels: Vec<u32>,
        /// The number of classes.
        count: u32,
    },
    /// Numbers for each.
    Vectors {
        /// `[examples, width]`, finite.
        values: Vec<f32>,
        /// How many each example has.
        width: u32,
    },
}

impl TargetValues {
    /// Their type.
    pub fn target_type(&self) -> TargetType {
        match self {
            Self::None => TargetType::None,
            Self::Classes { count, .. } => TargetType::Classes(*count),
            Self::Vectors { width, .. } => TargetType::Vector(*width),
        }
    }

    /// Checks that they are those of so many examples.
    pub(super) fn check(&self, examples: u64) -> Result<(), DatasetError> {
        self.target_type().check()?;
        match self {
            Self::None => {}
            Self::Classes { labels, count } => {
                if labels.len() as u64 != examples {
                    return Err(invalid(format!("{examples} labels"), labels.len()));
                }
                if let Some(at) = labels.iter().position(|label| label >= count) {
                    let found = format!("{} of example {at}", labels[at]);
                    return Err(invalid(format!("labels below {count}"), found));
                }
            }
            Self::Vectors { values, width } => {
                let expected = examples * u64::from(*width);
                if values.len() as u64 != expected {
                    let expected = format!("{expected} target values ({examples} of {width})");
                    return Err(invalid(expected, values.len()));
                }
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let found = format!("{} of example {}", values[at], at / *width as usize);
                    return Err(invalid("finite targets", found));
                }
            }
        }
        Ok(())
    }

    /// Those of some examples, in this order.
    pub(super) fn rows(&self, examples: &[usize]) -> Self {
        match self {
            Self::None => Self::None,
            Self::Classes { labels, count } => {
                Self::Classes { labels: rows(labels, 1, examples), count: *count }
            }
            Self::Vectors { values, width } => {
                Self::Vectors { values: rows(values, *width as usize, examples), width: *width }
            }
        }
    }

    /// Appends the bytes of some examples' targets.
    pub(super) fn write(&self, examples: Range<usize>, bytes: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Classes { labels, .. } => {
                labels[examples].iter().for_each(|label| bytes.extend(label.to_le_bytes()));
            }
            Self::Vectors { values, width } => {
                let width = *width as usize;
                let values = &values[examples.start * width..examples.end * width];
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
        }
    }

    /// Appends the target of an example, which must be there.
    pub(super) fn read(&self, example: usize, into: &mut ExampleBuffer) {
        match self {
            Self::None => {}
            Self::Classes { labels, .. } => into.classes.push(labels[example]),
            Self::Vectors { values, width } => {
                let width = *width as usize;
                into.vectors.extend_from_slice(&values[example * width..(example + 1) * width]);
            }
        }
    }
}

/// Examples that were gathered, one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleBuffer {
    /// Their features, scaled.
    pub features: Vec<f32>,
    /// Their classes; empty if they have none.
    pub classes: Vec<u32>,
    /// The numbers of their targets; empty if they have none.
    pub vectors: Vec<f32>,
}

impl ExampleBuffer {
    /// Removes all examples, and keeps the memory.
    pub fn clear(&mut self) {
        self.features.clear();
        self.classes.clear();
        self.vectors.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_be_those_of_the_examples() {
        let classes =
            |labels: &[u32], count| TargetValues::Classes { labels: labels.into(), count };
        let vectors =
            |values: &[f32], width| TargetValues::Vectors { values: values.into(), width };
        for (targets, expected) in [
            (classes(&[0], 2), "2 labels, found 1"),
            (classes(&[0, 2], 2), "labels below 2, found 2 of example 1"),
            (classes(&[0, 0], 0), "classes from 1 to 65536, found 0"),
            (vectors(&[0.5], 1), "2 target values (2 of 1), found 1"),
            (vectors(&[0.5; 4], 0), "numbers in a target from 1 to 65536, found 0"),
            (vectors(&[0.5, 0.5, 0.5, f32::NAN], 2), "finite targets, found NaN of example 1"),
        ] {
            let error = targets.check(2).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        for targets in [TargetValues::None, classes(&[1, 0], 2), vectors(&[0.5; 4], 2)] {
            targets.check(2).unwrap();
        }
    }

    #[test]
    fn splits_have_targets_of_one_kind() {
        use TargetType::{Classes, None as Nothing, Vector};
        assert_eq!(Classes(2).with(Classes(5)), Some(Classes(5)));
        assert_eq!(Vector(2).with(Vector(2)), Some(Vector(2)));
        assert_eq!(Nothing.with(Nothing), Some(Nothing));
        assert_eq!((Vector(2).with(Vector(3)), Nothing.with(Classes(1))), (None, None));
    }
}
