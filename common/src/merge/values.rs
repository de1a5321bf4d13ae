//! [`Values`]: the f32 values of a contribution.

use std::ops::Range;

use bytes::Bytes;

use crate::state::values::{BLOCK_VALUES, f32_of, first_not_finite, first_not_finite_word};

/// The f32 values of a contribution: its own, or as received, little-endian and with any
/// alignment. Received values are combined directly from their frame, without a copy.
#[derive(Clone, Debug)]
pub enum Values {
    /// In their own memory.
    Owned(Vec<f32>),
    /// Four bytes for each value, all finite.
    Wire(Bytes),
}

impl Values {
    /// Wraps received values. If some are not finite, fails with the index and the value of the
    /// first. Bytes after the last complete value are ignored.
    pub(super) fn from_wire(mut bytes: Bytes) -> Result<Self, (usize, f32)> {
        bytes.truncate(bytes.len() / 4 * 4);
        match first_not_finite_word(words(&bytes)) {
            None => Ok(Self::Wire(bytes)),
            Some(place) => Err((place, f32_of(&words(&bytes)[place]))),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(values) => values.len(),
            Self::Wire(bytes) => bytes.len() / 4,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first that is NaN or infinite.
    pub(super) fn first_not_finite(&self) -> Option<f32> {
        match self {
            Self::Owned(values) => first_not_finite(values).map(|place| values[place]),
            // These were checked when they were received.
            Self::Wire(_) => None,
        }
    }

    /// Some of them, at most [`BLOCK_VALUES`]. Received values are copied into `scratch`, unless they
    /// can be read where they are.
    pub(super) fn block<'a>(&'a self, range: Range<usize>, scratch: &'a mut Block) -> &'a [f32] {
        match self {
            Self::Owned(values) => &values[range],
            Self::Wire(bytes) => {
                if cfg!(target_endian = "little")
                    && let Ok(values) = bytemuck::try_cast_slice(bytes)
                {
                    return &values[range];
                }
                let scratch = &mut scratch[..range.len()];
                for (value, word) in scratch.iter_mut().zip(&words(bytes)[range]) {
                    *value = f32_of(word);
                }
                scratch
            }
        }
    }
}

/// A buffer for the values that are processed together.
pub(super) type Block = [f32; BLOCK_VALUES];

/// An empty buffer.
pub(super) const EMPTY_BLOCK: Block = [0.0; BLOCK_VALUES];

/// Consecutive ranges of at most [`BLOCK_VALUES`] that cover `length`.
pub(super) fn blocks(length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(BLOCK_VALUES).map(move |start| start..length.min(start + BLOCK_VALUES))
}

fn words(bytes: &[u8]) -> &[[u8; 4]] {
    bytes.as_chunks().0
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self::Owned(values)
    }
}

/// Compares the values, however they are stored.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        let (mut left, mut right) = (EMPTY_BLOCK, EMPTY_BLOCK);
        self.len() == other.len()
            && blocks(self.len())
                .all(|at| self.block(at.clone(), &mut left) == other.block(at, &mut right))
    }
}
