//! Computes the next state from the merged contributions and the base.

use std::ops::Range;

use rayon::prelude::*;

use super::values::{blocks, empty_block};
use super::{Contribution, MergeRule, Partial, Real, RealContribution, Values};
use super::{Whole, WholeContribution};
use crate::state::values::{TASK_VALUES, first_not_finite};
use crate::state::{ElementType, NetworkState, Segment, Tensor, TensorData, for_element};

/// Finishes one merge segment: writes `next`'s values from `merged` (the root
/// of the tree) and `base`'s. Writes every element of the segment, and no
/// other.
///
/// Tensors under `keep` have no merge segments: see [`copy_kept`].
///
/// # Panics
///
/// If the states are not of one layout, or `merged` is not of this segment.
pub fn finish_segment(
    base: &NetworkState,
    segment: &Segment,
    merged: Option<&Contribution>,
    next: &mut NetworkState,
) {
    let base = base.tensor_at(segment.tensor).1;
    let next = &mut next.tensor_at_mut(segment.tensor).data;
    let range = segment.range.clone();
    match base.data.element() {
        ElementType::F32 => finish_reals::<f32>(base, range, merged, next),
        ElementType::F64 => finish_reals::<f64>(base, range, merged, next),
        ElementType::U64 => finish_wholes::<u64>(base, range, merged, next),
        ElementType::I64 => finish_wholes::<i64>(base, range, merged, next),
    }
}

/// What a caller that panics has done.
const OF_ANOTHER_TYPE: &str = "contributions to the tensor's type";

fn finish_reals<T: Real>(
    base: &Tensor,
    range: Range<usize>,
    merged: Option<&Contribution>,
    next: &mut TensorData,
) {
    let merged = merged.map(|merged| T::of(merged).expect(OF_ANOTHER_TYPE));
    if base.rule.by_unit() {
        let units = base.data.shape().last().copied().expect("a tensor has an axis");
        return finish_units::<T>(base.data.slice(), range, units, merged, next.slice_mut());
    }
    let base = &base.data.slice::<T>()[range.clone()];
    let next = &mut next.slice_mut::<T>()[range];
    match merged {
        None => copy(next, base),
        Some(RealContribution::Mean { values, .. } | RealContribution::Max(values)) => {
            finish_values(next, values, base, |_, x| x);
        }
        Some(RealContribution::Sum(changes)) => {
            finish_values(next, changes, base, |base, change| base + change);
        }
        Some(_) => panic!("a contribution of another rule"),
    }
}

fn finish_wholes<T: Whole>(
    base: &Tensor,
    range: Range<usize>,
    merged: Option<&Contribution>,
    next: &mut TensorData,
) {
    let base = &base.data.slice::<T>()[range.clone()];
    let next = &mut next.slice_mut::<T>()[range];
    match merged.map(|merged| T::of(merged).expect(OF_ANOTHER_TYPE)) {
        None => copy(next, base),
        Some(WholeContribution::Max(values)) => copy(next, values),
        Some(WholeContribution::Sum(changes)) => add(next, base, changes, T::wrapping_add),
    }
}

/// Whether all values of a finished segment are finite.
///
/// # Panics
///
/// If the segment is not of the state's layout.
pub fn is_segment_finite(state: &NetworkState, segment: &Segment) -> bool {
    let tensor = state.tensor_at(segment.tensor).1;
    for_element!(tensor.data.element(), T => {
        let values = tensor.data.slice::<T>();
        if !tensor.rule.by_unit() {
            return first_not_finite(&values[segment.range.clone()]).is_none();
        }
        let units = tensor.data.shape().last().copied().expect("a tensor has an axis");
        let mut rows = values.chunks_exact(units);
        rows.all(|row| first_not_finite(&row[segment.range.clone()]).is_none())
    })
}

/// Copies the tensors under `keep`, which have no merge segments.
///
/// # Panics
///
/// If the states are not of one layout.
pub fn copy_kept(base: &NetworkState, next: &mut NetworkState) {
    for (place, tensor) in base.tensors().values().enumerate() {
        if tensor.rule == MergeRule::Keep {
            let segment = Segment { tensor: place, range: 0..tensor.data.len() };
            finish_segment(base, &segment, None, next);
        }
    }
}

/// Finishes a whole step at once: the state after `merged`.
///
/// # Panics
///
/// If `merged` is not of `base`'s layout.
pub fn finish(base: &NetworkState, merged: Option<&Partial>) -> NetworkState {
    let layout = base.layout();
    let mut next = NetworkState::zeros(&layout).expect("the layout of a state is valid");
    for (place, tensor) in layout.tensors.iter().enumerate() {
        let length = if tensor.rule.by_unit() { tensor.units() } else { tensor.elements() };
        let segment = Segment { tensor: place, range: 0..length };
        let merged = merged.and_then(|partial| partial.tensors[place].as_ref());
        finish_segment(base, &segment, merged, &mut next);
    }
    next
}

/// Writes `f` of the base and the merged values.
fn finish_values<T: Real>(
    next: &mut [T],
    values: &Values<T>,
    base: &[T],
    f: impl Fn(T, T) -> T + Sync,
) {
    if let Values::Owned(values) = values {
        return add(next, base, values, f);
    }
    assert_eq!(next.len(), values.len(), "values for one segment");
    let mut scratch = empty_block();
    for at in blocks(next.len()) {
        let values = values.block(at.clone(), &mut scratch);
        for ((next, base), value) in next[at.clone()].iter_mut().zip(&base[at]).zip(values) {
            *next = f(*base, *value);
        }
    }
}

/// Copies values, long runs in parallel.
fn copy<T: Copy + Send + Sync>(next: &mut [T], values: &[T]) {
    assert_eq!(next.len(), values.len(), "values for one segment");
    let tasks = next.par_chunks_mut(TASK_VALUES).zip(values.par_chunks(TASK_VALUES));
    tasks.for_each(|(next, values)| next.copy_from_slice(values));
}

/// Adds changes to the base, long runs in parallel.
fn add<T: Copy + Send + Sync>(
    next: &mut [T],
    base: &[T],
    changes: &[T],
    add: impl Fn(T, T) -> T + Sync,
) {
    assert_eq!(next.len(), changes.len(), "changes for one segment");
    let tasks = next
        .par_chunks_mut(TASK_VALUES)
        .zip(base.par_chunks(TASK_VALUES))
        .zip(changes.par_chunks(TASK_VALUES));
    tasks.for_each(|((next, base), changes)| {
        for ((next, base), change) in next.iter_mut().zip(base).zip(changes) {
            *next = add(*base, *change);
        }
    });
}

/// Finishes the units of `range` of a tensor with `all_units`.
fn finish_units<T: Real>(
    base: &[T],
    range: Range<usize>,
    all_units: usize,
    merged: Option<&RealContribution<T>>,
    next: &mut [T],
) {
    match merged {
        None => write_units(base, range, all_units, (&[], &[]), |_, x, _| x, next),
        Some(RealContribution::MeanBy { counts, values }) => {
            write_units(base, range, all_units, (&counts.units, values), |_, _, x| x, next);
        }
        Some(RealContribution::Fold(maps)) => {
            let apply = |place: usize, x: T, b: T| maps.a[place] * x + b;
            write_units(base, range, all_units, (&maps.units, &maps.b), apply, next);
        }
        Some(_) => panic!("a contribution of another rule"),
    }
}

/// Writes the units of `range`: the base's values, or `f(place, base, value)`
/// for the touched ones, which come with their values one unit after another.
fn write_units<T: Real>(
    base: &[T],
    range: Range<usize>,
    all_units: usize,
    (units, values): (&[u32], &[T]),
    f: impl Fn(usize, T, T) -> T + Sync,
    next: &mut [T],
) {
    /// Rows written by one task: a unit's values for them lie together.
    const ROWS: usize = 16;
    let unit_len = base.len() / all_units;
    assert_eq!(values.len(), units.len() * unit_len, "values for one segment");
    assert!(units.iter().all(|unit| range.contains(&(*unit as usize))), "units of one segment");
    let run = |(task, (next, base)): (usize, (&mut [T], &[T]))| {
        let rows = next.chunks_exact_mut(all_units).zip(base.chunks_exact(all_units));
        rows.for_each(|(next, base)| next[range.clone()].copy_from_slice(&base[range.clone()]));
        let rows = next.len() / all_units;
        for (place, unit) in units.iter().enumerate() {
            let values = &values[place * unit_len + task * ROWS..][..rows];
            let column = |first: usize| (first..).step_by(all_units);
            for (at, value) in column(*unit as usize).zip(values) {
                next[at] = f(place, base[at], *value);
            }
        }
    };
    let tasks =
        (next.par_chunks_mut(ROWS * all_units)).zip(base.par_chunks(ROWS * all_units)).enumerate();
    tasks.for_each(run);
}
