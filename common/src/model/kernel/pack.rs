//! Copies a panel of columns of `b` to where a tile reads it in one stream.

use ndarray::{ArrayView2, Axis, s};

/// Columns that are packed at a time, at most: bounds the memory.
pub(super) const BLOCK: usize = 128;

/// Panels start at a multiple of this number of values: a cache line, so that no vector load
/// crosses one.
pub(super) const ALIGNMENT: usize = 16;

/// The side of the squares that a transposed panel is copied in: one vector
/// that every CPU has.
const SQUARE: usize = 4;

/// Room for panels of `len` values in all, from a cache line on. `buffer` only
/// grows.
pub(super) fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + ALIGNMENT {
        buffer.resize(len + ALIGNMENT, 0.0);
    }
    let aligned = buffer.as_ptr().align_offset(ALIGNMENT * size_of::<f32>()).min(ALIGNMENT);
    &mut buffer[aligned..aligned + len]
}

/// Copies `columns [k, count]` to a panel `[k, width]`, with zeros past
/// `count`.
pub(super) fn pack(panel: &mut [f32], columns: ArrayView2<'_, f32>, width: usize) {
    if columns.ncols() < width {
        panel.fill(0.0);
    }
    if columns.strides()[0] == 1 {
        copy_columns(panel, columns, width);
    } else {
        copy_rows(panel, columns, width, 0);
    }
}

/// Row by row, to columns `at ..` of the panel: for columns of a `b` whose
/// rows are contiguous, and right for any.
fn copy_rows(panel: &mut [f32], columns: ArrayView2<'_, f32>, width: usize, at: usize) {
    for (to, from) in panel.chunks_exact_mut(width).zip(columns.rows()) {
        match from.as_slice() {
            Some(from) => to[at..at + from.len()].copy_from_slice(from),
            None => to[at..].iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        }
    }
}

/// For a transposed `b`, whose columns are contiguous: in squares, so that
/// reads and writes are both whole vectors.
fn copy_columns(panel: &mut [f32], columns: ArrayView2<'_, f32>, width: usize) {
    let mut at = 0;
    for four in columns.axis_chunks_iter(Axis(1), SQUARE) {
        if four.ncols() == SQUARE {
            copy_four(panel, four, width, at);
        } else {
            copy_rows(panel, four, width, at);
        }
        at += SQUARE;
    }
}

/// Four columns, to columns `at ..` of the panel.
fn copy_four(panel: &mut [f32], four: ArrayView2<'_, f32>, width: usize, at: usize) {
    let whole = four.nrows() / SQUARE * SQUARE;
    let column = |column: usize| {
        let values = four.index_axis_move(Axis(1), column);
        let (squares, _) =
            values.to_slice().map_or((&[][..], &[][..]), |v| v.as_chunks::<SQUARE>());
        squares
    };
    let [a, b, c, d] = [column(0), column(1), column(2), column(3)];
    let rows = panel.chunks_exact_mut(SQUARE * width);
    for ((((to, a), b), c), d) in rows.zip(a).zip(b).zip(c).zip(d) {
        for row in 0..SQUARE {
            to[row * width + at..][..SQUARE].copy_from_slice(&[a[row], b[row], c[row], d[row]]);
        }
    }
    copy_rows(&mut panel[whole * width..], four.slice(s![whole.., ..]), width, at);
}
