//! The values of a matrix that are not zero, in lists.

use ndarray::ArrayView2;

use super::keep_not_zero;
use crate::model::kernel::{Isa, Kernel};

/// A matrix is sparse if at most one in this many of its values is not zero. A term of a sparse
/// product takes longer than one of a dense product, and the lists have to be written.
const SHARE: usize = 3;

/// Elements of the largest matrix that is listed: bounds the memory.
pub(super) const ELEMENTS: usize = 1 << 20;

/// Fewest columns of `b`: below this, writing the lists takes longer than the products save.
pub(super) const COLUMNS: usize = 32;

/// The values of a matrix that are not zero (NaN is not), in lists by rows and by columns.
#[derive(Debug, Default)]
pub(in crate::model) struct NonZeros {
    by_row: Lists,
    by_column: Lists,
}

/// The values of the rows of a matrix that are not zero.
#[derive(Debug, Default)]
pub(in crate::model) struct Lists {
    /// Where each row's list starts, and the end of the last one.
    pub(super) starts: Vec<u32>,
    /// The column of each value, ascending in a row.
    pub(super) places: Vec<u32>,
    /// The values.
    pub(super) values: Vec<f32>,
    /// Columns of the matrix.
    pub(super) columns: usize,
}

impl Lists {
    /// Makes room for the lists of a matrix with these rows and columns, of `most` values in all.
    fn reset(&mut self, rows: usize, columns: usize, most: usize) {
        self.starts.clear();
        self.starts.resize(rows + 1, 0);
        self.columns = columns;
        // A row is written before it is known whether it is one too many, and in whole vectors.
        let room = most + rows.max(columns) + MAX_LANES;
        if self.values.len() < room {
            self.places.resize(room, 0);
            self.values.resize(room, 0.0);
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.starts.len() - 1
    }
}

/// Lanes of the widest vector.
pub(super) const MAX_LANES: usize = 16;

impl NonZeros {
    /// Bytes that the lists of matrices with at most these rows and columns take.
    pub(in crate::model) fn bytes(rows: usize, columns: usize) -> u64 {
        let most = rows.saturating_mul(columns).min(ELEMENTS) / SHARE;
        let values = most.saturating_add(rows.max(columns)).saturating_add(MAX_LANES);
        let starts = rows.saturating_add(columns).saturating_add(2);
        (16 * values as u64).saturating_add(4 * starts as u64)
    }

    /// The lists by rows: the matrix itself.
    pub(in crate::model) fn rows(&self) -> &Lists {
        &self.by_row
    }

    /// The lists by columns: the transposed matrix.
    pub(in crate::model) fn columns(&self) -> &Lists {
        &self.by_column
    }

    /// Lists the values of `matrix` for products with `outputs` columns. Returns false if the dense
    /// product is the better one; the lists are not used then.
    pub(in crate::model) fn list(
        &mut self,
        kernel: &Kernel,
        matrix: ArrayView2<'_, f32>,
        outputs: usize,
    ) -> bool {
        let (rows, columns) = matrix.dim();
        let Some(values) = matrix.to_slice() else { return false };
        if outputs < COLUMNS || values.is_empty() || values.len() > ELEMENTS {
            return false;
        }
        let most = values.len() / SHARE;
        self.by_row.reset(rows, columns, most);
        if !self.by_row.fill(kernel.isa, values, most) {
            return false;
        }
        self.by_column.reset(columns, rows, most);
        self.by_column.transpose(&self.by_row);
        true
    }
}

impl Lists {
    /// Lists the values of a dense matrix, unless there are more than `most`.
    fn fill(&mut self, isa: Isa, matrix: &[f32], most: usize) -> bool {
        let mut count = 0;
        for (row, values) in matrix.chunks_exact(self.columns).enumerate() {
            let (to, places) = (&mut self.values[count..], &mut self.places[count..]);
            count += keep_not_zero(isa, values, to, places);
            if count > most {
                return false;
            }
            self.starts[row + 1] = count as u32;
        }
        true
    }

    /// Lists the values of another matrix by its columns: sorted by counting.
    fn transpose(&mut self, of: &Self) {
        let count = of.starts[of.rows()] as usize;
        // Each start is found from the end of the list, which `starts` has first.
        for place in &of.places[..count] {
            self.starts[*place as usize] += 1;
        }
        let mut end = 0;
        for start in &mut self.starts {
            end += *start;
            *start = end;
        }
        let (places, values) = (&mut self.places[..count], &mut self.values[..count]);
        for row in (0..of.rows()).rev() {
            let list = of.starts[row] as usize..of.starts[row + 1] as usize;
            let list = of.places[list.clone()].iter().zip(&of.values[list]);
            for (place, value) in list.rev() {
                let start = &mut self.starts[*place as usize];
                *start -= 1;
                places[*start as usize] = row as u32;
                values[*start as usize] = *value;
            }
        }
    }
}
