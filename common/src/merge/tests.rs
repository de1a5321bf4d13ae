//! Properties of the merge: all six rules, whole and by segment, over random
//! clusters. A case is a function of its seed.

mod case;
mod large;
mod refused;

use ndarray::ArrayD;
use proptest::prelude::*;

use self::case::{Random, blocks, case, ended, short_segments, state};
use super::*;
use crate::id::Block;
use crate::state::NetworkState;

/// Half the distance from 1 to the next f32: the most by which one operation
/// is off, relative to its outcome.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

proptest! {
    #[test]
    fn any_split_and_order_gives_the_same_bits(seed: u64) {
        let random = &mut Random(seed);
        let case = case(random);
        let expected = case.merged(case.root());
        let next = finish(&case.base, expected.as_ref());
        let layout = case.base.layout();

        // Workers merge their blocks, of replicas in any order.
        let mut partials = Vec::new();
        for block in blocks(random, case.root(), case.count()) {
            let mut tree = MergeTree::of_block(block, case.count());
            for block in blocks(random, block, case.count()) {
                let mut replicas: Vec<u32> = block.replicas(case.count()).collect();
                while !replicas.is_empty() {
                    let index = replicas.swap_remove(random.below(replicas.len()));
                    tree.insert(Block::of_replica(index), case.partial(index));
                }
            }
            prop_assert!(tree.is_complete());
            partials.push((block, tree.into_root()));
        }

        // The coordinator merges the blocks whole.
        let mut tree = MergeTree::new(case.count());
        for (block, partial) in &partials {
            prop_assert!(!tree.is_complete());
            tree.insert(*block, partial.clone());
        }
        let whole = tree.into_root();
        prop_assert_eq!(&whole, &expected);
        prop_assert_eq!(finish(&case.base, whole.as_ref()).digest(), next.digest());

        // The coordinator merges segment by segment, in any order.
        let mut segments = short_segments(random, &layout);
        let mut by_segment = NetworkState::zeros(&layout).unwrap();
        copy_kept(&case.base, &mut by_segment);
        while !segments.is_empty() {
            let segment = segments.swap_remove(random.below(segments.len()));
            let mut tree = MergeTree::new(case.count());
            for (block, partial) in &partials {
                let value = partial.as_ref().and_then(|partial| {
                    let payload = partial.segment(&layout, &segment);
                    Contribution::decode(&layout, 0, &segment, partial.weight, &payload.into()).unwrap()
                });
                tree.insert(*block, value);
            }
            finish_segment(&case.base, &segment, tree.into_root().as_ref(), &mut by_segment);
        }
        prop_assert_eq!(by_segment.digest(), next.digest());
    }

    #[test]
    fn mean_of_equal_states_is_that_state(seed: u64) {
        let random = &mut Random(seed);
        let mut case = case(random);
        let same = ended(random, &case.base);
        for replica in case.replicas.iter_mut().flatten() {
            replica.state = same.state.clone();
        }
        prop_assume!(case.replicas.iter().any(Option::is_some));
        let bits = |state: &NetworkState| -> Vec<u32> {
            state.f32("mean").unwrap().iter().map(|value| value.to_bits()).collect()
        };
        prop_assert_eq!(bits(&case.next()), bits(&same.state));
    }

    #[test]
    fn mean_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        let (base, replicas) = case.f32("mean");
        let next = case.next();
        let examples: f64 = replicas.iter().map(|(replica, _)| replica.examples as f64).sum();
        for (at, found) in next.f32("mean").unwrap().iter().enumerate() {
            let weighted = replicas.iter().map(|(replica, x)| replica.examples as f64 * f64::from(x[at]));
            let expected = if replicas.is_empty() { base[at].into() } else { weighted.sum::<f64>() / examples };
            // Values are at most 1: r − l and its product with t are off by up
            // to 2·ROUNDING, t by ROUNDING of 2, the sum by ROUNDING.
            prop_assert!((f64::from(*found) - expected).abs() <= 8.0 * case.depth() * ROUNDING);
        }
    }

    #[test]
    fn mean_by_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        let next = case.next();
        for name in ["mean_by", "mean_by.said"] {
            let (base, replicas) = case.f32(name);
            for (at, found) in next.f32(name).unwrap().iter().enumerate() {
                let unit = at as u32 % 9;
                let changed = |x: &[f32]| {
                    (0..3).any(|row| {
                        let at = row * 9 + unit as usize;
                        x[at].to_bits() != base[at].to_bits()
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
                    sum += own as f64 * f64::from(x[at]);
                }
                let expected = if count == 0.0 { base[at].into() } else { sum / count };
                prop_assert!((f64::from(*found) - expected).abs() <= 8.0 * case.depth() * ROUNDING);
            }
        }
    }

    #[test]
    fn sum_agrees_with_f64_and_counters_are_exact(seed: u64) {
        let case = case(&mut Random(seed));
        let (base, replicas) = case.f32("sum");
        let next = case.next();
        for (at, found) in next.f32("sum").unwrap().iter().enumerate() {
            let start = f64::from(base[at]);
            let changes: Vec<f64> = replicas.iter().map(|(_, x)| f64::from(x[at]) - start).collect();
            let size = start.abs() + changes.iter().map(|change| change.abs()).sum::<f64>();
            let expected = start + changes.iter().sum::<f64>();
            // One rounding of each change, of each sum above it, and of the
            // finish; none of them of more than `size`, or a little over.
            let bound = 1.01 * (case.depth() + 2.0) * ROUNDING * size;
            prop_assert!((f64::from(*found) - expected).abs() <= bound);
        }
        let base = case.base.u64("counts").unwrap();
        let mut expected = base.clone();
        for replica in case.replicas.iter().flatten() {
            expected.zip_mut_with(replica.state.u64("counts").unwrap(), |sum, x| {
                *sum = sum.wrapping_add(*x);
            });
            expected.zip_mut_with(base, |sum, x| *sum = sum.wrapping_sub(*x));
        }
        prop_assert_eq!(next.u64("counts").unwrap(), &expected);
    }

    #[test]
    fn max_and_keep_are_exact(seed: u64) {
        let case = case(&mut Random(seed));
        let (base, replicas) = case.f32("max");
        let next = case.next();
        for (at, found) in next.f32("max").unwrap().iter().enumerate() {
            let largest = replicas.iter().map(|(_, x)| x[at]).max_by(|l, r| l.partial_cmp(r).unwrap());
            prop_assert_eq!(*found, largest.unwrap_or(base[at]));
        }
        for (at, found) in next.u64("latest").unwrap().iter().enumerate() {
            let own = |state: &NetworkState| state.u64("latest").unwrap()[at];
            let largest = case.replicas.iter().flatten().map(|replica| own(&replica.state)).max();
            prop_assert_eq!(*found, largest.unwrap_or(own(&case.base)));
        }
        prop_assert_eq!(&next.tensors()["keep"], &case.base.tensors()["keep"]);
        prop_assert_eq!(&next.tensors()["kept"], &case.base.tensors()["kept"]);
    }

    #[test]
    fn fold_agrees_with_f64(seed: u64) {
        let case = case(&mut Random(seed));
        let next = case.next();
        let count = case.replicas.len() as f64;
        for name in ["fold", "fold.said"] {
            let (base, replicas) = case.f32(name);
            for (at, found) in next.f32(name).unwrap().iter().enumerate() {
                let start = f64::from(base[at]);
                let mut expected = start;
                for (replica, x) in &replicas {
                    match replica.maps.get(name) {
                        None => expected += f64::from(x[at]) - start,
                        Some(maps) => {
                            if let Ok(place) = maps.units.binary_search(&(at as u32 % 9)) {
                                let b = maps.b[place * 4 + at / 9];
                                expected = f64::from(maps.a[place]) * expected + f64::from(b);
                            }
                        }
                    }
                }
                // |a| ≤ 1, |b| ≤ 2 and |base| ≤ 1, so nothing on the way is
                // above 2·count + 1; each of the depth + 2 stages rounds twice
                // for b and once for a.
                let bound = 3.0 * (case.depth() + 2.0) * ROUNDING * (2.0 * count + 1.0);
                prop_assert!((f64::from(*found) - expected).abs() <= bound);
            }
        }
    }

    #[test]
    fn fold_over_disjoint_units_is_one_replica_after_another(seed: u64) {
        let random = &mut Random(seed);
        let mut case = case(random);
        let count = case.replicas.len();
        let owners: Vec<usize> = (0..9).map(|_| random.below(count)).collect();
        let mut expected = case.base.f32("fold.said").unwrap().clone();
        for (index, replica) in case.replicas.iter_mut().enumerate() {
            let Some(replica) = replica else { continue };
            let units: Vec<u32> =
                (0..9).filter(|unit| owners[*unit as usize] == index).collect();
            let a: Vec<f32> = units.iter().map(|_| random.value()).collect();
            let b: Vec<f32> = (0..4 * units.len()).map(|_| random.value()).collect();
            for (place, unit) in units.iter().enumerate() {
                for row in 0..4 {
                    let x = &mut expected[[row, *unit as usize]];
                    *x = a[place] * *x + b[place * 4 + row];
                }
            }
            replica.maps.insert("fold.said".into(), UnitMaps { units, a, b });
        }
        let bits = |array: &ArrayD<f32>| -> Vec<u32> { array.iter().map(|x| x.to_bits()).collect() };
        prop_assert_eq!(bits(case.next().f32("fold.said").unwrap()), bits(&expected));
    }

    #[test]
    fn segments_come_back_as_they_went(seed: u64) {
        let random = &mut Random(seed);
        let case = case(random);
        let Some(partial) = case.merged(case.root()) else { return Ok(()) };
        let layout = case.base.layout();
        let segments = layout.merge_segments();
        let mut bytes = 0;
        let mut tensors = vec![None; layout.tensors.len()];
        for (index, segment) in segments.iter().enumerate() {
            let payload = partial.segment(&layout, segment);
            bytes += payload.len() as u64;
            tensors[segment.tensor] =
                Contribution::decode(&layout, index, segment, partial.weight, &payload.into()).unwrap();
        }
        prop_assert_eq!(bytes, partial.encoded_bytes(&layout));
        let back = Partial { tensors, ..partial.clone() };
        prop_assert_eq!(back.digest(&layout), partial.digest(&layout));
        let next = finish(&case.base, Some(&partial));
        prop_assert_eq!(finish(&case.base, Some(&back)).digest(), next.digest());
        let other = Partial { weight: partial.weight + 1, ..partial.clone() };
        prop_assert_ne!(other.digest(&layout), partial.digest(&layout));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        seed: u64,
        mut payload in prop::collection::vec(any::<u8>(), 0..200),
        count in 0..9_u8,
    ) {
        // A small count of units first gets further in.
        if let Some(bytes) = payload.first_chunk_mut::<4>() {
            *bytes = [count, 0, 0, 0];
        }
        let layout = state(&mut Random(seed)).layout();
        let payload = bytes::Bytes::from(payload);
        for (index, segment) in layout.merge_segments().iter().enumerate() {
            let decoded = Contribution::decode(&layout, index, segment, 5, &payload);
            if let Ok(Some(contribution)) = decoded {
                let mut tensors = vec![None; layout.tensors.len()];
                tensors[segment.tensor] = Some(contribution);
                let partial = Partial { weight: 5, results: Results::default(), tensors };
                prop_assert_eq!(partial.segment(&layout, segment), payload.to_vec());
            }
        }
    }
}
