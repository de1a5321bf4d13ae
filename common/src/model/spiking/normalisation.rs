//! Normalisation: the weights of every neuron add up to the same sum.
//!
//! The published script rescales every column before each presentation. A
//! column that has not changed since would be scaled by 1, give or take a
//! rounding error, so only those that changed are: after a presentation those
//! of the neurons that spiked, after a merge those that differ from the base.

use ndarray::parallel::prelude::*;
use ndarray::{Array1, ArrayView2, ArrayViewMut2, Axis};

use super::kernel;
use super::lanes::{GROUP, Line};
use super::weights::Weights;
use crate::model::kernel::Isa;

/// Columns that one task rescales after a merge.
const TASK_COLUMNS: usize = 64;

/// Parts that a column's sum is split in: the kernel's and the merge's sums
/// have the same bits.
const PARTS: usize = 4;

/// Rescales the columns of those neurons of a group that have `changed`, and
/// returns the factors of all its lanes: 1 for those that have not.
pub(super) fn rescale_group(
    isa: Isa,
    weights: &mut Weights,
    group: usize,
    changed: [bool; GROUP],
    weight_sum: f32,
) -> Line {
    let sums = kernel::column_sums(isa, weights.group(group));
    let mut factors = Line([1.0; GROUP]);
    for ((scaled, sum), changed) in factors.0.iter_mut().zip(sums.0).zip(changed) {
        if changed {
            *scaled = rescaling(sum, weight_sum);
        }
    }
    kernel::scale_columns(isa, weights.group_mut(group), &factors);
    factors
}

/// Clips and rescales the columns of a merged matrix `[inputs, neurons]` that
/// differ from those of `base`, in parallel by neuron.
pub(super) fn rescale_changed(
    base: ArrayView2<'_, f32>,
    mut merged: ArrayViewMut2<'_, f32>,
    weight_max: f32,
    weight_sum: f32,
) {
    let tasks = merged
        .axis_chunks_iter_mut(Axis(1), TASK_COLUMNS)
        .into_par_iter()
        .zip(base.axis_chunks_iter(Axis(1), TASK_COLUMNS).into_par_iter());
    tasks.for_each(|(mut merged, base)| {
        let mut changed = [0; TASK_COLUMNS];
        let mut sums = [[0.0_f32; TASK_COLUMNS]; PARTS];
        for (row, (merged, base)) in merged.rows().into_iter().zip(base.rows()).enumerate() {
            let sums = &mut sums[row % PARTS];
            let merged = merged.as_slice().expect("rows of a state are in standard layout");
            let base = base.as_slice().expect("rows of a state are in standard layout");
            let weights = merged.iter().zip(base).zip(&mut changed).zip(sums);
            for (((weight, base), changed), sum) in weights {
                *changed |= weight.to_bits() ^ base.to_bits();
                *sum += clipped(*weight, weight_max);
            }
        }
        let mut factors = [1.0; TASK_COLUMNS];
        for (at, factor) in factors.iter_mut().enumerate() {
            let sum = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at]);
            *factor = rescaling(sum, weight_sum);
        }
        // Row by row: a column's values are far from each other.
        for mut row in merged.rows_mut() {
            let row = row.as_slice_mut().expect("rows of a state are in standard layout");
            for ((weight, factor), changed) in row.iter_mut().zip(&factors).zip(&changed) {
                let scaled = clipped(*weight, weight_max) * factor;
                *weight = if *changed == 0 { *weight } else { scaled };
            }
        }
    });
}

/// Rescales all columns.
pub(super) fn rescale_all(mut weights: ArrayViewMut2<'_, f32>, weight_sum: f32) {
    let mut sums = vec![[0.0_f32; PARTS]; weights.ncols()];
    for (row, values) in weights.rows().into_iter().enumerate() {
        for (sums, weight) in sums.iter_mut().zip(values) {
            sums[row % PARTS] += weight;
        }
    }
    let factors: Array1<f32> =
        sums.iter().map(|s| rescaling((s[0] + s[1]) + (s[2] + s[3]), weight_sum)).collect();
    for mut row in weights.rows_mut() {
        row *= &factors;
    }
}

/// What a column of this sum is multiplied by. One without weights stays as it
/// is.
fn rescaling(sum: f32, weight_sum: f32) -> f32 {
    if sum > 0.0 { weight_sum / sum } else { 1.0 }
}

/// A weight within its limits.
fn clipped(weight: f32, weight_max: f32) -> f32 {
    // Not f32::clamp, which would say nothing of −0.
    if weight > 0.0 { if weight < weight_max { weight } else { weight_max } } else { 0.0 }
}
