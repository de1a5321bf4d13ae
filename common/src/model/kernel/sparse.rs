//! Products whose left side is mostly zero, as the pixels of an image often are.
//!
//! The terms of a sum whose left factor is zero are left out. That does not change a bit as long as
//! `b` is finite: such a term is `+0` or `−0`, and a sum that starts at `+0` is never `−0`
//! (`+0 + −0 = +0`, and `x − x = +0`), so that adding either to it leaves it as it is. If `b` is not
//! finite, a term that is left out would have been NaN. A weight that is not finite stays so, and
//! ends the shard when its state is checked; a gradient by the outputs that is not finite reaches the
//! bias, which leaves no term out.
//!
//! What makes the `unsafe` sound:
//! - **Instructions.** A function compiled for an instruction set is called only with an [`Isa`] that
//!   this CPU has, which the callers, [`super::Kernel`]'s, hold.
//! - **Pointers.** They come from slices and vectors that live through the call. [`Lists`] are made
//!   in `lists` only, with places below the number of columns that they were made for, and the functions
//!   compare that number with the rows of `b`.
#![allow(unsafe_code)]

mod lists;

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::{Isa, Kernel, Start};
use crate::model::vector::{self, Vector};

use lists::MAX_LANES;
pub(in crate::model) use lists::{Lists, NonZeros};

/// Writes the values that are not zero to `to`, and where they are to `places`. Returns their number.
/// There must be room for all values and [`MAX_LANES`] more.
fn keep_not_zero(isa: Isa, values: &[f32], to: &mut [f32], places: &mut [u32]) -> usize {
    let room = values.len() + MAX_LANES;
    assert!(to.len() >= room && places.len() >= room, "room for what is not zero");
    // SAFETY: the CPU has `isa`, and there is room (see the module).
    unsafe {
        let (to, places) = (to.as_mut_ptr(), places.as_mut_ptr());
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::keep(values, to, places),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::keep(values, to, places),
            _ => portable::keep(values, to, places),
        }
    }
}

/// Values of `b` that are used by all rows before the next ones are read: as many as the fastest
/// cache has room for.
const AT_ONCE: usize = 1 << 13;

/// Some rows of a product, as pointers.
struct Product {
    /// Where the list of each row goes on.
    cursors: *mut u32,
    /// Where the list of the first row starts, and the ends of all rows' lists.
    starts: *const u32,
    places: *const u32,
    values: *const f32,
    /// Number of rows.
    rows: usize,
    /// Columns of the lists, and rows of `b`.
    inner: usize,
    /// `[inner, columns]`.
    b: *const f32,
    /// `[rows, columns]`.
    out: *mut f32,
    columns: usize,
    /// Where the sums start.
    start: Start,
}

impl Kernel {
    /// `out = a · b` for the rows `rows` of `a [m, k]`, in lists; `b [k, n]` and `out [rows, n]` are
    /// in standard layout. Each element is a sum over the listed terms in their order, from zero on.
    ///
    /// # Panics
    /// If the shapes do not match: a bug of the caller.
    pub(in crate::model) fn multiply_sparse(
        &self,
        a: &Lists,
        rows: Range<usize>,
        b: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
    ) {
        self.run_sparse(a, rows, b, out, Start::Zero);
    }

    /// `out = out + a · b`, like [`Kernel::multiply_sparse`]: continues each sum.
    ///
    /// # Panics
    /// Like [`Kernel::multiply_sparse`].
    pub(in crate::model) fn multiply_add_sparse(
        &self,
        a: &Lists,
        rows: Range<usize>,
        b: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
    ) {
        self.run_sparse(a, rows, b, out, Start::Out);
    }

    fn run_sparse(
        &self,
        a: &Lists,
        rows: Range<usize>,
        b: ArrayView2<'_, f32>,
        mut out: ArrayViewMut2<'_, f32>,
        start: Start,
    ) {
        assert!(rows.start <= rows.end && rows.end <= a.rows(), "rows of a");
        assert_eq!(out.dim(), (rows.len(), b.ncols()), "rows of a and columns of b");
        assert_eq!(b.nrows(), a.columns, "columns of a and rows of b");
        let mut cursors: Vec<u32> = a.starts[rows.clone()].to_vec();
        let product = Product {
            cursors: cursors.as_mut_ptr(),
            inner: a.columns,
            starts: a.starts[rows.start..].as_ptr(),
            places: a.places.as_ptr(),
            values: a.values.as_ptr(),
            rows: rows.len(),
            b: b.as_slice().expect("b is in standard layout").as_ptr(),
            columns: b.ncols(),
            out: out.as_slice_mut().expect("the output is in standard layout").as_mut_ptr(),
            start,
        };
        // SAFETY: the CPU has the kernel's instruction set; the lists are of rows of `a`, and their
        // places are rows of `b` (see the module).
        unsafe {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::multiply(&product),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::multiply(&product),
                _ => portable::multiply(&product),
            }
        }
    }
}

/// The functions of one instruction set.
macro_rules! instruction_set {
    ($name:ident, $vector:ty $(, $feature:literal)?) => {
        mod $name {
            use super::*;

            // SAFETY (of the functions below): the caller's, as of the functions that they compile.
            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn keep(values: &[f32], to: *mut f32, places: *mut u32) -> usize {
                unsafe { keep_all::<$vector>(values, to, places) }
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn multiply(product: &Product) {
                unsafe { multiply_all::<$vector>(product) }
            }
        }
    };
}

instruction_set!(portable, vector::Four);
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2, std::arch::x86_64::__m256, "avx2");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx512, std::arch::x86_64::__m512, "avx512f");

/// As of [`keep_not_zero`]. Always inlined, so that it is compiled for its caller's instruction set;
/// so are the functions below.
///
/// # Safety
/// The CPU has the instructions of `V`, and there is room.
#[inline(always)]
unsafe fn keep_all<V: Vector>(values: &[f32], to: *mut f32, places: *mut u32) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < values.len() {
        // SAFETY: the caller's.
        unsafe {
            let from = values.as_ptr().add(at);
            let some = if at + V::LANES <= values.len() {
                V::load(from)
            } else {
                V::load_first(from, values.len() - at)
            };
            count += some.keep_not_zero(at as u32, to.add(count), places.add(count));
        }
        at += V::LANES;
    }
    count
}

/// The whole product: the terms of some rows of `b` for all sums, then those of the next rows.
///
/// # Safety
/// The CPU has the instructions of `V`, and the pointers are those of a product.
#[inline(always)]
unsafe fn multiply_all<V: Vector>(product: &Product) {
    let at_once = (AT_ONCE / product.columns).max(1);
    let (mut limit, mut start) = (0, product.start);
    while limit < product.inner {
        limit += at_once;
        // SAFETY: the caller's.
        unsafe { multiply_terms::<V>(product, limit, start) };
        start = Start::Out;
    }
}

/// The terms below row `limit` of `b`, in blocks of columns whose sums fit the registers.
///
/// # Safety
/// As of [`multiply_all`].
#[inline(always)]
unsafe fn multiply_terms<V: Vector>(product: &Product, limit: usize, start: Start) {
    let mut column = 0;
    // SAFETY: the caller's.
    unsafe {
        while column + 8 * V::LANES <= product.columns {
            multiply_columns::<V, 8>(product, column, limit, start);
            column += 8 * V::LANES;
        }
        if column + 4 * V::LANES <= product.columns {
            multiply_columns::<V, 4>(product, column, limit, start);
            column += 4 * V::LANES;
        }
        while column < product.columns {
            multiply_columns::<V, 1>(product, column, limit, start);
            column += V::LANES;
        }
    }
}

/// These terms of the columns from `first` on: `VECTORS` vectors; if it is one, it may have fewer
/// columns than lanes.
///
/// # Safety
/// As of [`multiply_all`].
#[inline(always)]
unsafe fn multiply_columns<V: Vector, const VECTORS: usize>(
    product: &Product,
    first: usize,
    limit: usize,
    start: Start,
) {
    // SAFETY: the caller's.
    unsafe {
        let columns = product.columns - first;
        for row in 0..product.rows {
            let out = product.out.add(row * product.columns + first);
            let mut sums = [V::zero(); VECTORS];
            if let Start::Out = start {
                load::<V, VECTORS>(&mut sums, out, columns);
            }
            let mut at = *product.cursors.add(row) as usize;
            let end = *product.starts.add(row + 1) as usize;
            while at < end {
                let place = *product.places.add(at) as usize;
                if place >= limit {
                    break;
                }
                let a = V::splat(*product.values.add(at));
                let mut b = [V::zero(); VECTORS];
                load::<V, VECTORS>(&mut b, product.b.add(place * product.columns + first), columns);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = sum.plus(a.times(b));
                }
                at += 1;
            }
            for (vector, sum) in sums.into_iter().enumerate() {
                if columns < V::LANES {
                    sum.store_first(out, columns);
                } else {
                    sum.store(out.add(vector * V::LANES));
                }
            }
            // The other blocks of columns need it, too; after the last one, the next terms do.
            if columns <= VECTORS * V::LANES {
                *product.cursors.add(row) = at as u32;
            }
        }
    }
}

/// Vectors of a row, or the first `columns` lanes of one.
///
/// # Safety
/// As of [`multiply_columns`].
#[inline(always)]
unsafe fn load<V: Vector, const VECTORS: usize>(
    to: &mut [V; VECTORS],
    from: *const f32,
    columns: usize,
) {
    for (at, to) in to.iter_mut().enumerate() {
        // SAFETY: the caller's.
        *to = unsafe {
            if columns < V::LANES {
                V::load_first(from, columns)
            } else {
                V::load(from.add(at * V::LANES))
            }
        };
    }
}

#[cfg(test)]
mod tests;
