//! Writes merge segments as they are on the wire, and their digests. [`Contribution::decode`] reads
//! them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use twox_hash::XxHash3_128;

use super::{Contribution, Partial, Real, RealContribution, Values, Whole, WholeContribution};
use crate::digest::Digest;
use crate::id::{Block, StepId};
use crate::state::values::value_bytes;
use crate::state::{Layout, Segment};

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
    /// | `mean`, `sum` or `max` | one T per element |
    /// | `mean_by` | n: u32, units: n × u32, counts: n × u64, values: n × unit length × T |
    /// | `fold` | n: u32, units: n × u32, a: n × T, b: n × unit length × T |
    ///
    /// T is the type of the tensor's elements. All numbers are little-endian. The
    /// elements are those of the segment's range, in row-major order. Units are
    /// numbered in the whole tensor, ascend, and lie in the segment's range; n is
    /// at least 1 (a segment without touched units is empty); a unit's values follow
    /// one another, then come those of the next unit. Counts are at least 1. The number
    /// of examples of a `mean` is not encoded: it is the partial's weight.
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
        match self.tensors[segment.tensor].as_ref()? {
            Contribution::F32(contribution) => contribution.units(unit_len, &segment.range),
            Contribution::F64(contribution) => contribution.units(unit_len, &segment.range),
            Contribution::U64(_) | Contribution::I64(_) => None,
        }
    }

    /// The segment's values, if its encoding consists only of values.
    fn value_bytes(&self, segment: &Segment) -> Option<Cow<'_, [u8]>> {
        let range = segment.range.clone();
        match self.tensors[segment.tensor].as_ref()? {
            Contribution::F32(contribution) => contribution.value_bytes(range),
            Contribution::F64(contribution) => contribution.value_bytes(range),
            Contribution::U64(contribution) => Some(value_bytes(&contribution.values()[range])),
            Contribution::I64(contribution) => Some(value_bytes(&contribution.values()[range])),
        }
    }

    /// Bytes of all segments.
    pub fn encoded_bytes(&self, layout: &Layout) -> u64 {
        let bytes = |segment: &Segment| {
            let tensor = &layout.tensors[segment.tensor];
            let touched = match &self.tensors[segment.tensor] {
                None => return 0,
                Some(Contribution::F32(contribution)) => contribution.touched(),
                Some(Contribution::F64(contribution)) => contribution.touched(),
                Some(Contribution::U64(_) | Contribution::I64(_)) => None,
            };
            match touched.map(|units| places_in(units, &segment.range).len()) {
                None => segment.range.len() * tensor.element.bytes(),
                Some(0) => 0,
                Some(touched) => 4 + touched * tensor.encoded_unit_bytes(),
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

impl<T: Real> RealContribution<T> {
    /// The touched units, under a rule by unit.
    fn touched(&self) -> Option<&[u32]> {
        match self {
            Self::MeanBy { counts, .. } => Some(&counts.units),
            Self::Fold(maps) => Some(&maps.units),
            Self::Mean { .. } | Self::Sum(_) | Self::Max(_) => None,
        }
    }

    /// The touched units in the range, if the rule is by unit and any are touched.
    fn units(&self, unit_len: usize, range: &Range<usize>) -> Option<Units<'_>> {
        let units = self.touched()?;
        let places = places_in(units, range);
        if places.is_empty() {
            return None;
        }
        let (factors, values) = match self {
            Self::MeanBy { counts, values } => {
                (value_bytes(&counts.counts[places.clone()]), values)
            }
            Self::Fold(maps) => (value_bytes(&maps.a[places.clone()]), &maps.b),
            Self::Mean { .. } | Self::Sum(_) | Self::Max(_) => return None,
        };
        Some(Units {
            units: &units[places.clone()],
            factors,
            values: value_bytes(&values[places.start * unit_len..places.end * unit_len]),
        })
    }

    /// The values in the range, unless the rule is by unit.
    fn value_bytes(&self, range: Range<usize>) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Mean { values, .. } | Self::Sum(values) | Self::Max(values) => {
                Some(match values {
                    Values::Owned(values) => value_bytes(&values[range]),
                    Values::Wire(bytes) => {
                        let size = size_of::<T>();
                        Cow::Borrowed(&bytes[size * range.start..size * range.end])
                    }
                })
            }
            Self::MeanBy { .. } | Self::Fold(_) => None,
        }
    }
}

impl<T: Whole> WholeContribution<T> {
    fn values(&self) -> &[T] {
        match self {
            Self::Sum(values) | Self::Max(values) => values,
        }
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
