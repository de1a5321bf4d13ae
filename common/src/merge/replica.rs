//! Computes the contribution of one replica.

use std::collections::BTreeMap;

use twox_hash::XxHash3_128;

use super::{
    BufferPool, Contribution, MergeError, MergeRule, Partial, UnitCounts, UnitMaps, Values,
};
use crate::model::Replica;
use crate::results::Results;
use crate::state::values::{BLOCK_VALUES, f32_bytes, first_not_finite};
use crate::state::{ElementType, NetworkState, Segment, TensorData};

impl Partial {
    /// The contribution of a replica after its batches, by the rules of `base`'s tensors.
    /// `state` is its final state; `replica` reports the touched units for rules that need
    /// them. The weight is `results.examples`; without examples there is no contribution.
    ///
    /// If a model reports no units, the count of every changed unit under `mean_by` is the
    /// number of examples, and the maps under `fold` are `x → 1·x + (state − base)` for the
    /// changed units.
    pub fn of_replica(
        replica: &mut dyn Replica,
        index: u32,
        base: &NetworkState,
        results: Results,
    ) -> Result<Self, MergeError> {
        let hashed = Self::of_replica_in(&BufferPool::default(), replica, index, base, results)?;
        Ok(hashed.0)
    }

    /// [`Partial::of_replica`], reusing the memory of earlier partials, with its
    /// [`Partial::segment_hashes`]: values are hashed while they are in the processor's cache.
    pub fn of_replica_in(
        spare: &BufferPool,
        replica: &mut dyn Replica,
        index: u32,
        base: &NetworkState,
        results: Results,
    ) -> Result<(Self, Vec<u128>), MergeError> {
        let layout = base.layout();
        let weight = results.examples;
        if weight == 0 {
            let nothing = Self { weight, results, tensors: vec![None; base.tensors().len()] };
            let hashes = nothing.segment_hashes(&layout);
            return Ok((nothing, hashes));
        }
        base.check_same_tensors(replica.state()).map_err(|error| MergeError::Contribution {
            tensor: "all".into(),
            replica: index,
            expected: "a state like the base".into(),
            found: error.to_string(),
        })?;
        let mut tensors = Vec::with_capacity(base.tensors().len());
        let segments = layout.merge_segments();
        let mut known = BTreeMap::new();
        for (place, (name, base)) in base.tensors().iter().enumerate() {
            let units = match base.rule {
                MergeRule::MeanBy => Units::Counts(replica.unit_counts(name)),
                MergeRule::Fold => Units::Maps(replica.unit_maps(name)),
                _ => Units::All,
            };
            // Maps contain everything.
            if !matches!(units, Units::Maps(Some(_))) {
                replica.refresh(name);
            }
            let is_whole = matches!(base.rule, MergeRule::Mean | MergeRule::Max | MergeRule::Sum)
                && base.data.element() == ElementType::F32;
            let memory = if is_whole { spare.take(base.data.len()) } else { Vec::new() };
            let (memory, is_taken) = match replica.state_to_take().filter(|_| is_whole) {
                Some(state) => (state.exchange_values(name, memory), true),
                None => (memory, false),
            };
            let source = Source {
                name,
                replica: index,
                base: &base.data,
                state: &replica.state().tensors()[name].data,
                is_taken,
                weight,
            };
            let own = segments.iter().enumerate().filter(|(_, segment)| segment.tensor == place);
            let mut hashing = Hashing { segments: own.collect(), known: &mut known };
            tensors.push(source.contribution(base.rule, units, memory, &mut hashing)?);
        }
        let partial = Self { weight, results, tensors };
        let hash = |(index, segment)| {
            known.get(&index).copied().unwrap_or_else(|| partial.hash_segment(&layout, segment))
        };
        let hashes = segments.iter().enumerate().map(hash).collect();
        Ok((partial, hashes))
    }
}

/// The units that a model reports as touched.
enum Units {
    /// The rule does not need them.
    All,
    /// The number of times each was touched.
    Counts(Option<UnitCounts>),
    /// The change of each.
    Maps(Option<UnitMaps>),
}

/// The segments of one tensor, with their indexes, and the hashes that are known, by index.
struct Hashing<'a> {
    segments: Vec<(usize, &'a Segment)>,
    known: &'a mut BTreeMap<usize, u128>,
}

/// One tensor, before and after a replica's batches.
struct Source<'a> {
    name: &'a str,
    replica: u32,
    base: &'a TensorData,
    state: &'a TensorData,
    /// Whether its f32 values were taken out of the state: they are in the memory of the
    /// contribution.
    is_taken: bool,
    weight: u64,
}

impl Source<'_> {
    /// By a rule; `memory` is for as many f32 values as the tensor has, if the rule needs them.
    fn contribution(
        &self,
        rule: MergeRule,
        units: Units,
        memory: Vec<f32>,
        hashing: &mut Hashing<'_>,
    ) -> Result<Option<Contribution>, MergeError> {
        let contribution = match (rule, self.base) {
            (MergeRule::Keep, _) => return Ok(None),
            (MergeRule::MeanBy | MergeRule::Fold, _) => match units {
                Units::Counts(counts) => self.mean_by(counts)?,
                Units::Maps(maps) => Contribution::Fold(self.fold(maps)?),
                Units::All => unreachable!("the model was asked for units"),
            },
            (MergeRule::Mean, _) => {
                let values = self.values(memory, hashing, |x, _| x)?;
                Contribution::Mean { examples: self.weight, values }
            }
            (MergeRule::Max, TensorData::F32(_)) => {
                Contribution::Max(self.values(memory, hashing, |x, _| x)?)
            }
            (MergeRule::Max, TensorData::U64(_)) => {
                Contribution::MaxCount(self.state.u64_slice().to_vec())
            }
            (MergeRule::Sum, TensorData::F32(_)) => {
                Contribution::Sum(self.values(memory, hashing, |x, base| x - base)?)
            }
            (MergeRule::Sum, TensorData::U64(_)) => {
                let pairs = self.state.u64_slice().iter().zip(self.base.u64_slice());
                Contribution::Count(pairs.map(|(x, base)| x.wrapping_sub(*base)).collect())
            }
        };
        Ok(Some(contribution))
    }

    /// The contribution of every element, from its value and the base's. In one pass, segment by
    /// segment, the values are computed, checked and hashed.
    fn values(
        &self,
        mut values: Vec<f32>,
        hashing: &mut Hashing<'_>,
        contribution: impl Fn(f32, f32) -> f32,
    ) -> Result<Values, MergeError> {
        let base = self.base.f32_slice();
        for (index, segment) in &hashing.segments {
            let mut hasher = XxHash3_128::new();
            for start in segment.range.clone().step_by(BLOCK_VALUES) {
                let block = start..segment.range.end.min(start + BLOCK_VALUES);
                let values = &mut values[block.clone()];
                if !self.is_taken {
                    values.copy_from_slice(&self.state.f32_slice()[block.clone()]);
                }
                for (x, base) in values.iter_mut().zip(&base[block]) {
                    *x = contribution(*x, *base);
                }
                self.check_finite(values, |place| start + place)?;
                hasher.write(&f32_bytes(values));
            }
            // The [`segment_hash`] of the whole segment.
            hashing.known.insert(*index, hasher.finish_128());
        }
        Ok(values.into())
    }

    fn mean_by(&self, counts: Option<UnitCounts>) -> Result<Contribution, MergeError> {
        let counts = match counts {
            Some(counts) => {
                self.check_units(&counts.units)?;
                self.check_length("counts", counts.units.len(), counts.counts.len())?;
                if let Some(place) = counts.counts.iter().position(|count| *count == 0) {
                    let found = format!("0 of unit {}", counts.units[place]);
                    return Err(self.error("counts above 0".into(), found));
                }
                counts
            }
            None => {
                let units = self.changed_units();
                UnitCounts { counts: vec![self.weight; units.len()], units }
            }
        };
        let values = gather(self.state.f32_slice(), self.units(), &counts.units);
        self.check_finite_units(&counts.units, &values)?;
        Ok(Contribution::MeanBy { counts, values })
    }

    fn fold(&self, maps: Option<UnitMaps>) -> Result<UnitMaps, MergeError> {
        let maps = match maps {
            Some(maps) => {
                self.check_units(&maps.units)?;
                self.check_length("factors", maps.units.len(), maps.a.len())?;
                self.check_length("values", maps.units.len() * self.unit_len(), maps.b.len())?;
                maps
            }
            None => {
                let units = self.changed_units();
                let mut b = gather(self.state.f32_slice(), self.units(), &units);
                let base = gather(self.base.f32_slice(), self.units(), &units);
                for (x, base) in b.iter_mut().zip(&base) {
                    *x -= base;
                }
                UnitMaps { a: vec![1.0; units.len()], b, units }
            }
        };
        self.check_finite(&maps.a, |place| maps.units[place] as usize)?;
        self.check_finite_units(&maps.units, &maps.b)?;
        Ok(maps)
    }

    /// Units with at least one value whose bits differ from the base.
    fn changed_units(&self) -> Vec<u32> {
        let units = self.units();
        let mut difference = vec![0; units];
        let rows = self.state.f32_slice().chunks_exact(units);
        for (row, base) in rows.zip(self.base.f32_slice().chunks_exact(units)) {
            for ((bits, x), base) in difference.iter_mut().zip(row).zip(base) {
                *bits |= x.to_bits() ^ base.to_bits();
            }
        }
        (0..).zip(difference).filter(|(_, bits)| *bits != 0).map(|(unit, _)| unit).collect()
    }

    fn units(&self) -> usize {
        self.base.shape().last().copied().expect("a tensor has an axis")
    }

    fn unit_len(&self) -> usize {
        self.base.len() / self.units()
    }

    fn check_units(&self, units: &[u32]) -> Result<(), MergeError> {
        if let Some(pair) = units.windows(2).find(|pair| pair[0] >= pair[1]) {
            let found = format!("{} before {}", pair[0], pair[1]);
            return Err(self.error("units in ascending order".into(), found));
        }
        match units.last() {
            Some(last) if *last as usize >= self.units() => {
                Err(self.error(format!("units below {}", self.units()), format!("{last}")))
            }
            _ => Ok(()),
        }
    }

    fn check_length(&self, what: &str, expected: usize, found: usize) -> Result<(), MergeError> {
        if expected == found {
            return Ok(());
        }
        Err(self.error(format!("{expected} {what} for its units"), format!("{found}")))
    }

    fn error(&self, expected: String, found: String) -> MergeError {
        MergeError::Contribution {
            tensor: self.name.into(),
            replica: self.replica,
            expected,
            found,
        }
    }

    /// Checks values; `element` maps them to their index in the tensor.
    fn check_finite(
        &self,
        values: &[f32],
        element: impl Fn(usize) -> usize,
    ) -> Result<(), MergeError> {
        match first_not_finite(values) {
            None => Ok(()),
            Some(place) => Err(MergeError::NotFinite {
                tensor: self.name.into(),
                replica: self.replica,
                element: element(place),
                found: values[place],
            }),
        }
    }

    /// Checks the values of these units, one unit after another.
    fn check_finite_units(&self, units: &[u32], values: &[f32]) -> Result<(), MergeError> {
        let unit_len = self.unit_len();
        self.check_finite(values, |place| {
            (place % unit_len) * self.units() + units[place / unit_len] as usize
        })
    }
}

/// The values of some units of a tensor, one unit after another.
fn gather(tensor: &[f32], all_units: usize, units: &[u32]) -> Vec<f32> {
    /// Units copied together: a cache line of neighbours.
    const TOGETHER: usize = 16;
    let unit_len = tensor.len() / all_units;
    let mut values = vec![0.0; units.len() * unit_len];
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
