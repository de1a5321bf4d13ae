//! Matrix products in a fixed order, with the same bits on every CPU.
//!
//! Every element of `a · b` is one sum, `((0 + a₀·b₀) + a₁·b₁) + …`, over the
//! inner dimension in its order: a multiplication and an addition for each
//! term, never fused. Vector lanes run over columns of the output, so the width of the vectors
//! does not influence the result. Library products split and fuse these sums depending on the
//! CPU, so Samebit has its own.
//!
//! The three products of a layer are one function over views:
//!
//! ```text
//! forward    out[m, n] = x[m, k]      · w[k, n]
//! weights   grad[k, n] = x[m, k].t()  · g[m, n]
//! inputs    grad[m, k] = g[m, n]      · w[k, n].t()
//! ```
//!
//! `b` is copied to panels of a few columns that are read in one stream
//! (`pack`); a tile of some rows by one panel then keeps all its sums in
//! registers (`tile`). If `x` is mostly zero, its other values are listed first, and only their terms
//! are computed (`sparse`). The other loops of a layer are in `elementwise`. These three files have
//! the `unsafe`.

mod elementwise;
mod pack;
mod sparse;
mod tile;

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, s};

pub use elementwise::Step;
pub(in crate::model) use sparse::NonZeros;
use tile::Start;

/// Instruction sets that the products are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every CPU has (on x86-64: SSE2).
    Portable,
    /// 8 lanes.
    Avx2,
    /// 16 lanes.
    Avx512,
}

impl Isa {
    /// All that there are, narrow to wide.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this CPU has it. The standard library asks the CPU once.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The widest that this CPU has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }
}

/// Computes products, and owns the working memory for them.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Available on this CPU: a kernel is made in no other way.
    isa: Isa,
    packed: Vec<f32>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { isa: Isa::best(), packed: Vec::new() }
    }
}

impl Kernel {
    /// A kernel for the widest instruction set of this CPU.
    pub fn new() -> Self {
        Self::default()
    }

    /// A kernel that uses `isa`, for comparisons; `None` if the CPU lacks it. Results have the same
    /// bits with every instruction set.
    pub fn with_isa(isa: Isa) -> Option<Self> {
        isa.is_available().then(|| Self { isa, packed: Vec::new() })
    }

    /// The instruction set of the kernel.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of working memory that products with `b [depth, columns]` take.
    pub fn bytes(depth: usize, columns: usize) -> u64 {
        let columns = columns.min(pack::BLOCK).next_multiple_of(tile::MAX_WIDTH);
        ((depth * columns + pack::ALIGNMENT) * size_of::<f32>()) as u64
    }

    /// `out = a · b`, for `a [m, k]`, `b [k, n]`, `out [m, n]`. `out` is in
    /// standard layout; `a` and `b` may be transposed views.
    ///
    /// # Panics
    /// If the shapes do not match: a bug of the caller.
    pub fn multiply(
        &mut self,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
    ) {
        self.run(a, b, out, Start::Zero);
    }

    /// `out = out + a · b`: continues each sum from the value in `out`, so that a product over a
    /// long inner dimension, computed in several parts, has the same bits as in one part.
    ///
    /// # Panics
    /// Like [`Kernel::multiply`].
    pub fn multiply_add(
        &mut self,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
    ) {
        self.run(a, b, out, Start::Out);
    }

    fn run(
        &mut self,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        mut out: ArrayViewMut2<'_, f32>,
        start: Start,
    ) {
        let (rows, columns) = out.dim();
        assert_eq!(a.dim().0, rows, "rows of a and of the output");
        assert_eq!(a.dim().1, b.dim().0, "columns of a and rows of b");
        assert_eq!(b.dim().1, columns, "columns of b and of the output");
        assert!(out.is_standard_layout(), "the output is in standard layout");

        if a.ncols() == 0 {
            if let Start::Zero = start {
                out.fill(0.0);
            }
            return;
        }
        for first in (0..columns).step_by(pack::BLOCK) {
            let block = first..(first + pack::BLOCK).min(columns);
            self.run_block(a, b, &mut out, block, start);
        }
    }

    /// Computes the columns `block` of the output: packs them, then goes down the rows, so that the
    /// rows of `a` stay in the cache.
    fn run_block(
        &mut self,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        out: &mut ArrayViewMut2<'_, f32>,
        block: Range<usize>,
        start: Start,
    ) {
        let shape = tile::Shape::of(self.isa);
        let panel_len = b.nrows() * shape.width;
        let panels = block.len().div_ceil(shape.width);
        let packed = pack::room(&mut self.packed, panels * panel_len);
        let columns = |panel: usize| {
            let first = block.start + panel * shape.width;
            first..(first + shape.width).min(block.end)
        };
        for (at, panel) in packed.chunks_exact_mut(panel_len).enumerate() {
            pack::pack(panel, b.slice(s![.., columns(at)]), shape.width);
        }
        for rows in shape.row_groups(out.nrows()) {
            for (at, panel) in packed.chunks_exact(panel_len).enumerate() {
                tile::run(self.isa, &a, panel, out, rows.clone(), columns(at), start);
            }
        }
    }
}

#[cfg(test)]
mod tests;
