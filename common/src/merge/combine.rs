//! Combines two contributions.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::values::{blocks, empty_block};
use super::{Contribution, Merge, Real, RealContribution, UnitCounts, UnitMaps};
use super::{Values, Whole, WholeContribution};
use crate::state::values::TASK_VALUES;

impl Merge for Contribution {
    /// # Panics
    ///
    /// If the two are not of the same segment of the same tensor.
    fn merge(self, right: Self) -> Self {
        match (self, right) {
            (Self::F32(left), Self::F32(right)) => Self::F32(left.merge(right)),
            (Self::F64(left), Self::F64(right)) => Self::F64(left.merge(right)),
            (Self::U64(left), Self::U64(right)) => Self::U64(left.merge(right)),
            (Self::I64(left), Self::I64(right)) => Self::I64(left.merge(right)),
            _ => panic!("contributions to different types"),
        }
    }
}

impl<T: Real> Merge for RealContribution<T> {
    /// # Panics
    ///
    /// If the two are not of the same segment of the same tensor.
    fn merge(self, right: Self) -> Self {
        match (self, right) {
            (
                Self::Mean { examples: nl, values: left },
                Self::Mean { examples: nr, values: right },
            ) => {
                let t = share(nl, nr);
                let values = combine_values(left, &right, |l, r| average(l, r, t));
                Self::Mean { examples: nl.saturating_add(nr), values }
            }
            (
                Self::MeanBy { counts: left, values: left_values },
                Self::MeanBy { counts: right, values: right_values },
            ) => mean_by(left, left_values, right, right_values),
            (Self::Sum(left), Self::Sum(right)) => {
                Self::Sum(combine_values(left, &right, |l, r| l + r))
            }
            (Self::Max(left), Self::Max(right)) => {
                // Not the `max` of floats: its result for 0 and −0 depends on the CPU.
                Self::Max(combine_values(left, &right, |l, r| if r > l { r } else { l }))
            }
            (Self::Fold(left), Self::Fold(right)) => fold(left, right),
            _ => panic!("contributions of different rules"),
        }
    }
}

impl<T: Whole> Merge for WholeContribution<T> {
    /// # Panics
    ///
    /// If the two are not of the same segment of the same tensor.
    fn merge(self, right: Self) -> Self {
        match (self, right) {
            (Self::Sum(mut left), Self::Sum(right)) => {
                combine(&mut left, &right, T::wrapping_add);
                Self::Sum(left)
            }
            (Self::Max(mut left), Self::Max(right)) => {
                combine(&mut left, &right, T::max);
                Self::Max(left)
            }
            _ => panic!("contributions of different rules"),
        }
    }
}

/// The right side's share of `nl + nr` examples.
fn share<T: Real>(nl: u64, nr: u64) -> T {
    T::from_f64(nr as f64 / nl.saturating_add(nr).max(1) as f64)
}

/// `l + t·(r − l)`. Equal values are unchanged, including −0.
fn average<T: Real>(l: T, r: T, t: T) -> T {
    let x = l + t * (r - l);
    if l == r { l } else { x }
}

/// Combines element by element, in the memory of `left` if it has its own.
fn combine_values<T: Real>(
    left: Values<T>,
    right: &Values<T>,
    f: impl Fn(T, T) -> T + Sync,
) -> Values<T> {
    assert_eq!(left.len(), right.len(), "contributions to one segment");
    let (mut scratch, mut other) = (empty_block(), empty_block());
    match (left, right) {
        (Values::Owned(mut left), Values::Owned(right)) => {
            combine(&mut left, right, f);
            left.into()
        }
        (Values::Owned(mut left), right) => {
            for at in blocks(left.len()) {
                let right = right.block(at.clone(), &mut scratch);
                for (l, r) in left[at].iter_mut().zip(right) {
                    *l = f(*l, *r);
                }
            }
            left.into()
        }
        (left, right) => {
            let mut values = Vec::with_capacity(left.len());
            for at in blocks(left.len()) {
                let left = left.block(at.clone(), &mut other);
                let right = right.block(at, &mut scratch);
                values.extend(left.iter().zip(right).map(|(l, r)| f(*l, *r)));
            }
            values.into()
        }
    }
}

/// Combines element by element, into `left`. Long ranges are split into tasks; as elements are
/// independent, the division does not matter.
fn combine<T: Copy + Send + Sync>(left: &mut [T], right: &[T], f: impl Fn(T, T) -> T + Sync) {
    assert_eq!(left.len(), right.len(), "contributions to one segment");
    let run = |(left, right): (&mut [T], &[T])| {
        for (l, r) in left.iter_mut().zip(right) {
            *l = f(*l, *r);
        }
    };
    if left.len() <= TASK_VALUES {
        run((left, right));
    } else {
        left.par_chunks_mut(TASK_VALUES).zip(right.par_chunks(TASK_VALUES)).for_each(run);
    }
}

fn mean_by<T: Real>(
    left: UnitCounts,
    left_values: Vec<T>,
    right: UnitCounts,
    right_values: Vec<T>,
) -> RealContribution<T> {
    let joined = Joined::of(&left.units, &right.units);
    let (cl, cr) = (&left.counts, &right.counts);
    let values = joined.values(left_values, &right_values, |l, r| {
        let t = share(cl[l], cr[r]);
        move |l, r| average(l, r, t)
    });
    let counts = joined.map(|l, r| match (l, r) {
        (Some(l), Some(r)) => cl[l].saturating_add(cr[r]),
        (Some(l), None) => cl[l],
        (None, r) => cr[r.expect(A_SIDE)],
    });
    RealContribution::MeanBy { counts: UnitCounts { units: joined.units, counts }, values }
}

fn fold<T: Real>(left: UnitMaps<T>, right: UnitMaps<T>) -> RealContribution<T> {
    let joined = Joined::of(&left.units, &right.units);
    let (al, ar) = (&left.a, &right.a);
    let b = joined.values(left.b, &right.b, |_, r| {
        let a = ar[r];
        move |l, r| a * l + r
    });
    let a = joined.map(|l, r| match (l, r) {
        (Some(l), Some(r)) => ar[r] * al[l],
        (Some(l), None) => al[l],
        (None, r) => ar[r.expect(A_SIDE)],
    });
    RealContribution::Fold(UnitMaps { units: joined.units, a, b })
}

/// The union of two ascending lists of units.
struct Joined {
    units: Vec<u32>,
    /// The index of each unit in the left and in the right list.
    places: Vec<(Option<usize>, Option<usize>)>,
    /// Whether the lists are equal.
    is_same: bool,
}

impl Joined {
    fn of(left: &[u32], right: &[u32]) -> Self {
        let longest = left.len() + right.len();
        let mut units = Vec::with_capacity(longest);
        let mut places = Vec::with_capacity(longest);
        let (mut l, mut r) = (0, 0);
        while l < left.len() || r < right.len() {
            let order = match (left.get(l), right.get(r)) {
                (Some(left), Some(right)) => left.cmp(right),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order.is_le() {
                units.push(left[l]);
            } else {
                units.push(right[r]);
            }
            places.push((order.is_le().then_some(l), order.is_ge().then_some(r)));
            l += usize::from(order.is_le());
            r += usize::from(order.is_ge());
        }
        Self { units, places, is_same: left == right }
    }

    /// One number per unit.
    fn map<T>(&self, f: impl Fn(Option<usize>, Option<usize>) -> T) -> Vec<T> {
        self.places.iter().map(|(l, r)| f(*l, *r)).collect()
    }

    /// All units' values, one unit after another. `both(l, r)` gives what combines a value of
    /// place `l` of the left list with one of place `r` of the right list.
    fn values<T: Real, F: Fn(T, T) -> T>(
        &self,
        mut left: Vec<T>,
        right: &[T],
        both: impl Fn(usize, usize) -> F + Sync,
    ) -> Vec<T> {
        if self.units.is_empty() {
            return left;
        }
        let sides =
            self.places.iter().map(|(l, r)| usize::from(l.is_some()) + usize::from(r.is_some()));
        let unit_len = (left.len() + right.len()) / sides.sum::<usize>();
        let at = |place: usize| place * unit_len..(place + 1) * unit_len;

        if self.is_same {
            each_unit(&mut left, unit_len, |unit, values| {
                let combine = both(unit, unit);
                for (l, r) in values.iter_mut().zip(&right[at(unit)]) {
                    *l = combine(*l, *r);
                }
            });
            return left;
        }
        let length = self.units.len() * unit_len;
        if length <= TASK_VALUES {
            return self.append_values(&left, right, unit_len, both);
        }
        let mut joined = vec![T::default(); length];
        each_unit(&mut joined, unit_len, |unit, values| match self.places[unit] {
            (Some(l), Some(r)) => {
                let (combine, pairs) = (both(l, r), left[at(l)].iter().zip(&right[at(r)]));
                for (value, (l, r)) in values.iter_mut().zip(pairs) {
                    *value = combine(*l, *r);
                }
            }
            (Some(l), None) => values.copy_from_slice(&left[at(l)]),
            (None, r) => values.copy_from_slice(&right[at(r.expect(A_SIDE))]),
        });
        joined
    }

    /// [`Joined::values`] of few values: one pass over memory that need not be cleared first.
    fn append_values<T: Real, F: Fn(T, T) -> T>(
        &self,
        left: &[T],
        right: &[T],
        unit_len: usize,
        both: impl Fn(usize, usize) -> F,
    ) -> Vec<T> {
        let at = |place: usize| place * unit_len..(place + 1) * unit_len;
        let mut joined = Vec::with_capacity(self.units.len() * unit_len);
        for places in &self.places {
            match *places {
                (Some(l), Some(r)) => {
                    let (combine, pairs) = (both(l, r), left[at(l)].iter().zip(&right[at(r)]));
                    joined.extend(pairs.map(|(l, r)| combine(*l, *r)));
                }
                (Some(l), None) => joined.extend_from_slice(&left[at(l)]),
                (None, r) => joined.extend_from_slice(&right[at(r.expect(A_SIDE))]),
            }
        }
        joined
    }
}

/// What every joined unit has.
const A_SIDE: &str = "a joined unit has a side";

/// Calls `f(place, values)` for each unit's values, in parallel if there are many.
fn each_unit<T: Real>(values: &mut [T], unit_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let units = (TASK_VALUES / unit_len).max(1);
    let run = |(task, values): (usize, &mut [T])| {
        for (place, values) in values.chunks_exact_mut(unit_len).enumerate() {
            f(task * units + place, values);
        }
    };
    if values.len() <= TASK_VALUES {
        run((0, values));
    } else {
        values.par_chunks_mut(units * unit_len).enumerate().for_each(run);
    }
}
