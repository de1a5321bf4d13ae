//! Reads merge segments that [`Partial::segment`](super::Partial::segment) wrote, and checks
//! everything in them.

use bytes::Bytes;

use super::{Contribution, MergeError, MergeRule, Real, RealContribution, UnitCounts, UnitMaps};
use super::{Values, Whole, WholeContribution};
use crate::limits;
use crate::state::values::read_values;
use crate::state::{ElementType, Layout, Number, Segment, TensorLayout};

impl Contribution {
    /// Decodes one merge segment that [`Partial::segment`](super::Partial::segment) encoded; `None` for an empty
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
        Ok(Some(match tensor.element {
            ElementType::F32 => Self::F32(payload.reals(weight)?),
            ElementType::F64 => Self::F64(payload.reals(weight)?),
            ElementType::U64 => Self::U64(payload.wholes()?),
            ElementType::I64 => Self::I64(payload.wholes()?),
        }))
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
    fn reals<T: Real>(&self, weight: u64) -> Result<RealContribution<T>, MergeError> {
        Ok(match self.tensor.rule {
            MergeRule::Mean => RealContribution::Mean { examples: weight, values: self.all()? },
            MergeRule::Sum => RealContribution::Sum(self.all()?),
            MergeRule::Max => RealContribution::Max(self.all()?),
            MergeRule::MeanBy => {
                let (units, rest) = self.units()?;
                let (counts, values) = rest.split_at(8 * units.len());
                let counts = self.counts(&units, counts)?;
                let values = self.values("values", values)?;
                RealContribution::MeanBy { counts: UnitCounts { units, counts }, values }
            }
            MergeRule::Fold => {
                let (units, rest) = self.units()?;
                let (a, b) = rest.split_at(size_of::<T>() * units.len());
                let (a, b) = (self.values("factors", a)?, self.values("values", b)?);
                RealContribution::Fold(UnitMaps { units, a, b })
            }
            MergeRule::Keep => return Err(self.nothing()),
        })
    }

    fn wholes<T: Whole>(&self) -> Result<WholeContribution<T>, MergeError> {
        let values = || {
            self.check_length(size_of::<T>() * self.segment.range.len())?;
            self.values("values", self.bytes)
        };
        match self.tensor.rule {
            MergeRule::Sum => Ok(WholeContribution::Sum(values()?)),
            MergeRule::Max => Ok(WholeContribution::Max(values()?)),
            _ => Err(self.nothing()),
        }
    }

    /// The error about bytes where the rule has none.
    fn nothing(&self) -> MergeError {
        let TensorLayout { rule, element, .. } = self.tensor;
        let expected = format!("nothing under the rule `{rule}` on {element}");
        self.error(expected, format!("{} bytes", self.bytes.len()))
    }

    /// A value for each element, without a copy.
    fn all<T: Real>(&self) -> Result<Values<T>, MergeError> {
        self.check_length(size_of::<T>() * self.segment.range.len())?;
        Values::from_wire(self.bytes.clone()).map_err(|found| self.not_finite("values", found))
    }

    fn values<T: Number>(&self, what: &str, bytes: &[u8]) -> Result<Vec<T>, MergeError> {
        read_values(bytes).map_err(|found| self.not_finite(what, found))
    }

    fn not_finite<T: Number>(&self, what: &str, (place, found): (usize, T)) -> MergeError {
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
        let counts: Vec<u64> = self.values("counts", bytes)?;
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
