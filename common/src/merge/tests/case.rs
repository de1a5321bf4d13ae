//! Random clusters: a base, and where its replicas ended.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use super::super::*;
use crate::id::Block;
use crate::model::{Batch, ModelError, Replica};
use crate::state::{Layout, NetworkState, Segment, Tensor, TensorData};

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
    pub(super) fn value(&mut self) -> f32 {
        match self.below(16) {
            0 => 0.0,
            1 => -0.0,
            _ => (self.next() as f64 / u64::MAX as f64 * 2.0 - 1.0) as f32,
        }
    }

    pub(super) fn f32(&mut self, shape: &[usize]) -> TensorData {
        TensorData::F32(ArrayD::from_shape_simple_fn(shape, || self.value()))
    }

    fn u64(&mut self, shape: &[usize]) -> TensorData {
        TensorData::U64(ArrayD::from_shape_simple_fn(shape, || self.next()))
    }

    /// Some of the units, ascending.
    fn units(&mut self, all: usize) -> Vec<u32> {
        (0..all as u32).filter(|_| self.below(3) == 0).collect()
    }
}

/// A replica that has ended somewhere.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) state: NetworkState,
    pub(super) examples: u64,
    pub(super) counts: BTreeMap<String, UnitCounts>,
    pub(super) maps: BTreeMap<String, UnitMaps>,
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
}

/// A base and where its replicas ended; `None` for those without examples.
pub(super) struct Case {
    pub(super) base: NetworkState,
    pub(super) replicas: Vec<Option<Ended>>,
}

/// All rules on all element types they work on. `said` tensors get counts and
/// maps from the replica, the other two sparse ones from what changed.
pub(super) fn state(random: &mut Random) -> NetworkState {
    let f32 = |data, rule| Tensor { data, rule };
    let tensors = [
        ("mean", f32(random.f32(&[7, 5]), MergeRule::Mean)),
        ("sum", f32(random.f32(&[11]), MergeRule::Sum)),
        ("max", f32(random.f32(&[2, 2, 3]), MergeRule::Max)),
        ("keep", f32(random.f32(&[3]), MergeRule::Keep)),
        ("mean_by", f32(random.f32(&[3, 9]), MergeRule::MeanBy)),
        ("mean_by.said", f32(random.f32(&[3, 9]), MergeRule::MeanBy)),
        ("fold", f32(random.f32(&[2, 2, 9]), MergeRule::Fold)),
        ("fold.said", f32(random.f32(&[4, 9]), MergeRule::Fold)),
        ("counts", f32(random.u64(&[6]), MergeRule::Sum)),
        ("latest", f32(random.u64(&[6]), MergeRule::Max)),
        ("kept", f32(random.u64(&[2]), MergeRule::Keep)),
    ];
    NetworkState::new(tensors.map(|(name, tensor)| (name.into(), tensor))).unwrap()
}

pub(super) fn ended(random: &mut Random, base: &NetworkState) -> Ended {
    let mut state = state(random);
    // Under the rules that look for changed units, most have not changed.
    for name in ["mean_by", "fold"] {
        let touched = random.units(9);
        let base = base.f32(name).unwrap().as_slice().unwrap();
        let mut values = state.f32_mut(name).unwrap();
        for (at, value) in values.as_slice_mut().unwrap().iter_mut().enumerate() {
            if !touched.contains(&(at as u32 % 9)) {
                *value = base[at];
            }
        }
    }
    let units = random.units(9);
    let counts = units.iter().map(|_| 1 + random.next() % 50).collect();
    let counts = UnitCounts { units, counts };
    let units = random.units(9);
    let a = units.iter().map(|_| random.value()).collect();
    let b = (0..4 * units.len()).map(|_| random.value()).collect();
    let maps = UnitMaps { units, a, b };
    Ended {
        state,
        examples: 1 + random.next() % 100,
        counts: [("mean_by.said".into(), counts)].into(),
        maps: [("fold.said".into(), maps)].into(),
        gives: false,
    }
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

    pub(super) fn f32(&self, name: &str) -> (&[f32], Vec<(&Ended, &[f32])>) {
        fn slice<'a>(state: &'a NetworkState, name: &str) -> &'a [f32] {
            state.f32(name).unwrap().as_slice().unwrap()
        }
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
