//! State segments: ranges of a state's elements, as they are sent on the wire.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::{NetworkState, Segment, StateError, TensorData, values};

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
        match &mut self.tensor_at_mut(segment.tensor).data {
            data @ TensorData::U64(_) => {
                values::copy_u64(bytes, &mut data.u64_slice_mut()[segment.range.clone()]);
            }
            data @ TensorData::F32(_) => {
                let out = &mut data.f32_slice_mut()[segment.range.clone()];
                if let Err(place) = values::copy_f32(bytes, out) {
                    let found = out[place];
                    out.fill(0.0);
                    return Err(StateError::Segment {
                        segment: index,
                        tensor: name,
                        expected: "finite values".into(),
                        found: format!("{found} at element {}", segment.range.start + place),
                    });
                }
            }
        }
        Ok(())
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
        let range = segment.range.clone();
        match &mut self.tensor_at_mut(segment.tensor).data {
            data @ TensorData::U64(_) => {
                let out = &mut data.u64_slice_mut()[range];
                fill(bytemuck::cast_slice_mut(out))?;
                out.iter_mut().for_each(|value| *value = u64::from_le(*value));
                Ok(())
            }
            data @ TensorData::F32(_) => {
                let out = &mut data.f32_slice_mut()[range.clone()];
                fill(bytemuck::cast_slice_mut(out))?;
                if cfg!(target_endian = "big") {
                    let swap = |value: &mut f32| {
                        *value = f32::from_bits(u32::from_le(value.to_bits()));
                    };
                    out.iter_mut().for_each(swap);
                }
                let Some(place) = values::first_not_finite(out) else { return Ok(()) };
                let found = out[place];
                out.fill(0.0);
                Err(E::from(StateError::Segment {
                    segment: index,
                    tensor: self.tensor_at(segment.tensor).0.to_owned(),
                    expected: "finite values".into(),
                    found: format!("{found} at element {}", range.start + place),
                }))
            }
        }
    }

    /// The values of one state segment, little-endian: without copying on
    /// little-endian hosts.
    pub fn segment_bytes(&self, segment: &Segment) -> Cow<'_, [u8]> {
        let range = segment.range.clone();
        match &self.tensor_at(segment.tensor).1.data {
            data @ TensorData::F32(_) => values::f32_bytes(&data.f32_slice()[range]),
            data @ TensorData::U64(_) => values::u64_bytes(&data.u64_slice()[range]),
        }
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
