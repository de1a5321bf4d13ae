//! The three products of a `[50, 784] × [784, 128]` layer on every instruction
//! set of this CPU, beside ndarray's `dot` (one thread, as ours).
//!
//! `cargo bench -p samebit-common --bench kernel`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayView2};

use samebit_common::model::kernel::{Isa, Kernel};

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

criterion_group!(benches, layer);
criterion_main!(benches);
