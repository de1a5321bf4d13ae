//! The inner loop: a tile of the output, all its sums in registers.
//!
//! What makes the `unsafe` sound:
//! - **Instructions.** A function compiled for an instruction set is called
//!   only through [`run`] with that [`Isa`], and a [`super::Kernel`], its only
//!   caller, holds none that the CPU lacks.
//! - **Pointers.** [`run`] takes them from two ndarray views and a panel that
//!   live through the call, after it has checked that the tile's rows and
//!   columns are theirs. Every access is to an element of these.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Isa;
use crate::model::vector::{self, Vector};

/// Where the sums of a tile start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// At zero.
    Zero,
    /// At the values of the output.
    Out,
}

/// The tile of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Columns of a panel.
    pub(super) width: usize,
    /// Most rows.
    rows: usize,
}

/// Columns of the widest panel.
pub(super) const MAX_WIDTH: usize = 16;

impl Shape {
    /// Tiles that fill the registers. AVX-512 multiplies by a value from memory in one
    /// instruction, so many rows of one vector are best; other sets need a separate load, which
    /// two vectors share.
    pub(super) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Portable => Self { width: 2 * 4, rows: 6 },
            Isa::Avx2 => Self { width: 2 * 8, rows: 6 },
            Isa::Avx512 => Self { width: 16, rows: 24 },
        }
    }

    /// Cuts `rows` into as few groups as fit the registers, of even size: two
    /// rows left over would cost nearly as much as a whole tile.
    pub(super) fn row_groups(self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let groups = rows.div_ceil(self.rows);
        (0..groups).map(move |group| group * rows / groups..(group + 1) * rows / groups)
    }
}

/// One tile of work, as pointers.
#[derive(Clone, Copy)]
struct Tile {
    /// Length of every sum.
    depth: usize,
    /// First element of the tile's first row of `a`.
    a: *const f32,
    /// From a row of `a` to the next.
    a_row: isize,
    /// From a term of a row's sums to the next.
    a_step: isize,
    /// `[depth, width]`.
    panel: *const f32,
    /// The tile's first element of the output.
    out: *mut f32,
    /// From a row of the output to the next.
    out_row: isize,
    /// Columns to write, at most the panel's width.
    columns: usize,
    /// Where the sums start.
    start: Start,
}

/// Computes `rows` and `columns` of `out` from the panel of those columns of
/// `b`.
#[inline]
pub(super) fn run(
    isa: Isa,
    a: &ArrayView2<'_, f32>,
    panel: &[f32],
    out: &mut ArrayViewMut2<'_, f32>,
    rows: Range<usize>,
    columns: Range<usize>,
    start: Start,
) {
    let (depth, shape) = (a.ncols(), Shape::of(isa));
    assert!(depth > 0 && panel.len() == depth * shape.width, "a whole panel");
    assert!(rows.start < rows.end && rows.len() <= shape.rows, "rows of one tile");
    assert!(rows.end <= a.nrows() && rows.end <= out.nrows(), "rows of a and of the output");
    assert!(columns.start < columns.end && columns.len() <= shape.width, "columns of one tile");
    // The stride of an axis of one element may be anything.
    let is_dense = out.ncols() == 1 || out.strides()[1] == 1;
    assert!(columns.end <= out.ncols() && is_dense, "columns of the output");
    let [a_row, a_step] = [a.strides()[0], a.strides()[1]];
    let out_row = out.strides()[0];
    let tile = Tile {
        depth,
        a: a.as_ptr().wrapping_offset(rows.start as isize * a_row),
        a_row,
        a_step,
        panel: panel.as_ptr(),
        out: out
            .as_mut_ptr()
            .wrapping_offset(rows.start as isize * out_row)
            .wrapping_add(columns.start),
        out_row,
        columns: columns.len(),
        start,
    };
    // SAFETY: the CPU has `isa`, and the rows and columns of the tile are of
    // `a`, `panel` and `out` (see the module).
    unsafe { function(isa, rows.len())(&tile) }
}

type Function = unsafe fn(&Tile);

/// The function compiled for an instruction set and a number of rows.
fn function(isa: Isa, rows: usize) -> Function {
    macro_rules! pick {
        ($function:ident: $($rows:literal)*) => {
            match rows {
                $($rows => $function::<$rows>,)*
                _ => unreachable!("no tile of {rows} rows"),
            }
        };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            pick!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => pick!(avx2: 1 2 3 4 5 6),
        _ => pick!(portable: 1 2 3 4 5 6),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const ROWS: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe { sums::<std::arch::x86_64::__m512, ROWS, 1>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<const ROWS: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe { sums::<std::arch::x86_64::__m256, ROWS, 2>(tile) }
}

unsafe fn portable<const ROWS: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe { sums::<vector::Four, ROWS, 2>(tile) }
}

/// Runs a block for each row of a tile, written out: a loop over up to 24 rows
/// is not always unrolled, and then the sums live in memory.
macro_rules! for_rows {
    ($rows:ident, $row:ident, $block:block) => {
        for_rows!(@ $rows, $row, $block,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23)
    };
    (@ $rows:ident, $row:ident, $block:block, $($number:literal)*) => {
        $(if $number < $rows {
            let $row: usize = $number;
            $block
        })*
    };
}

/// Rows whose places are found from one pointer, by adding up: with one
/// pointer for all, that chain of additions takes longer than the sums.
const POINTER_ROWS: usize = 4;

/// Pointers for the most rows of a tile.
const POINTERS: usize = 24 / POINTER_ROWS;

/// The sums of one tile, term by term. Always inlined, so that it is compiled
/// for its caller's instruction set.
///
/// # Safety
/// The CPU has the instructions of `V`, and all of the tile's pointers are
/// good for `ROWS` rows, `depth` terms and `columns` columns; the panel is
/// `VECTORS` vectors wide.
#[inline(always)]
unsafe fn sums<V: Vector, const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        if let Start::Out = tile.start {
            for_rows!(ROWS, row, {
                sums[row] = load::<V, VECTORS>(tile.out_row(row), tile.columns);
            });
        }
        let mut a = [tile.a; POINTERS];
        for (at, a) in a.iter_mut().enumerate().take(ROWS.div_ceil(POINTER_ROWS)).skip(1) {
            let rows = (at * POINTER_ROWS) as isize;
            // Unless it is hidden, the compiler sees that they are one.
            *a = black_box(a.wrapping_offset(rows * tile.a_row));
        }
        let (mut step, mut panel) = (0, tile.panel);
        for _ in 0..tile.depth {
            let b: [V; VECTORS] = std::array::from_fn(|at| V::load(panel.add(at * V::LANES)));
            for_rows!(ROWS, row, {
                let offset = step + (row % POINTER_ROWS) as isize * tile.a_row;
                let a = V::splat(*a[row / POINTER_ROWS].offset(offset));
                for (sum, b) in sums[row].iter_mut().zip(b) {
                    *sum = sum.plus(a.times(b));
                }
            });
            step += tile.a_step;
            panel = panel.add(VECTORS * V::LANES);
        }
        for_rows!(ROWS, row, { store(sums[row], tile.out_row(row), tile.columns) });
    }
}

impl Tile {
    /// # Safety
    /// The output has the row.
    #[inline(always)]
    unsafe fn out_row(&self, row: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { self.out.offset(row as isize * self.out_row) }
    }
}

/// The values of a row of the output, with zeros past `columns`.
///
/// # Safety
/// As of [`sums`].
#[inline(always)]
unsafe fn load<V: Vector, const VECTORS: usize>(from: *const f32, columns: usize) -> [V; VECTORS] {
    std::array::from_fn(|at| {
        let first = at * V::LANES;
        // SAFETY: the caller's.
        unsafe { V::load_first(from.wrapping_add(first), columns.saturating_sub(first)) }
    })
}

/// Writes the first `columns` sums to a row of the output.
///
/// # Safety
/// As of [`sums`].
#[inline(always)]
unsafe fn store<V: Vector, const VECTORS: usize>(sums: [V; VECTORS], to: *mut f32, columns: usize) {
    for (at, sum) in sums.into_iter().enumerate() {
        let first = at * V::LANES;
        // SAFETY: the caller's.
        unsafe {
            if columns >= first + V::LANES {
                sum.store(to.add(first));
            } else {
                sum.store_first(to.wrapping_add(first), columns.saturating_sub(first));
            }
        }
    }
}
