//! What each rule gives, against plain sums in f64.

use proptest::prelude::*;

use super::super::*;
use super::case::{Case, Random, Tested, case, ended, slice};
use crate::state::values::value_bytes;
use crate::state::{NetworkState, Number, for_element};

type Outcome = Result<(), TestCaseError>;

proptest! {
    #[test]
    fn mean_of_equal_states_is_that_state(seed: u64) {
        let random = &mut Random(seed);
        let mut case = case(random);
        let same = ended(random, &case.base);
        for replica in case.replicas.iter_mut().flatten() {
            replica.state = same.state.clone();
        }
        prop_assume!(case.replicas.iter().any(Option::is_some));
        let next = case.next();
        for name in ["mean", "f64.mean"] {
            prop_assert!(same_bits(&next, &same.state, name));
        }
    }

    #[test]
    fn mean_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        mean::<f32>(&case)?;
        mean::<f64>(&case)?;
    }

    #[test]
    fn mean_by_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        mean_by::<f32>(&case)?;
        mean_by::<f64>(&case)?;
    }

    #[test]
    fn sum_agrees_with_f64_and_whole_numbers_are_exact(seed: u64) {
        let case = case(&mut Random(seed));
        sum::<f32>(&case)?;
        sum::<f64>(&case)?;
        sum_of_whole::<u64>(&case, "counts")?;
        sum_of_whole::<i64>(&case, "i64.counts")?;
    }

    #[test]
    fn max_and_keep_are_exact(seed: u64) {
        let case = case(&mut Random(seed));
        max::<f32>(&case, "max")?;
        max::<f64>(&case, "f64.max")?;
        max::<u64>(&case, "latest")?;
        max::<i64>(&case, "i64.latest")?;
        let next = case.next();
        for name in ["keep", "f64.keep", "kept", "i64.kept"] {
            prop_assert_eq!(&next.tensors()[name], &case.base.tensors()[name]);
        }
    }

    #[test]
    fn fold_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        fold::<f32>(&case)?;
        fold::<f64>(&case)?;
    }

    #[test]
    fn fold_over_disjoint_units_is_one_replica_after_another(seed: u64) {
        let random = &mut Random(seed);
        let mut case = case(random);
        disjoint_folds::<f32>(random, &mut case)?;
        disjoint_folds::<f64>(random, &mut case)?;
    }
}

/// Whether two states have the same bits in a tensor.
fn same_bits(one: &NetworkState, other: &NetworkState, name: &str) -> bool {
    let (one, other) = (&one.tensors()[name].data, &other.tensors()[name].data);
    for_element!(one.element(), T => {
        value_bytes::<T>(one.slice()) == value_bytes::<T>(other.slice())
    })
}

/// Whether a value is as expected. The expected value is computed in f64 with fewer than
/// `operations`, each of them off by at most half a place of f64, and is at most `size`.
fn is_near<T: Tested>(found: T, expected: f64, bound: f64, (operations, size): (f64, f64)) -> bool {
    (found.into() - expected).abs() <= bound + operations * f64::ROUNDING * size
}

fn mean<T: Tested>(case: &Case) -> Outcome {
    let name = &T::name("mean");
    let (base, replicas) = case.values::<T>(name);
    let next = case.next();
    let examples: f64 = replicas.iter().map(|(replica, _)| replica.examples as f64).sum();
    for (at, found) in slice::<T>(&next, name).iter().enumerate() {
        let weighted = replicas.iter().map(|(replica, x)| replica.examples as f64 * x[at].into());
        let expected =
            if replicas.is_empty() { base[at].into() } else { weighted.sum::<f64>() / examples };
        // Values are at most 1: r − l and its product with t are off by up
        // to 2·ROUNDING, t by ROUNDING of 2, the sum by ROUNDING.
        let bound = 8.0 * case.depth() * T::ROUNDING;
        prop_assert!(is_near(*found, expected, bound, (50.0, 1.0)));
    }
    Ok(())
}

fn mean_by<T: Tested>(case: &Case) -> Outcome {
    let next = case.next();
    for name in &["mean_by", "mean_by.said"].map(T::name) {
        let (base, replicas) = case.values::<T>(name);
        for (at, found) in slice::<T>(&next, name).iter().enumerate() {
            let unit = at as u32 % 9;
            let changed = |x: &[T]| {
                (0..3).any(|row| {
                    let at = row * 9 + unit as usize;
                    x[at].bits() != base[at].bits()
                })
            };
            let (mut count, mut sum) = (0.0, 0.0);
            for (replica, x) in &replicas {
                let own = match replica.counts.get(name) {
                    Some(counts) => match counts.units.binary_search(&unit) {
                        Ok(place) => counts.counts[place],
                        Err(_) => 0,
                    },
                    None if changed(x) => replica.examples,
                    None => 0,
                };
                count += own as f64;
                sum += own as f64 * x[at].into();
            }
            let expected = if count == 0.0 { base[at].into() } else { sum / count };
            let bound = 8.0 * case.depth() * T::ROUNDING;
            prop_assert!(is_near(*found, expected, bound, (50.0, 1.0)));
        }
    }
    Ok(())
}

fn sum<T: Tested>(case: &Case) -> Outcome {
    let name = &T::name("sum");
    let (base, replicas) = case.values::<T>(name);
    let next = case.next();
    for (at, found) in slice::<T>(&next, name).iter().enumerate() {
        let start: f64 = base[at].into();
        let changes: Vec<f64> = replicas.iter().map(|(_, x)| x[at].into() - start).collect();
        let size = start.abs() + changes.iter().map(|change| change.abs()).sum::<f64>();
        let expected = start + changes.iter().sum::<f64>();
        // One rounding of each change, of each sum above it, and of the
        // finish; none of them of more than `size`, or a little over.
        let bound = 1.01 * (case.depth() + 2.0) * T::ROUNDING * size;
        prop_assert!(is_near(*found, expected, bound, (50.0, size)));
    }
    Ok(())
}

fn sum_of_whole<T: Whole>(case: &Case, name: &str) -> Outcome {
    let (base, replicas) = case.values::<T>(name);
    let next = case.next();
    for (at, found) in slice::<T>(&next, name).iter().enumerate() {
        let add = |sum: T, (_, x): &(_, &[T])| sum.wrapping_add(x[at]).wrapping_sub(base[at]);
        prop_assert_eq!(*found, replicas.iter().fold(base[at], add));
    }
    Ok(())
}

fn max<T: Number>(case: &Case, name: &str) -> Outcome {
    let (base, replicas) = case.values::<T>(name);
    let next = case.next();
    for (at, found) in slice::<T>(&next, name).iter().enumerate() {
        let own = replicas.iter().map(|(_, x)| x[at]);
        let largest = own.max_by(|l, r| l.partial_cmp(r).unwrap());
        prop_assert_eq!(*found, largest.unwrap_or(base[at]));
    }
    Ok(())
}

fn fold<T: Tested>(case: &Case) -> Outcome {
    let next = case.next();
    let count = case.replicas.len() as f64;
    for name in &["fold", "fold.said"].map(T::name) {
        let (base, replicas) = case.values::<T>(name);
        for (at, found) in slice::<T>(&next, name).iter().enumerate() {
            let start: f64 = base[at].into();
            let mut expected = start;
            for (replica, x) in &replicas {
                match T::unit_maps(*replica, name) {
                    None => expected += x[at].into() - start,
                    Some(maps) => {
                        if let Ok(place) = maps.units.binary_search(&(at as u32 % 9)) {
                            let b: f64 = maps.b[place * 4 + at / 9].into();
                            expected = maps.a[place].into() * expected + b;
                        }
                    }
                }
            }
            // |a| ≤ 1, |b| ≤ 2 and |base| ≤ 1, so nothing on the way is
            // above 2·count + 1; each of the depth + 2 stages rounds twice
            // for b and once for a.
            let size = 2.0 * count + 1.0;
            let bound = 3.0 * (case.depth() + 2.0) * T::ROUNDING * size;
            prop_assert!(is_near(*found, expected, bound, (50.0, size)));
        }
    }
    Ok(())
}

fn disjoint_folds<T: Tested>(random: &mut Random, case: &mut Case) -> Outcome {
    let name = &T::name("fold.said");
    let count = case.replicas.len();
    let owners: Vec<usize> = (0..9).map(|_| random.below(count)).collect();
    let mut expected = slice::<T>(&case.base, name).to_vec();
    for (index, replica) in case.replicas.iter_mut().enumerate() {
        let Some(replica) = replica else { continue };
        let units: Vec<u32> = (0..9).filter(|unit| owners[*unit as usize] == index).collect();
        let a: Vec<T> = random.values(units.len());
        let b: Vec<T> = random.values(4 * units.len());
        for (place, unit) in units.iter().enumerate() {
            for row in 0..4 {
                let x = &mut expected[row * 9 + *unit as usize];
                *x = a[place] * *x + b[place * 4 + row];
            }
        }
        T::maps(replica).insert(name.clone(), UnitMaps { units, a, b });
    }
    let next = case.next();
    prop_assert!(value_bytes(slice::<T>(&next, name)) == value_bytes(&expected));
    Ok(())
}
