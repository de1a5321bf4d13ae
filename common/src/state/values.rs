//! Runs of numbers: finiteness, and their little-endian bytes.

use std::borrow::Cow;

use rayon::prelude::*;

/// Values that one task looks at: enough to outweigh handing it out, and all
/// of a segment, as segments are worked on side by side already.
pub(crate) const TASK_VALUES: usize = 1 << 18;

/// The exponent's bits: all set in what is not finite, and only there.
const EXPONENT: u32 = 0x7f80_0000;

/// Whether a value of these bits is not finite.
fn is_not_finite(bits: u32) -> bool {
    bits & EXPONENT == EXPONENT
}

/// Place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Two passes: the first, over all values, has no branch inside and so
    // runs at the speed of memory.
    let is_bad =
        |chunk: &[f32]| chunk.iter().fold(false, |bad, value| bad | is_not_finite(value.to_bits()));
    let is_any_bad = if values.len() <= TASK_VALUES {
        is_bad(values)
    } else {
        values.par_chunks(TASK_VALUES).any(is_bad)
    };
    if is_any_bad { values.iter().position(|value| !value.is_finite()) } else { None }
}

/// Copies f32 values from their little-endian bytes, in whatever alignment.
/// Fails, with the place of the first, where some are not finite.
///
/// `bytes` has four bytes for each value of `out`.
pub(crate) fn copy_f32(bytes: &[u8], out: &mut [f32]) -> Result<(), usize> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(words.len() == out.len() && rest.is_empty(), "four bytes for each value");
    let mut is_bad = false;
    for (value, word) in out.iter_mut().zip(words) {
        let bits = u32::from_le_bytes(*word);
        is_bad |= is_not_finite(bits);
        *value = f32::from_bits(bits);
    }
    if !is_bad {
        return Ok(());
    }
    Err(out.iter().position(|value| !value.is_finite()).expect("one was seen"))
}

/// Copies u64 values from their little-endian bytes, in whatever alignment.
///
/// `bytes` has eight bytes for each value of `out`.
pub(crate) fn copy_u64(bytes: &[u8], out: &mut [u64]) {
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(words.len() == out.len() && rest.is_empty(), "eight bytes for each value");
    for (value, word) in out.iter_mut().zip(words) {
        *value = u64::from_le_bytes(*word);
    }
}

/// The f32 values of little-endian bytes, in whatever alignment. Bytes after
/// the last whole value are left out.
pub(crate) fn read_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// The u64 values of little-endian bytes, in whatever alignment. Bytes after
/// the last whole value are left out.
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
