//! Contributions of a replica by unit: `mean_by` and `fold`.

use super::Source;
use crate::merge::{MergeError, Real, RealContribution, UnitCounts, UnitMaps};

/// One tensor before and after a replica's batches, whose rule works unit by unit.
pub(super) struct Units<'a, T> {
    source: &'a Source<'a>,
    base: &'a [T],
    /// If the model gives maps, without meaning.
    state: &'a [T],
}

impl<'a, T: Real> Units<'a, T> {
    pub(super) fn of(source: &'a Source<'a>, state: &'a [T]) -> Self {
        Self { source, base: source.base.data.slice(), state }
    }

    /// With the counts that the model gives.
    pub(super) fn mean_by(
        &self,
        counts: Option<UnitCounts>,
    ) -> Result<RealContribution<T>, MergeError> {
        let counts = match counts {
            Some(counts) => {
                self.check_units(&counts.units)?;
                self.check_length("counts", counts.units.len(), counts.counts.len())?;
                if let Some(place) = counts.counts.iter().position(|count| *count == 0) {
                    let found = format!("0 of unit {}", counts.units[place]);
                    return Err(self.source.error("counts above 0".into(), found));
                }
                counts
            }
            None => {
                let units = self.changed_units();
                UnitCounts { counts: vec![self.source.weight; units.len()], units }
            }
        };
        let values = gather(self.state, self.units(), &counts.units);
        self.check_finite_units(&counts.units, &values)?;
        Ok(RealContribution::MeanBy { counts, values })
    }

    /// With the maps that the model gives.
    pub(super) fn fold(
        &self,
        maps: Option<UnitMaps<T>>,
    ) -> Result<RealContribution<T>, MergeError> {
        let maps = match maps {
            Some(maps) => {
                self.check_units(&maps.units)?;
                self.check_length("factors", maps.units.len(), maps.a.len())?;
                self.check_length("values", maps.units.len() * self.unit_len(), maps.b.len())?;
                maps
            }
            None => {
                let units = self.changed_units();
                let mut b = gather(self.state, self.units(), &units);
                let base = gather(self.base, self.units(), &units);
                for (x, base) in b.iter_mut().zip(&base) {
                    *x = *x - *base;
                }
                UnitMaps { a: vec![T::ONE; units.len()], b, units }
            }
        };
        self.source.check_finite(&maps.a, |place| maps.units[place] as usize)?;
        self.check_finite_units(&maps.units, &maps.b)?;
        Ok(RealContribution::Fold(maps))
    }

    /// Units with at least one value whose bits differ from the base.
    fn changed_units(&self) -> Vec<u32> {
        let units = self.units();
        let mut difference = vec![T::Bits::default(); units];
        let rows = self.state.chunks_exact(units);
        for (row, base) in rows.zip(self.base.chunks_exact(units)) {
            for ((bits, x), base) in difference.iter_mut().zip(row).zip(base) {
                *bits = *bits | (x.bits() ^ base.bits());
            }
        }
        let is_changed = |(_, bits): &(u32, T::Bits)| *bits != T::Bits::default();
        (0..).zip(difference).filter(is_changed).map(|(unit, _)| unit).collect()
    }

    fn units(&self) -> usize {
        self.source.base.data.shape().last().copied().expect("a tensor has an axis")
    }

    fn unit_len(&self) -> usize {
        self.base.len() / self.units()
    }

    fn check_units(&self, units: &[u32]) -> Result<(), MergeError> {
        if let Some(pair) = units.windows(2).find(|pair| pair[0] >= pair[1]) {
            let found = format!("{} before {}", pair[0], pair[1]);
            return Err(self.source.error("units in ascending order".into(), found));
        }
        match units.last() {
            Some(last) if *last as usize >= self.units() => {
                let expected = format!("units below {}", self.units());
                Err(self.source.error(expected, format!("{last}")))
            }
            _ => Ok(()),
        }
    }

    fn check_length(&self, what: &str, expected: usize, found: usize) -> Result<(), MergeError> {
        if expected == found {
            return Ok(());
        }
        Err(self.source.error(format!("{expected} {what} for its units"), format!("{found}")))
    }

    /// Checks the values of these units, one unit after another.
    fn check_finite_units(&self, units: &[u32], values: &[T]) -> Result<(), MergeError> {
        let unit_len = self.unit_len();
        self.source.check_finite(values, |place| {
            (place % unit_len) * self.units() + units[place / unit_len] as usize
        })
    }
}

/// The values of some units of a tensor, one unit after another.
fn gather<T: Real>(tensor: &[T], all_units: usize, units: &[u32]) -> Vec<T> {
    /// Units copied together: a cache line of neighbours.
    const TOGETHER: usize = 16;
    let unit_len = tensor.len() / all_units;
    let mut values = vec![T::default(); units.len() * unit_len];
    let groups = values.chunks_mut(TOGETHER * unit_len).zip(units.chunks(TOGETHER));
    for (values, units) in groups {
        for (row_index, row) in tensor.chunks_exact(all_units).enumerate() {
            for (place, unit) in units.iter().enumerate() {
                values[place * unit_len + row_index] = row[*unit as usize];
            }
        }
    }
    values
}
