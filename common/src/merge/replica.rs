//! Computes the contribution of one replica.

mod units;

use std::collections::BTreeMap;

use twox_hash::XxHash3_128;

use self::units::Units;
use super::{
    BufferPool, Contribution, MergeError, MergeRule, Partial, Real, RealContribution, Values,
    Whole, WholeContribution,
};
use crate::model::Replica;
use crate::results::Results;
use crate::state::values::{BLOCK_VALUES, first_not_finite, value_bytes};
use crate::state::{ElementType, NetworkState, Number, Segment, Tensor};

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
            let own = segments.iter().enumerate().filter(|(_, segment)| segment.tensor == place);
            let mut hashing = Hashing { segments: own.collect(), known: &mut known };
            let source = Source { name, replica: index, base, weight };
            tensors.push(source.contribution(replica, spare, &mut hashing)?);
        }
        let partial = Self { weight, results, tensors };
        let hash = |(index, segment)| {
            known.get(&index).copied().unwrap_or_else(|| partial.hash_segment(&layout, segment))
        };
        let hashes = segments.iter().enumerate().map(hash).collect();
        Ok((partial, hashes))
    }
}

/// The segments of one tensor, with their indexes, and the hashes that are known, by index.
struct Hashing<'a> {
    segments: Vec<(usize, &'a Segment)>,
    known: &'a mut BTreeMap<usize, u128>,
}

/// One tensor of a replica after its batches.
struct Source<'a> {
    name: &'a str,
    replica: u32,
    /// The tensor before the batches, and its rule.
    base: &'a Tensor,
    weight: u64,
}

impl Source<'_> {
    fn contribution(
        &self,
        replica: &mut dyn Replica,
        spare: &BufferPool,
        hashing: &mut Hashing<'_>,
    ) -> Result<Option<Contribution>, MergeError> {
        if self.base.rule == MergeRule::Keep {
            return Ok(None);
        }
        Ok(Some(match self.base.data.element() {
            ElementType::F32 => Contribution::F32(self.reals(replica, spare, hashing)?),
            ElementType::F64 => Contribution::F64(self.reals(replica, spare, hashing)?),
            ElementType::U64 => Contribution::U64(self.wholes(replica)),
            ElementType::I64 => Contribution::I64(self.wholes(replica)),
        }))
    }

    fn wholes<T: Whole>(&self, replica: &mut dyn Replica) -> WholeContribution<T> {
        replica.refresh(self.name);
        let values = self.now::<T>(replica.state()).iter();
        match self.base.rule {
            MergeRule::Sum => {
                let pairs = values.zip(self.base.data.slice::<T>());
                WholeContribution::Sum(pairs.map(|(x, base)| x.wrapping_sub(*base)).collect())
            }
            MergeRule::Max => WholeContribution::Max(values.copied().collect()),
            rule => unreachable!("a state has no whole numbers under `{rule}`"),
        }
    }

    fn reals<T: Real>(
        &self,
        replica: &mut dyn Replica,
        spare: &BufferPool,
        hashing: &mut Hashing<'_>,
    ) -> Result<RealContribution<T>, MergeError> {
        match self.base.rule {
            MergeRule::Mean => {
                let values = self.values(replica, spare, hashing, |x, _| x)?;
                Ok(RealContribution::Mean { examples: self.weight, values })
            }
            MergeRule::Max => {
                Ok(RealContribution::Max(self.values(replica, spare, hashing, |x, _| x)?))
            }
            MergeRule::Sum => {
                let change = |x, base| x - base;
                Ok(RealContribution::Sum(self.values(replica, spare, hashing, change)?))
            }
            MergeRule::MeanBy => {
                let counts = replica.unit_counts(self.name);
                replica.refresh(self.name);
                Units::of(self, self.now::<T>(replica.state())).mean_by(counts)
            }
            MergeRule::Fold => {
                let maps = T::unit_maps(replica, self.name);
                // Maps contain everything.
                if maps.is_none() {
                    replica.refresh(self.name);
                }
                Units::of(self, self.now(replica.state())).fold(maps)
            }
            MergeRule::Keep => unreachable!("nothing is contributed"),
        }
    }

    /// The values of the tensor in a replica's state.
    fn now<'a, T: Number>(&self, state: &'a NetworkState) -> &'a [T] {
        state.tensors()[self.name].data.slice()
    }

    /// The contribution of every element, from its value and the base's. In one pass, segment by
    /// segment, the values are computed, checked and hashed.
    fn values<T: Real>(
        &self,
        replica: &mut dyn Replica,
        spare: &BufferPool,
        hashing: &mut Hashing<'_>,
        contribution: impl Fn(T, T) -> T,
    ) -> Result<Values<T>, MergeError> {
        replica.refresh(self.name);
        let base = self.base.data.slice::<T>();
        let memory = spare.take(base.len());
        let (mut values, is_taken) = match replica.state_to_take() {
            Some(state) => (state.exchange_values(self.name, memory), true),
            None => (memory, false),
        };
        let state = self.now::<T>(replica.state());
        for (index, segment) in &hashing.segments {
            let mut hasher = XxHash3_128::new();
            for start in segment.range.clone().step_by(BLOCK_VALUES) {
                let block = start..segment.range.end.min(start + BLOCK_VALUES);
                let values = &mut values[block.clone()];
                if !is_taken {
                    values.copy_from_slice(&state[block.clone()]);
                }
                for (x, base) in values.iter_mut().zip(&base[block]) {
                    *x = contribution(*x, *base);
                }
                self.check_finite(values, |place| start + place)?;
                hasher.write(&value_bytes(values));
            }
            // The [`segment_hash`] of the whole segment.
            hashing.known.insert(*index, hasher.finish_128());
        }
        Ok(values.into())
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
    fn check_finite<T: Real>(
        &self,
        values: &[T],
        element: impl Fn(usize) -> usize,
    ) -> Result<(), MergeError> {
        match first_not_finite(values) {
            None => Ok(()),
            Some(place) => Err(MergeError::NotFinite {
                tensor: self.name.into(),
                replica: self.replica,
                element: element(place),
                found: values[place].to_f64(),
            }),
        }
    }
}
