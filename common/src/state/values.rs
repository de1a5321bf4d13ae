//! Slices of numbers: the check that they are finite, and their little-endian bytes.

use std::borrow::Cow;

use rayon::prelude::*;

/// Values that one task processes: enough to outweigh the cost of a task, and a whole segment, as
/// segments are processed in parallel already.
pub(crate) const TASK_VALUES: usize = 1 << 18;

/// Values that are checked and copied together: they are still in the CPU's L1 cache when they
/// are copied.
pub(crate) const BLOCK_VALUES: usize = 1 << 12;

/// The exponent's bits: all set exactly for values that are not finite.
const EXPONENT: u32 = 0x7f80_0000;

/// Whether the value with these bits is not finite.
fn is_not_finite(bits: u32) -> bool {
    bits & EXPONENT == EXPONENT
}

/// Place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
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
fn is_bad(values: &[f32]) -> bool {
    values.iter().fold(false, |bad, value| bad | is_not_finite(value.to_bits()))
}

/// A value from its little-endian bytes.
pub(crate) fn f32_of(word: &[u8; 4]) -> f32 {
    f32::from_le_bytes(*word)
}

/// Place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite_word(words: &[[u8; 4]]) -> Option<usize> {
    let is_bad = |word: &[u8; 4]| is_not_finite(u32::from_le_bytes(*word));
    let is_any_bad = words.iter().fold(false, |bad, word| bad | is_bad(word));
    if is_any_bad { words.iter().position(is_bad) } else { None }
}

/// Place of the first of the values that are not finite.
fn first_of(values: &[f32]) -> usize {
    values.iter().position(|value| !value.is_finite()).expect("one was seen")
}

/// Copies f32 values from their little-endian bytes, with any alignment. If some are not finite,
/// fails with the index of the first.
///
/// `bytes` has four bytes for each value of `out`.
pub(crate) fn copy_f32(bytes: &[u8], out: &mut [f32]) -> Result<(), usize> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(words.len() == out.len() && rest.is_empty(), "four bytes for each value");
    let mut is_any_bad = false;
    for (out, words) in out.chunks_mut(BLOCK_VALUES).zip(words.chunks(BLOCK_VALUES)) {
        for (value, word) in out.iter_mut().zip(words) {
            *value = f32_of(word);
        }
        is_any_bad |= is_bad(out);
    }
    if !is_any_bad { Ok(()) } else { Err(first_of(out)) }
}

/// Copies u64 values from their little-endian bytes, with any alignment.
///
/// `bytes` has eight bytes for each value of `out`.
pub(crate) fn copy_u64(bytes: &[u8], out: &mut [u64]) {
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(words.len() == out.len() && rest.is_empty(), "eight bytes for each value");
    for (value, word) in out.iter_mut().zip(words) {
        *value = u64::from_le_bytes(*word);
    }
}

/// The f32 values of little-endian bytes, with any alignment. If some are not finite, fails with
/// the index and the value of the first. Bytes after the last complete value are ignored.
pub(crate) fn read_f32(bytes: &[u8]) -> Result<Vec<f32>, (usize, f32)> {
    let words = bytes.as_chunks::<4>().0;
    match first_not_finite_word(words) {
        None => Ok(words.iter().map(f32_of).collect()),
        Some(place) => Err((place, f32_of(&words[place]))),
    }
}

/// The u64 values of little-endian bytes, with any alignment. Bytes after the last complete value
/// are ignored.
pub(crate) fn read_u64(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// The little-endian bytes of f32 values: without copying on little-endian
/// hosts.
pub(crate) fn f32_bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// The little-endian bytes of u64 values: without copying on little-endian
/// hosts.
pub(crate) fn u64_bytes(values: &[u64]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}
