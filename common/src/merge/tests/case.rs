//! Random clusters: a base, and where its replicas ended.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use super::super::*;
use crate::id::Block;
use crate::model::{Batch, ModelError, Replica};
use crate::state::{Layout, NetworkState, Number, Segment, Tensor, TensorData};

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From −1 to 1, and now and then a zero of either sign.
    pub(super) fn value<T: Real>(&mut self) -> T {
        T::from_f64(match self.below(16) {
            0 => 0.0,
            1 => -0.0,
            _ => self.next() as f64 / u64::MAX as f64 * 2.0 - 1.0,
        })
    }

    pub(super) fn values<T: Real>(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.value()).collect()
    }

    pub(super) fn reals<T: Real>(&mut self, shape: &[usize]) -> TensorData {
        T::tensor(ArrayD::from_shape_simple_fn(shape, || self.value()))
    }

    /// Any bits.
    fn wholes<T: Whole>(&mut self, shape: &[usize]) -> TensorData {
        let whole = || T::from_word(&T::words(&self.next().to_le_bytes())[0]);
        T::tensor(ArrayD::from_shape_simple_fn(shape, whole))
    }

    /// Some of the units, ascending.
    fn units(&mut self, all: usize) -> Vec<u32> {
        (0..all as u32).filter(|_| self.below(3) == 0).collect()
    }
}

/// What a replica says of tensors under `fold`, by name.
pub(super) type Maps<T> = BTreeMap<String, UnitMaps<T>>;

/// A type of real values, and its tensors in a [`Case`].
pub(super) trait Tested: Real + Into<f64> {
    /// The beginning of their names.
    const PREFIX: &str;

    /// Half the distance from 1 to the next value: the most by which one operation is off, relative
    /// to its outcome.
    const ROUNDING: f64;

    fn maps(ended: &mut Ended) -> &mut Maps<Self>;

    fn name(of: &str) -> String {
        format!("{}{of}", Self::PREFIX)
    }
}

impl Tested for f32 {
    const PREFIX: &str = "";
    const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

    fn maps(ended: &mut Ended) -> &mut Maps<Self> {
        &mut ended.maps
    }
}

impl Tested for f64 {
    const PREFIX: &str = "f64.";
    const ROUNDING: f64 = f64::EPSILON / 2.0;

    fn maps(ended: &mut Ended) -> &mut Maps<Self> {
        &mut ended.maps_f64
    }
}

/// A replica that has ended somewhere.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) state: NetworkState,
    pub(super) examples: u64,
    pub(super) counts: BTreeMap<String, UnitCounts>,
    pub(super) maps: Maps<f32>,
    pub(super) maps_f64: Maps<f64>,
    /// Whether its values may be taken.
    pub(super) gives: bool,
}

impl Replica for Ended {
    fn begin(&mut self, _: &NetworkState) -> Result<(), ModelError> {
        unreachable!("it has ended")
    }
    fn process_batch(&mut self, _: &Batch<'_>) -> Result<Results, ModelError> {
        unreachable!("it has ended")
    }
    fn evaluate_batch(&mut self, _: &Batch<'_>) -> Result<Results, ModelError> {
        unreachable!("it has ended")
    }
    fn state(&self) -> &NetworkState {
        &self.state
    }
    fn state_to_take(&mut self) -> Option<&mut NetworkState> {
        self.gives.then_some(&mut self.state)
    }
    fn unit_counts(&self, tensor: &str) -> Option<UnitCounts> {
        self.counts.get(tensor).cloned()
    }
    fn unit_maps(&self, tensor: &str) -> Option<UnitMaps> {
        self.maps.get(tensor).cloned()
    }
    fn unit_maps_f64(&self, tensor: &str) -> Option<UnitMaps<f64>> {
        self.maps_f64.get(tensor).cloned()
    }
}

/// A base and where its replicas ended; `None` for those without examples.
pub(super) struct Case {
    pub(super) base: NetworkState,
    pub(super) replicas: Vec<Option<Ended>>,
}

/// All rules on all element types they work on. `said` tensors get counts and
/// maps from the replica, the other two sparse ones from what changed.
pub(super) fn state(random: &mut Random) -> NetworkState {
    let mut tensors = reals::<f32>(random);
    tensors.extend(wholes::<u64>(random, ""));
    tensors.extend(reals::<f64>(random));
    tensors.extend(wholes::<i64>(random, "i64."));
    NetworkState::new(tensors).unwrap()
}

fn reals<T: Tested>(random: &mut Random) -> Vec<(String, Tensor)> {
    let mut tensor = |name, shape: &[usize], rule| {
        (T::name(name), Tensor { data: random.reals::<T>(shape), rule })
    };
    vec![
        tensor("mean", &[7, 5], MergeRule::Mean),
        tensor("sum", &[11], MergeRule::Sum),
        tensor("max", &[2, 2, 3], MergeRule::Max),
        tensor("keep", &[3], MergeRule::Keep),
        tensor("mean_by", &[3, 9], MergeRule::MeanBy),
        tensor("mean_by.said", &[3, 9], MergeRule::MeanBy),
        tensor("fold", &[2, 2, 9], MergeRule::Fold),
        tensor("fold.said", &[4, 9], MergeRule::Fold),
    ]
}

fn wholes<T: Whole>(random: &mut Random, prefix: &str) -> Vec<(String, Tensor)> {
    let mut tensor = |name, size, rule| {
        (format!("{prefix}{name}"), Tensor { data: random.wholes::<T>(&[size]), rule })
    };
    vec![
        tensor("counts", 6, MergeRule::Sum),
        tensor("latest", 6, MergeRule::Max),
        tensor("kept", 2, MergeRule::Keep),
    ]
}

pub(super) fn ended(random: &mut Random, base: &NetworkState) -> Ended {
    let mut ended = Ended {
        state: state(random),
        examples: 1 + random.next() % 100,
        counts: BTreeMap::new(),
        maps: Maps::new(),
        maps_f64: Maps::new(),
        gives: false,
    };
    touch::<f32>(random, base, &mut ended);
    touch::<f64>(random, base, &mut ended);
    ended
}

/// Chooses the units that change.
fn touch<T: Tested>(random: &mut Random, base: &NetworkState, ended: &mut Ended) {
    // Under the rules that look for changed units, most have not changed.
    for name in ["mean_by", "fold"].map(T::name) {
        let touched = random.units(9);
        let base = slice::<T>(base, &name);
        let place = ended.state.tensors().keys().position(|it| *it == name).unwrap();
        let values = ended.state.tensor_at_mut(place).data.slice_mut::<T>();
        for (at, value) in values.iter_mut().enumerate() {
            if !touched.contains(&(at as u32 % 9)) {
                *value = base[at];
            }
        }
    }
    let units = random.units(9);
    let counts = units.iter().map(|_| 1 + random.next() % 50).collect();
    ended.counts.insert(T::name("mean_by.said"), UnitCounts { units, counts });
    let units = random.units(9);
    let (a, b) = (random.values(units.len()), random.values(4 * units.len()));
    T::maps(ended).insert(T::name("fold.said"), UnitMaps { units, a, b });
}

/// The values of a tensor.
pub(super) fn slice<'a, T: Number>(state: &'a NetworkState, name: &str) -> &'a [T] {
    state.tensors()[name].data.slice()
}

pub(super) fn case(random: &mut Random) -> Case {
    let base = state(random);
    let replicas = (0..1 + random.below(20))
        .map(|_| (random.below(5) != 0).then(|| ended(random, &base)))
        .collect();
    Case { base, replicas }
}

impl Case {
    pub(super) fn count(&self) -> u32 {
        self.replicas.len() as u32
    }

    pub(super) fn partial(&self, index: u32) -> Option<Partial> {
        let replica = self.replicas[index as usize].as_ref()?;
        let results = Results {
            examples: replica.examples,
            sums: [("loss".into(), 1.0 / f64::from(index + 3))].into(),
            counts: [("correct".into(), vec![u64::from(index)])].into(),
            ..Results::default()
        };
        let spare = BufferPool::default();
        let hashed = |gives| {
            let mut replica = Ended { gives, ..replica.clone() };
            let results = results.clone();
            Partial::of_replica_in(&spare, &mut replica, index, &self.base, results).unwrap()
        };
        let (partial, hashes) = hashed(false);
        assert_eq!(hashes, partial.segment_hashes(&self.base.layout()));
        assert_eq!(hashed(true), (partial.clone(), hashes), "taken values are the same");
        Some(partial)
    }

    /// The tree, written down as what it is.
    pub(super) fn merged(&self, block: Block) -> Option<Partial> {
        match block.halves() {
            _ if block.replicas(self.count()).is_empty() => None,
            None => self.partial(block.index),
            Some((left, right)) => merge_options(self.merged(left), self.merged(right)),
        }
    }

    pub(super) fn root(&self) -> Block {
        Block::root(self.count())
    }

    pub(super) fn next(&self) -> NetworkState {
        finish(&self.base, self.merged(self.root()).as_ref())
    }

    /// The values of a tensor in the base, and in each replica with examples.
    pub(super) fn values<T: Number>(&self, name: &str) -> (&[T], Vec<(&Ended, &[T])>) {
        let replicas = self.replicas.iter().flatten();
        let states = replicas.map(|replica| (replica, slice(&replica.state, name)));
        (slice(&self.base, name), states.collect())
    }

    /// Combine steps between a replica and the root.
    pub(super) fn depth(&self) -> f64 {
        f64::from(self.root().level)
    }
}

/// The root's replicas as random blocks, in random order.
pub(super) fn blocks(random: &mut Random, root: Block, replicas: u32) -> Vec<Block> {
    let mut waiting = vec![root];
    let mut blocks = Vec::new();
    while let Some(block) = waiting.pop() {
        match block.halves() {
            _ if block.replicas(replicas).is_empty() => {}
            Some((left, right)) if random.below(3) != 0 => waiting.extend([left, right]),
            _ => blocks.insert(random.below(blocks.len() + 1), block),
        }
    }
    blocks
}

/// Merge segments much shorter than those of the wire.
pub(super) fn short_segments(random: &mut Random, layout: &Layout) -> Vec<Segment> {
    let mut segments = Vec::new();
    for segment in layout.merge_segments() {
        let mut start = segment.range.start;
        while start < segment.range.end {
            let end = segment.range.end.min(start + 1 + random.below(6));
            segments.push(Segment { tensor: segment.tensor, range: start..end });
            start = end;
        }
    }
    segments
}
