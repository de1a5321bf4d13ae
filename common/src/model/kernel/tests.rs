//! Every path against the plain triple loop, bit for bit.

use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Isa, Kernel};

fn random(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Array2<f32> {
    // Values of very different sizes, so that another order would show.
    Array2::from_shape_simple_fn((rows, columns), || {
        let bits = rng.next_u32();
        let size = [1e-6, 1e-3, 1.0, 1e3][(bits & 3) as usize];
        ((bits >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
    })
}

fn plain(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, out: &mut Array2<f32>) {
    for row in 0..a.nrows() {
        for column in 0..b.ncols() {
            for at in 0..a.ncols() {
                out[[row, column]] += a[[row, at]] * b[[at, column]];
            }
        }
    }
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|value| value.to_bits()).collect()
}

fn check(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) {
    let mut expected = Array2::zeros((a.nrows(), b.ncols()));
    plain(a, b, &mut expected);
    let mut again = expected.clone();
    plain(a, b, &mut again);
    for mut kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
        let shape = format!("{:?}: {:?} by {:?}", kernel.isa(), a.dim(), b.dim());
        let mut out = Array2::from_elem(expected.dim(), f32::NAN);
        kernel.multiply(a, b, out.view_mut());
        assert_eq!(bits(&out), bits(&expected), "{shape}");
        kernel.multiply_add(a, b, out.view_mut());
        assert_eq!(bits(&out), bits(&again), "{shape}, added");
        // The first rows of a longer array, as of a batch that is not full.
        let mut longer = Array2::from_elem((a.nrows() + 2, b.ncols()), f32::NAN);
        kernel.multiply(a, b, longer.slice_mut(s![..a.nrows(), ..]));
        assert_eq!(bits(&longer.slice(s![..a.nrows(), ..]).to_owned()), bits(&expected), "{shape}");
        assert!(longer.slice(s![a.nrows().., ..]).iter().all(|value| value.is_nan()), "{shape}");
    }
}

fn check_layer(rows: usize, inputs: usize, outputs: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = random(&mut rng, rows, inputs);
    let w = random(&mut rng, inputs, outputs);
    let g = random(&mut rng, rows, outputs);
    check(x.view(), w.view());
    check(x.t(), g.view());
    check(g.view(), w.t());
}

proptest! {
    #[test]
    fn all_paths_have_the_bits_of_the_plain_loop(
        rows in 0_usize..40,
        inputs in 0_usize..70,
        outputs in 0_usize..70,
        seed: u64,
    ) {
        check_layer(rows, inputs, outputs, seed);
    }
}

#[test]
fn all_small_layers_have_the_bits_of_the_plain_loop() {
    for rows in 0..8 {
        for inputs in 0..6 {
            for outputs in 0..6 {
                check_layer(rows, inputs, outputs, 3);
            }
        }
    }
}

#[test]
fn usual_layers_have_the_bits_of_the_plain_loop() {
    for (rows, inputs, outputs) in [(50, 784, 128), (50, 128, 10), (10, 64, 32), (1, 1, 1)] {
        check_layer(rows, inputs, outputs, 1);
    }
}

#[test]
fn a_product_in_parts_has_the_bits_of_the_whole() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (a, b) = (random(&mut rng, 300, 33), random(&mut rng, 300, 17));
    let mut kernel = Kernel::new();
    let mut whole = Array2::zeros((33, 17));
    kernel.multiply(a.t(), b.view(), whole.view_mut());
    let mut parts = Array2::zeros((33, 17));
    for (a, b) in
        a.axis_chunks_iter(ndarray::Axis(0), 64).zip(b.axis_chunks_iter(ndarray::Axis(0), 64))
    {
        kernel.multiply_add(a.t(), b, parts.view_mut());
    }
    assert_eq!(bits(&parts), bits(&whole));
}

#[test]
#[should_panic(expected = "columns of a and rows of b")]
fn shapes_that_do_not_fit_are_refused() {
    let (a, b) = (Array2::zeros((2, 3)), Array2::zeros((4, 5)));
    Kernel::new().multiply(a.view(), b.view(), Array2::zeros((2, 5)).view_mut());
}
