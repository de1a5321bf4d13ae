//! State segments: ranges of a state's elements, as they are sent on the wire.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::number::{Number, for_element};
use super::{NetworkState, Segment, StateError, values};

impl NetworkState {
    /// The values of one state segment, little-endian, into `out` (cleared
    /// first).
    pub fn read_segment(&self, segment: &Segment, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.segment_bytes(segment));
    }

    /// Sets the values of one state segment from its little-endian bytes.
    /// Refuses a wrong length and values that are not finite; in the latter case, the
    /// segment's values are set to zero. `index` is the index of the segment, for the error.
    pub fn write_segment(
        &mut self,
        index: usize,
        segment: &Segment,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        let (name, tensor) = self.tensor_at(segment.tensor);
        let length = segment.range.len() * tensor.data.element().bytes();
        let name = name.to_string();
        if bytes.len() != length {
            return Err(StateError::Segment {
                segment: index,
                tensor: name,
                expected: format!("{length} bytes"),
                found: format!("{}", bytes.len()),
            });
        }
        let data = &mut self.tensor_at_mut(segment.tensor).data;
        let outcome = for_element!(data.element(), T => {
            let out = &mut data.slice_mut::<T>()[segment.range.clone()];
            values::copy_values(bytes, out).map_err(|place| clear(out, place))
        });
        outcome.map_err(|bad| not_finite(index, name, segment, bad))
    }

    /// Like [`NetworkState::write_segment`], but `fill` writes the little-endian bytes, straight
    /// into the tensor. If it fails, the segment's values have no meaning.
    ///
    /// # Errors
    /// The error of `fill`, or [`StateError::Segment`] for values that are not finite.
    pub fn fill_segment<E: From<StateError>>(
        &mut self,
        index: usize,
        segment: &Segment,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let data = &mut self.tensor_at_mut(segment.tensor).data;
        let bad = for_element!(data.element(), T => {
            let out = &mut data.slice_mut::<T>()[segment.range.clone()];
            fill(bytemuck::cast_slice_mut(out))?;
            if cfg!(target_endian = "big") {
                out.iter_mut().for_each(|value| *value = value.little_endian());
            }
            values::first_not_finite(out).map(|place| clear(out, place))
        });
        let Some(bad) = bad else { return Ok(()) };
        let name = self.tensor_at(segment.tensor).0.to_owned();
        Err(E::from(not_finite(index, name, segment, bad)))
    }

    /// The values of one state segment, little-endian: without copying on
    /// little-endian hosts.
    pub fn segment_bytes(&self, segment: &Segment) -> Cow<'_, [u8]> {
        let range = segment.range.clone();
        let data = &self.tensor_at(segment.tensor).1.data;
        for_element!(data.element(), T => values::value_bytes(&data.slice::<T>()[range]))
    }
}

/// Sets values to zero of which that at `place` is not finite. Returns the place and the value.
fn clear<T: Number>(values: &mut [T], place: usize) -> (usize, f64) {
    let found = values[place].to_f64();
    values.fill(T::default());
    (place, found)
}

/// The error about a value of a segment that is not finite.
fn not_finite(
    index: usize,
    tensor: String,
    segment: &Segment,
    (place, found): (usize, f64),
) -> StateError {
    StateError::Segment {
        segment: index,
        tensor,
        expected: "finite values".into(),
        found: format!("{found} at element {}", segment.range.start + place),
    }
}

/// The values of one state segment, little-endian, that share the state's
/// memory instead of copying it (on little-endian hosts; others copy). The
/// state lives as long as the bytes do.
pub fn shared_segment(state: &Arc<NetworkState>, segment: &Segment) -> Bytes {
    match state.segment_bytes(segment) {
        Cow::Owned(bytes) => bytes.into(),
        Cow::Borrowed(_) => {
            Bytes::from_owner(Shared { state: Arc::clone(state), segment: segment.clone() })
        }
    }
}

/// Keeps a state alive while bytes refer to a segment of it.
struct Shared {
    state: Arc<NetworkState>,
    segment: Segment,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        match self.state.segment_bytes(&self.segment) {
            Cow::Borrowed(bytes) => bytes,
            Cow::Owned(_) => unreachable!("only made where bytes can be borrowed"),
        }
    }
}
