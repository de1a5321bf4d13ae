//! Products of lists against the dense ones, bit for bit.

use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;

use super::lists::{COLUMNS, ELEMENTS, NonZeros};
use crate::model::kernel::{Isa, Kernel};

/// Values of which most are zero; of the others, some are special.
fn mostly_zero() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => Just(0.0_f32),
        1 => Just(-0.0_f32),
        1 => -4.0_f32..4.0,
        1 => proptest::sample::select(vec![1e-40_f32, -1e-40, 1e-30, f32::NAN, f32::INFINITY]),
    ]
}

/// Finite ones.
fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -4.0_f32..4.0,
        1 => proptest::sample::select(vec![0.0_f32, -0.0, 1e-40, -1e-40, 1e-30, 1e30]),
    ]
}

fn matrix(
    rows: usize,
    columns: usize,
    value: impl Strategy<Value = f32>,
) -> impl Strategy<Value = Array2<f32>> {
    proptest::collection::vec(value, rows * columns)
        .prop_map(move |values| Array2::from_shape_vec((rows, columns), values).unwrap())
}

/// `x [m, k]`, mostly zero, `w [k, n]` and `g [m, n]`.
fn layer() -> impl Strategy<Value = [Array2<f32>; 3]> {
    (1_usize..12, 1_usize..40, COLUMNS..COLUMNS + 170).prop_flat_map(|(rows, inputs, outputs)| {
        (
            matrix(rows, inputs, mostly_zero()),
            matrix(inputs, outputs, finite()),
            matrix(rows, outputs, finite()),
        )
            .prop_map(|(x, w, g)| [x, w, g])
    })
}

/// The bits; those of a NaN are the CPU's own.
fn bits(matrix: ArrayView2<'_, f32>) -> Vec<u32> {
    let bits = |value: &f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    matrix.iter().map(bits).collect()
}

proptest! {
    #[test]
    fn products_of_lists_have_the_bits_of_dense_products([x, w, g] in layer()) {
        for mut kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
            let mut lists = NonZeros::default();
            if !lists.list(&kernel, x.view(), w.ncols()) {
                continue;
            }
            let isa = kernel.isa();
            let mut dense = Array2::from_elem(g.dim(), f32::NAN);
            kernel.multiply(x.view(), w.view(), dense.view_mut());
            let mut sparse = Array2::from_elem(g.dim(), f32::NAN);
            kernel.multiply_sparse(lists.rows(), 0..x.nrows(), w.view(), sparse.view_mut());
            assert_eq!(bits(sparse.view()), bits(dense.view()), "{isa:?}: forward");

            let mut dense = Array2::from_elem(w.dim(), f32::NAN);
            kernel.multiply(x.t(), g.view(), dense.view_mut());
            kernel.multiply_add(x.t(), g.view(), dense.view_mut());
            let mut sparse = Array2::from_elem(w.dim(), f32::NAN);
            let half = w.nrows() / 2;
            for rows in [0..half, half..w.nrows()] {
                let mut sparse = sparse.slice_mut(s![rows.clone(), ..]);
                let columns = lists.columns();
                kernel.multiply_sparse(columns, rows.clone(), g.view(), sparse.view_mut());
                kernel.multiply_add_sparse(columns, rows, g.view(), sparse);
            }
            assert_eq!(bits(sparse.view()), bits(dense.view()), "{isa:?}: weights");
        }
    }
}

#[test]
fn lists_are_the_same_whatever_was_listed_before() {
    for kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
        let image =
            |row: usize, column: usize| if (row + column).is_multiple_of(4) { 0.5 } else { 0.0 };
        let large = Array2::from_shape_fn((50, 100), |(row, column)| image(row, column));
        let full = Array2::from_elem((7, 13), 1.0);
        let small = Array2::from_shape_fn((7, 13), |(row, column)| image(row, column));
        let mut lists = NonZeros::default();
        assert!(lists.list(&kernel, large.view(), COLUMNS));
        assert!(!lists.list(&kernel, full.view(), COLUMNS), "a matrix that is not sparse");
        assert!(lists.list(&kernel, small.view(), COLUMNS));
        let mut fresh = NonZeros::default();
        assert!(fresh.list(&kernel, small.view(), COLUMNS));
        for (used, fresh) in [(lists.rows(), fresh.rows()), (lists.columns(), fresh.columns())] {
            assert_eq!(used.starts, fresh.starts);
            let count = *fresh.starts.last().unwrap() as usize;
            assert_eq!(used.places[..count], fresh.places[..count]);
            assert_eq!(used.values[..count], fresh.values[..count]);
        }
    }
}

#[test]
fn what_does_not_pay_is_not_listed() {
    let (kernel, mut lists) = (Kernel::new(), NonZeros::default());
    let zeros = Array2::zeros((4, 8));
    assert!(lists.list(&kernel, zeros.view(), COLUMNS));
    assert!(!lists.list(&kernel, zeros.view(), COLUMNS - 1), "few columns");
    assert!(!lists.list(&kernel, zeros.t(), COLUMNS), "a transposed view");
    assert!(!lists.list(&kernel, Array2::zeros((0, 8)).view(), COLUMNS), "nothing");
    let large = Array2::zeros((2, ELEMENTS));
    assert!(!lists.list(&kernel, large.view(), COLUMNS), "too large");
}

#[test]
#[should_panic(expected = "columns of a and rows of b")]
fn shapes_that_do_not_fit_are_refused() {
    let (kernel, mut lists) = (Kernel::new(), NonZeros::default());
    assert!(lists.list(&kernel, Array2::zeros((4, 8)).view(), COLUMNS));
    let (b, mut out) = (Array2::zeros((7, COLUMNS)), Array2::zeros((4, COLUMNS)));
    kernel.multiply_sparse(lists.rows(), 0..4, b.view(), out.view_mut());
}
