//! Slices of numbers: the check that they are finite, and their little-endian bytes.

use std::borrow::Cow;

use rayon::prelude::*;

use super::number::Number;

/// Values that one task processes: enough to outweigh the cost of a task, and a whole segment, as
/// segments are processed in parallel already.
pub(crate) const TASK_VALUES: usize = 1 << 18;

/// Values that are checked and copied together: they are still in the CPU's L1 cache when they
/// are copied.
pub(crate) const BLOCK_VALUES: usize = 1 << 12;

/// Place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite<T: Number>(values: &[T]) -> Option<usize> {
    // Two passes: the first, over all values, has no branches and so runs at the speed of
    // memory.
    let is_any_bad = if values.len() <= TASK_VALUES {
        is_bad(values)
    } else {
        values.par_chunks(TASK_VALUES).any(is_bad)
    };
    is_any_bad.then(|| first_of(values))
}

/// Whether any value is not finite.
fn is_bad<T: Number>(values: &[T]) -> bool {
    values.iter().fold(false, |bad, value| bad | value.is_not_finite())
}

/// Place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite_word<T: Number>(words: &[T::Word]) -> Option<usize> {
    let is_bad = |word: &T::Word| T::from_word(word).is_not_finite();
    let is_any_bad = words.iter().fold(false, |bad, word| bad | is_bad(word));
    if is_any_bad { words.iter().position(is_bad) } else { None }
}

/// Place of the first of the values that are not finite.
fn first_of<T: Number>(values: &[T]) -> usize {
    values.iter().position(|value| value.is_not_finite()).expect("one was seen")
}

/// Copies values from their little-endian bytes, with any alignment. If some are not finite,
/// fails with the index of the first.
///
/// `bytes` has as many bytes as the values of `out`.
pub(crate) fn copy_values<T: Number>(bytes: &[u8], out: &mut [T]) -> Result<(), usize> {
    assert!(bytes.len() == size_of_val(out), "the bytes of each value");
    let words = T::words(bytes);
    let mut is_any_bad = false;
    for (out, words) in out.chunks_mut(BLOCK_VALUES).zip(words.chunks(BLOCK_VALUES)) {
        for (value, word) in out.iter_mut().zip(words) {
            *value = T::from_word(word);
        }
        is_any_bad |= is_bad(out);
    }
    if !is_any_bad { Ok(()) } else { Err(first_of(out)) }
}

/// The values of little-endian bytes, with any alignment. If some are not finite, fails with
/// the index and the value of the first. Bytes after the last complete value are ignored.
pub(crate) fn read_values<T: Number>(bytes: &[u8]) -> Result<Vec<T>, (usize, T)> {
    let words = T::words(bytes);
    match first_not_finite_word::<T>(words) {
        None => Ok(words.iter().map(T::from_word).collect()),
        Some(place) => Err((place, T::from_word(&words[place]))),
    }
}

/// The little-endian bytes of values: without copying on little-endian
/// hosts.
pub(crate) fn value_bytes<T: Number>(values: &[T]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytemuck::cast_slice(values));
    }
    let values: Vec<T> = values.iter().map(|value| value.little_endian()).collect();
    Cow::Owned(bytemuck::cast_slice(&values).to_vec())
}
