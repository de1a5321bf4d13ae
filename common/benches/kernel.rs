//! The three products of a `[50, 784] × [784, 128]` layer on every instruction
//! set of this CPU, beside ndarray's `dot` (one thread, as ours), and the step of its weights: with
//! velocities that have decayed to zero, and with subnormal ones, where they would end without the
//! bound below which they become zero. Then whole batches of 50 examples through 784-128-10, with
//! features of which all, or every fifth, are not zero.
//!
//! `cargo bench -p samebit-common --bench kernel`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayView2};

use samebit_common::model::kernel::{Isa, Kernel, Step};
use samebit_common::model::{Batch, DataShape, Registry, TargetType, Targets};

const ROWS: usize = 50;
const INPUTS: usize = 784;
const OUTPUTS: usize = 128;

fn matrix(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        ((row * 31 + column * 17) % 64) as f32 / 64.0 - 0.5
    })
}

fn product(criterion: &mut Criterion, name: &str, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) {
    let mut group = criterion.benchmark_group(name);
    // One element is one floating-point operation.
    group.throughput(Throughput::Elements((2 * ROWS * INPUTS * OUTPUTS) as u64));
    group.bench_function("ndarray dot", |bencher| bencher.iter(|| a.dot(&b)));
    for mut kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
        let mut out = Array2::zeros((a.nrows(), b.ncols()));
        group.bench_function(format!("{:?}", kernel.isa()), |bencher| {
            bencher.iter(|| kernel.multiply(a, b, out.view_mut()));
        });
    }
    group.finish();
}

fn layer(criterion: &mut Criterion) {
    let x = matrix(ROWS, INPUTS);
    let w = matrix(INPUTS, OUTPUTS);
    let g = matrix(ROWS, OUTPUTS);
    product(criterion, "forward", x.view(), w.view());
    product(criterion, "weights", x.t(), g.view());
    product(criterion, "inputs", g.view(), w.t());
}

/// A step without gradient. Velocities are set again each time: the copy is part of the time.
fn step(criterion: &mut Criterion) {
    const WEIGHTS: usize = INPUTS * OUTPUTS;
    let step = Step { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, share: 0.02 };
    let gradient = vec![0.0; WEIGHTS];
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(WEIGHTS as u64));
    for (name, start) in [("usual", 1e-3), ("decayed to zero", 0.0), ("subnormal", 1e-40_f32)] {
        let velocities = vec![start; WEIGHTS];
        for kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
            let (mut weights, mut velocity) = (vec![0.5; WEIGHTS], velocities.clone());
            group.bench_function(format!("{:?}, velocities {name}", kernel.isa()), |bencher| {
                bencher.iter(|| {
                    velocity.copy_from_slice(&velocities);
                    kernel.step_with_momentum(&step, &mut weights, &gradient, &mut velocity);
                });
            });
        }
    }
    group.finish();
}

/// A batch of an `mlp`, on the best instruction set.
fn batch(criterion: &mut Criterion) {
    const CLASSES: usize = 10;
    let shape = DataShape::new(INPUTS, TargetType::Classes(CLASSES as u32));
    let parameters = toml::Table::from_iter([("hidden".into(), vec![OUTPUTS as i64].into())]);
    let model = Registry::standard().build("mlp", &parameters, shape, 1).expect("a valid model");
    let base = model.initial_state().expect("a state");
    let labels: Vec<u32> = (0..ROWS as u32).map(|row| row % CLASSES as u32).collect();
    let places: Vec<u64> = (0..ROWS as u64).collect();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, one_in) in [("all features", 1), ("every fifth feature", 5)] {
        let value = |(row, column): (usize, usize)| {
            if (row * 7 + column).is_multiple_of(one_in) {
                0.01 + (column % 64) as f32 / 64.0
            } else {
                0.0
            }
        };
        let features = Array2::from_shape_fn((ROWS, INPUTS), value);
        let batch = Batch::new(features.view(), Targets::Classes(&labels), &places, 0);
        let mut replica = model.replica().expect("a replica");
        replica.begin(&base).expect("the model's own state");
        group.bench_function(name, |bencher| {
            bencher.iter(|| replica.process_batch(&batch).expect("a batch that fits"));
        });
    }
    group.finish();
}

criterion_group!(benches, layer, step, batch);
criterion_main!(benches);
