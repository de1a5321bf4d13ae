//! [`Values`]: the real values of a contribution.

use std::ops::Range;

use bytes::Bytes;

use crate::state::Number;
use crate::state::values::{BLOCK_VALUES, first_not_finite, first_not_finite_word};

/// The values of a contribution: its own, or as received, little-endian and with any
/// alignment. Received values are combined directly from their frame, without a copy.
#[derive(Clone, Debug)]
pub enum Values<T> {
    /// In their own memory.
    Owned(Vec<T>),
    /// The bytes of each value, all finite.
    Wire(Bytes),
}

impl<T: Number> Values<T> {
    /// Wraps received values. If some are not finite, fails with the index and the value of the
    /// first. Bytes after the last complete value are ignored.
    pub(super) fn from_wire(mut bytes: Bytes) -> Result<Self, (usize, T)> {
        bytes.truncate(bytes.len() / size_of::<T>() * size_of::<T>());
        let words = T::words(&bytes);
        match first_not_finite_word::<T>(words) {
            None => Ok(Self::Wire(bytes)),
            Some(place) => Err((place, T::from_word(&words[place]))),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(values) => values.len(),
            Self::Wire(bytes) => bytes.len() / size_of::<T>(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first that is NaN or infinite.
    pub(super) fn first_not_finite(&self) -> Option<T> {
        match self {
            Self::Owned(values) => first_not_finite(values).map(|place| values[place]),
            // These were checked when they were received.
            Self::Wire(_) => None,
        }
    }

    /// Some of them, at most [`BLOCK_VALUES`]. Received values are copied into `scratch`, unless they
    /// can be read where they are.
    pub(super) fn block<'a>(&'a self, range: Range<usize>, scratch: &'a mut Block<T>) -> &'a [T] {
        match self {
            Self::Owned(values) => &values[range],
            Self::Wire(bytes) => {
                if cfg!(target_endian = "little")
                    && let Ok(values) = bytemuck::try_cast_slice(bytes)
                {
                    return &values[range];
                }
                let scratch = &mut scratch[..range.len()];
                for (value, word) in scratch.iter_mut().zip(&T::words(bytes)[range]) {
                    *value = T::from_word(word);
                }
                scratch
            }
        }
    }
}

/// A buffer for the values that are processed together.
pub(super) type Block<T> = [T; BLOCK_VALUES];

/// An empty buffer.
pub(super) fn empty_block<T: Number>() -> Block<T> {
    [T::default(); BLOCK_VALUES]
}

/// Consecutive ranges of at most [`BLOCK_VALUES`] that cover `length`.
pub(super) fn blocks(length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(BLOCK_VALUES).map(move |start| start..length.min(start + BLOCK_VALUES))
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

/// Compares the values, however they are stored.
impl<T: Number> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        let (mut left, mut right) = (empty_block(), empty_block());
        self.len() == other.len()
            && blocks(self.len())
                .all(|at| self.block(at.clone(), &mut left) == other.block(at, &mut right))
    }
}
