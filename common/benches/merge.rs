//! Merging and hashing a state of 40 MB: `cargo bench -p samebit-common --bench merge`.
//!
//! Throughput counts the bytes of one state, so that it can be held against
//! the rate at which states come off the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::ArrayD;
use samebit_common::merge::{
    Contribution, Merge, MergeRule, Partial, RealContribution, UnitCounts, UnitMaps, finish_segment,
};
use samebit_common::results::Results;
use samebit_common::state::{NetworkState, Tensor, TensorData, shared_segment};

/// `[inputs, units]` of the state's one tensor: 40 MB of f32.
const SHAPE: [usize; 2] = [1000, 10_000];

/// Elements of the tensor.
const ELEMENTS: usize = SHAPE[0] * SHAPE[1];

fn values(offset: f32) -> Vec<f32> {
    (0..ELEMENTS).map(|at| offset + (at % 1000) as f32).collect()
}

fn state() -> NetworkState {
    let array = ArrayD::from_shape_vec(SHAPE.as_slice(), values(0.0)).expect("the shape fits");
    let tensor = Tensor { data: TensorData::F32(array), rule: MergeRule::Mean };
    NetworkState::new([("w".to_string(), tensor)]).expect("a valid state")
}

/// All units, or those that leave `remainder` when divided by 2.
fn units(remainder: Option<u32>) -> Vec<u32> {
    let all = 0..SHAPE[1] as u32;
    all.filter(|unit| remainder.is_none_or(|remainder| unit % 2 == remainder)).collect()
}

fn fold(units: Vec<u32>) -> Contribution {
    let b = values(1.0)[..units.len() * SHAPE[0]].to_vec();
    Contribution::F32(RealContribution::Fold(UnitMaps { a: vec![0.5; units.len()], b, units }))
}

fn mean(offset: f32) -> Contribution {
    let values = values(offset).into();
    Contribution::F32(RealContribution::Mean { examples: 100, values })
}

fn mean_by(units: Vec<u32>) -> Contribution {
    let values = values(1.0)[..units.len() * SHAPE[0]].to_vec();
    let counts = UnitCounts { counts: vec![3; units.len()], units };
    Contribution::F32(RealContribution::MeanBy { counts, values })
}

fn merge(criterion: &mut Criterion) {
    let f32 = Contribution::F32;
    let sum = |offset| f32(RealContribution::Sum(values(offset).into()));
    let max = |offset| f32(RealContribution::Max(values(offset).into()));
    let cases = [
        ("mean", mean(0.0), mean(1.0)),
        ("sum", sum(0.0), sum(1.0)),
        ("max", max(0.0), max(1.0)),
        ("mean_by, same units", mean_by(units(None)), mean_by(units(None))),
        ("fold, same units", fold(units(None)), fold(units(None))),
        ("fold, disjoint units", fold(units(Some(0))), fold(units(Some(1)))),
    ];
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Bytes(4 * ELEMENTS as u64)).sample_size(20);
    for (name, left, right) in cases {
        group.bench_function(name, |bencher| {
            let setup = || (left.clone(), right.clone());
            bencher.iter_batched(setup, |(left, right)| left.merge(right), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn transfer(criterion: &mut Criterion) {
    let state = Arc::new(state());
    let layout = state.layout();
    let segments = layout.state_segments();
    let partial = Partial {
        weight: 100,
        results: Results {
            examples: 100,
            sums: BTreeMap::new(),
            counts: BTreeMap::new(),
            ..Results::default()
        },
        tensors: vec![Some(mean(0.0))],
    };
    let mut next = NetworkState::zeros(&layout).expect("a valid layout");

    let mut group = criterion.benchmark_group("state");
    group.throughput(Throughput::Bytes(4 * ELEMENTS as u64)).sample_size(20);
    group.bench_function("digest", |bencher| bencher.iter(|| state.digest()));
    group.bench_function("check_finite", |bencher| bencher.iter(|| state.check_finite()));
    group.bench_function("shared_segment to write_segment", |bencher| {
        bencher.iter(|| {
            for (index, segment) in segments.iter().enumerate() {
                let payload = shared_segment(&state, segment);
                next.write_segment(index, segment, &payload).expect("the segment fits");
            }
        });
    });
    group.bench_function("encode, decode and finish segments", |bencher| {
        bencher.iter(|| {
            for (index, segment) in segments.iter().enumerate() {
                let payload = partial.segment(&layout, segment);
                let merged = Contribution::decode(&layout, index, segment, 100, &payload.into())
                    .expect("the segment decodes");
                finish_segment(&state, segment, merged.as_ref(), &mut next);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, merge, transfer);
criterion_main!(benches);
