//! The encoding of merge segments on the wire: [`Partial::segment`] writes it,
//! [`Contribution::decode`] reads it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use twox_hash::XxHash3_128;

use super::{Contribution, MergeError, MergeRule, Partial, UnitCounts, UnitMaps, Values};
use crate::digest::Digest;
use crate::id::{Block, StepId};
use crate::limits;
use crate::state::values::{f32_bytes, read_f32, read_u64, u64_bytes};
use crate::state::{ElementType, Layout, Segment, TensorLayout};

/// Prefix of the hashed bytes of a partial.
const PARTIAL: &[u8] = b"samebit-partial-2\n";

/// Prefix of the hashed bytes of a shard.
const SHARD: &[u8] = b"samebit-shard-1\n";

/// Prefix of the hashed bytes of a block.
const BLOCK: &[u8] = b"samebit-block-1\n";

impl Partial {
    /// The encoding of one merge segment on the wire:
    ///
    /// | contribution | payload |
    /// |---|---|
    /// | none | empty |
    /// | `mean`, `sum` or `max` of f32 | one f32 per element |
    /// | `sum` or `max` of u64 | one u64 per element |
    /// | `mean_by` | n: u32, units: n × u32, counts: n × u64, values: n × unit length × f32 |
    /// | `fold` | n: u32, units: n × u32, a: n × f32, b: n × unit length × f32 |
    ///
    /// All numbers are little-endian. The elements are those of the segment's
    /// range, in row-major order. Units are numbered in the whole tensor,
    /// ascend, and lie in the segment's range; n is at least 1 (a segment
    /// without touched units is empty); a unit's values follow one another,
    /// then come those of the next unit. Counts are at least 1. The number of examples of a
    /// `mean` is not encoded: it is the partial's weight.
    pub fn segment(&self, layout: &Layout, segment: &Segment) -> Vec<u8> {
        self.segment_bytes(layout, segment).into_owned()
    }

    /// One merge segment as [`Partial::segment`] encodes it. If it consists only of values
    /// (and on little-endian hosts), it shares the partial's memory, and keeps the partial
    /// alive.
    pub fn shared_segment(self: &Arc<Self>, layout: &Layout, segment: &Segment) -> Bytes {
        match self.segment_bytes(layout, segment) {
            Cow::Owned(bytes) => bytes.into(),
            Cow::Borrowed(_) => {
                Bytes::from_owner(Shared { partial: Arc::clone(self), segment: segment.clone() })
            }
        }
    }

    fn segment_bytes(&self, layout: &Layout, segment: &Segment) -> Cow<'_, [u8]> {
        if let Some(bytes) = self.value_bytes(segment) {
            return bytes;
        }
        Cow::Owned(self.units(layout, segment).map_or_else(Vec::new, |units| units.encode()))
    }

    /// The segment's units, if it is of a rule by unit and any are touched.
    fn units(&self, layout: &Layout, segment: &Segment) -> Option<Units<'_>> {
        let unit_len = layout.tensors[segment.tensor].unit_len();
        let (units, values) = match self.tensors[segment.tensor].as_ref()? {
            Contribution::MeanBy { counts, values } => (&counts.units, values),
            Contribution::Fold(maps) => (&maps.units, &maps.b),
            _ => return None,
        };
        let places = places_in(units, &segment.range);
        if places.is_empty() {
            return None;
        }
        let factors = match self.tensors[segment.tensor].as_ref()? {
            Contribution::MeanBy { counts, .. } => u64_bytes(&counts.counts[places.clone()]),
            Contribution::Fold(maps) => f32_bytes(&maps.a[places.clone()]),
            _ => return None,
        };
        Some(Units {
            units: &units[places.clone()],
            factors,
            values: f32_bytes(&values[places.start * unit_len..places.end * unit_len]),
        })
    }

    /// The segment's values, if its encoding consists only of values.
    fn value_bytes(&self, segment: &Segment) -> Option<Cow<'_, [u8]>> {
        let range = segment.range.clone();
        match self.tensors[segment.tensor].as_ref()? {
            Contribution::Mean { values, .. }
            | Contribution::Sum(values)
            | Contribution::Max(values) => Some(match values {
                Values::Owned(values) => f32_bytes(&values[range]),
                Values::Wire(bytes) => Cow::Borrowed(&bytes[4 * range.start..4 * range.end]),
            }),
            Contribution::Count(values) | Contribution::MaxCount(values) => {
                Some(u64_bytes(&values[range]))
            }
            Contribution::MeanBy { .. } | Contribution::Fold(_) => None,
        }
    }

    /// Bytes of all segments.
    pub fn encoded_bytes(&self, layout: &Layout) -> u64 {
        let bytes = |segment: &Segment| {
            let tensor = &layout.tensors[segment.tensor];
            let units = match &self.tensors[segment.tensor] {
                None => return 0,
                Some(Contribution::MeanBy { counts, .. }) => &counts.units,
                Some(Contribution::Fold(maps)) => &maps.units,
                Some(_) => return segment.range.len() * tensor.element.bytes(),
            };
            match places_in(units, &segment.range).len() {
                0 => 0,
                touched => 4 + touched * tensor.encoded_unit_bytes(),
            }
        };
        layout.merge_segments().iter().map(|segment| bytes(segment) as u64).sum()
    }

    /// [`segment_hash`] of each encoded merge segment.
    pub fn segment_hashes(&self, layout: &Layout) -> Vec<u128> {
        let segments = layout.merge_segments();
        segments.iter().map(|segment| self.hash_segment(layout, segment)).collect()
    }

    /// [`segment_hash`] of one segment, without a copy of its values.
    pub(super) fn hash_segment(&self, layout: &Layout, segment: &Segment) -> u128 {
        match (self.value_bytes(segment), self.units(layout, segment)) {
            (Some(values), _) => segment_hash(&values),
            (None, Some(units)) => units.hash(),
            // An absent contribution has an empty encoding.
            (None, None) => segment_hash(&[]),
        }
    }

    /// [`Partial::digest_of`] its weight and segments.
    pub fn digest(&self, layout: &Layout) -> Digest {
        Self::digest_of(self.weight, self.segment_hashes(layout))
    }

    /// The digest of a shard: SHA-256 over the 16 bytes `samebit-shard-1\n`,
    /// the digest of its contribution, and that of its results. A shard without examples has
    /// an empty contribution and empty results.
    pub fn shard_digest(shard: Option<&Self>, layout: &Layout) -> Digest {
        match shard {
            Some(shard) => shard.shard_digest_with(shard.segment_hashes(layout)),
            None => {
                let nothing = vec![None; layout.tensors.len()];
                let nothing = Self { tensors: nothing, ..Self::default() };
                nothing.shard_digest_with(nothing.segment_hashes(layout))
            }
        }
    }

    /// [`Partial::shard_digest`] of this shard, whose segments have these hashes.
    pub fn shard_digest_with(&self, segments: impl IntoIterator<Item = u128>) -> Digest {
        Self::shard_digest_of(Self::digest_of(self.weight, segments), self.results.digest())
    }

    /// [`Partial::shard_digest`] of a shard whose partial and results have these
    /// digests.
    pub fn shard_digest_of(partial: Digest, results: Digest) -> Digest {
        Digest::of_digests(SHARD, &[partial, results])
    }

    /// The digest of a finished block: SHA-256 over the 16 bytes
    /// `samebit-block-1\n`; run and index of its step, u64, level, u8, and index,
    /// u32, of the block, little-endian; the digest of its partial, that of its
    /// results, and those of its shards, in order of replicas.
    pub fn block_digest(
        (step, block): (StepId, Block),
        partial: Digest,
        results: Digest,
        shards: impl IntoIterator<Item = Digest>,
    ) -> Digest {
        let mut head = BLOCK.to_vec();
        head.extend([step.run.0, step.index].into_iter().flat_map(u64::to_le_bytes));
        head.push(block.level);
        head.extend(block.index.to_le_bytes());
        let leaves: Vec<Digest> = [partial, results].into_iter().chain(shards).collect();
        Digest::of_digests(&head, &leaves)
    }

    /// The digest of a partial: SHA-256 over the 18 bytes
    /// `samebit-partial-2\n`, the weight as u64, little-endian, and the
    /// XXH3-128 (seed 0) of each of its encoded merge segments, in order, as
    /// 16 bytes, big-endian.
    ///
    /// It finds workers of one cluster that compute differently, and bytes that change in
    /// transit. It is computed for every partial, and SHA-256 over the whole partial would
    /// take longer than sending it.
    pub fn digest_of(weight: u64, segments: impl IntoIterator<Item = u128>) -> Digest {
        let mut bytes = [PARTIAL, &weight.to_le_bytes()].concat();
        bytes.extend(segments.into_iter().flat_map(u128::to_be_bytes));
        Digest::of(&bytes)
    }
}

/// The hash of a merge segment in the digest of its partial: XXH3-128, seed 0, of the segment's
/// payload.
pub fn segment_hash(payload: &[u8]) -> u128 {
    XxHash3_128::oneshot(payload)
}

/// Keeps a partial alive while bytes refer to the values of a segment of it.
struct Shared {
    partial: Arc<Partial>,
    segment: Segment,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        match self.partial.value_bytes(&self.segment) {
            Some(Cow::Borrowed(bytes)) => bytes,
            _ => unreachable!("only made where bytes can be borrowed"),
        }
    }
}

/// Indexes of the units in the range.
fn places_in(units: &[u32], range: &Range<usize>) -> Range<usize> {
    let place = |bound: usize| units.partition_point(|unit| (*unit as usize) < bound);
    place(range.start)..place(range.end)
}

/// Touched units of a segment, at least one, in the parts of their encoding.
struct Units<'a> {
    units: &'a [u32],
    /// A count or a factor for each of them.
    factors: Cow<'a, [u8]>,
    values: Cow<'a, [u8]>,
}

impl Units<'_> {
    /// All but the values.
    fn head(&self, capacity: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(capacity);
        head.extend((self.units.len() as u32).to_le_bytes());
        head.extend(self.units.iter().flat_map(|unit| unit.to_le_bytes()));
        head.extend_from_slice(&self.factors);
        head
    }

    fn head_bytes(&self) -> usize {
        4 + 4 * self.units.len() + self.factors.len()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.head(self.head_bytes() + self.values.len());
        out.extend_from_slice(&self.values);
        out
    }

    /// [`segment_hash`] of the encoding.
    fn hash(&self) -> u128 {
        let mut hasher = XxHash3_128::new();
        hasher.write(&self.head(self.head_bytes()));
        hasher.write(&self.values);
        hasher.finish_128()
    }
}

impl Contribution {
    /// Decodes one merge segment that [`Partial::segment`] encoded; `None` for an empty
    /// payload. `index` is the segment's index, for errors; `weight` the partial's weight.
    /// Everything is checked: weight, length, order and range of units, counts, finiteness.
    pub fn decode(
        layout: &Layout,
        index: usize,
        segment: &Segment,
        weight: u64,
        payload: &Bytes,
    ) -> Result<Option<Self>, MergeError> {
        let tensor = &layout.tensors[segment.tensor];
        let payload = Payload { tensor, index, segment, bytes: payload };
        if payload.bytes.is_empty() {
            return Ok(None);
        }
        if !(1..=limits::EXAMPLES).contains(&weight) {
            let expected = format!("a weight from 1 to {} examples", limits::EXAMPLES);
            return Err(payload.error(expected, format!("{weight}")));
        }
        let contribution = match (tensor.rule, tensor.element) {
            (MergeRule::Mean, ElementType::F32) => {
                Self::Mean { examples: weight, values: payload.all_f32()? }
            }
            (MergeRule::Sum, ElementType::F32) => Self::Sum(payload.all_f32()?),
            (MergeRule::Max, ElementType::F32) => Self::Max(payload.all_f32()?),
            (MergeRule::Sum, ElementType::U64) => Self::Count(payload.all_u64()?),
            (MergeRule::Max, ElementType::U64) => Self::MaxCount(payload.all_u64()?),
            (MergeRule::MeanBy, ElementType::F32) => {
                let (units, rest) = payload.units()?;
                let (counts, values) = rest.split_at(8 * units.len());
                let counts = payload.counts(&units, counts)?;
                let values = payload.f32("values", values)?;
                Self::MeanBy { counts: UnitCounts { units, counts }, values }
            }
            (MergeRule::Fold, ElementType::F32) => {
                let (units, rest) = payload.units()?;
                let (a, b) = rest.split_at(4 * units.len());
                let (a, b) = (payload.f32("factors", a)?, payload.f32("values", b)?);
                Self::Fold(UnitMaps { units, a, b })
            }
            (rule, element) => {
                let expected = format!("nothing under the rule `{rule}` on {element}");
                return Err(payload.error(expected, format!("{} bytes", payload.bytes.len())));
            }
        };
        Ok(Some(contribution))
    }
}

/// A segment's bytes, and its place, for errors.
struct Payload<'a> {
    tensor: &'a TensorLayout,
    index: usize,
    segment: &'a Segment,
    bytes: &'a Bytes,
}

impl<'a> Payload<'a> {
    fn all_f32(&self) -> Result<Values, MergeError> {
        self.check_length(4 * self.segment.range.len())?;
        Values::from_wire(self.bytes.clone()).map_err(|found| self.not_finite("values", found))
    }

    fn all_u64(&self) -> Result<Vec<u64>, MergeError> {
        self.check_length(8 * self.segment.range.len())?;
        Ok(read_u64(self.bytes))
    }

    fn f32(&self, what: &str, bytes: &[u8]) -> Result<Vec<f32>, MergeError> {
        read_f32(bytes).map_err(|found| self.not_finite(what, found))
    }

    fn not_finite(&self, what: &str, (place, found): (usize, f32)) -> MergeError {
        self.error(format!("finite {what}"), format!("{found} at place {place}"))
    }

    /// The units, and the bytes after them, whose length has been checked.
    fn units(&self) -> Result<(Vec<u32>, &'a [u8]), MergeError> {
        let Some((count, rest)) = self.bytes.split_first_chunk::<4>() else {
            return Err(self.error("at least 4 bytes".into(), format!("{}", self.bytes.len())));
        };
        let (count, longest) = (u32::from_le_bytes(*count) as usize, self.segment.range.len());
        if !(1..=longest).contains(&count) {
            return Err(self.error(format!("1 to {longest} units"), format!("{count}")));
        }
        self.check_length(4 + count * self.tensor.encoded_unit_bytes())?;
        let (units, rest) = rest.split_at(4 * count);
        let units = units.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit));
        let units: Vec<u32> = units.collect();
        if let Some(unit) =
            units.iter().find(|unit| !self.segment.range.contains(&(**unit as usize)))
        {
            return Err(self.error(format!("units in {:?}", self.segment.range), format!("{unit}")));
        }
        if let Some(pair) = units.windows(2).find(|pair| pair[0] >= pair[1]) {
            let found = format!("{} before {}", pair[0], pair[1]);
            return Err(self.error("units in ascending order".into(), found));
        }
        Ok((units, rest))
    }

    fn counts(&self, units: &[u32], bytes: &[u8]) -> Result<Vec<u64>, MergeError> {
        let counts = read_u64(bytes);
        match counts.iter().position(|count| *count == 0) {
            None => Ok(counts),
            Some(place) => {
                let found = format!("0 of unit {}", units[place]);
                Err(self.error("counts above 0".into(), found))
            }
        }
    }

    fn check_length(&self, expected: usize) -> Result<(), MergeError> {
        if self.bytes.len() == expected {
            return Ok(());
        }
        Err(self.error(format!("{expected} bytes"), format!("{}", self.bytes.len())))
    }

    fn error(&self, expected: String, found: String) -> MergeError {
        MergeError::Payload {
            segment: self.index,
            tensor: self.tensor.name.clone(),
            expected,
            found,
        }
    }
}
