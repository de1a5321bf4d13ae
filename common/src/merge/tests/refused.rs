//! Replicas without anything to say, and what replicas and workers may not say.

use super::super::*;
use super::case::{Ended, Random, ended, state};
use crate::state::{ElementType, Layout, NetworkState, Segment, TensorLayout};

/// Something that a replica gets wrong.
type Change<'a> = &'a dyn Fn(&mut Ended);

#[test]
fn a_replica_without_examples_contributes_nothing() {
    let random = &mut Random(2);
    let base = state(random);
    let mut replica = ended(random, &base);
    let partial = Partial::of_replica(&mut replica, 0, &base, Results::default()).unwrap();
    assert!(partial.tensors.iter().all(Option::is_none));
    assert_eq!(finish(&base, Some(&partial)), base);
    assert_eq!(finish(&base, None), base);
}

#[test]
fn what_a_replica_says_is_checked() {
    let random = &mut Random(3);
    let base = state(random);
    let good = ended(random, &base);
    let error = |change: &dyn Fn(&mut Ended)| {
        let mut replica = good.clone();
        change(&mut replica);
        let results = Results { examples: 4, ..Default::default() };
        Partial::of_replica(&mut replica, 7, &base, results).unwrap_err().to_string()
    };
    let set = |name: &'static str, at: usize, value: f32| {
        move |replica: &mut Ended| {
            replica.state.f32_mut(name).unwrap().as_slice_mut().unwrap()[at] = value;
        }
    };
    let set_f64 = |name: &'static str, at: usize, value: f64| {
        move |replica: &mut Ended| {
            replica.state.f64_mut(name).unwrap().as_slice_mut().unwrap()[at] = value;
        }
    };
    let maps_f64 = |units: &[u32], a: &[f64], b: &[f64]| {
        let maps = UnitMaps { units: units.to_vec(), a: a.to_vec(), b: b.to_vec() };
        move |replica: &mut Ended| {
            replica.maps_f64.insert("f64.fold.said".into(), maps.clone());
        }
    };
    let counts = |units: &[u32], counts: &[u64]| {
        let counts = UnitCounts { units: units.to_vec(), counts: counts.to_vec() };
        move |replica: &mut Ended| {
            replica.counts.insert("mean_by.said".into(), counts.clone());
        }
    };
    let maps = |units: &[u32], a: &[f32], b: &[f32]| {
        let maps = UnitMaps { units: units.to_vec(), a: a.to_vec(), b: b.to_vec() };
        move |replica: &mut Ended| {
            replica.maps.insert("fold.said".into(), maps.clone());
        }
    };
    let infinite = f32::INFINITY;
    let cases: [(Change<'_>, &str); 17] = [
        (
            &set_f64("f64.mean", 12, f64::NAN),
            "`f64.mean` of replica 7: expected finite values, found NaN at element 12",
        ),
        (&set_f64("f64.sum", 3, f64::NEG_INFINITY), "found -inf at element 3"),
        (&set_f64("f64.mean_by", 20, f64::INFINITY), "found inf at element 20"),
        (&maps_f64(&[1], &[1.0], &[0.0; 3]), "expected 4 values for its units, found 3"),
        (&maps_f64(&[1], &[f64::NAN], &[0.0; 4]), "found NaN at element 1"),
        (
            &set("mean", 12, f32::NAN),
            "`mean` of replica 7: expected finite values, found NaN at element 12",
        ),
        (
            &set("sum", 3, -infinite),
            "`sum` of replica 7: expected finite values, found -inf at element 3",
        ),
        (&set("max", 0, infinite), "found inf at element 0"),
        (&set("mean_by", 20, infinite), "found inf at element 20"),
        (&set("fold", 20, infinite), "found inf at element 20"),
        (&counts(&[4, 2], &[1, 1]), "expected units in ascending order, found 4 before 2"),
        (&counts(&[4, 9], &[1, 1]), "expected units below 9, found 9"),
        (&counts(&[4], &[0]), "expected counts above 0, found 0 of unit 4"),
        (&counts(&[4], &[]), "expected 1 counts for its units, found 0"),
        (&maps(&[1], &[1.0], &[0.0; 3]), "expected 4 values for its units, found 3"),
        (&maps(&[1], &[f32::NAN], &[0.0; 4]), "found NaN at element 1"),
        (
            &maps(&[1, 2], &[1.0; 2], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, infinite, 0.0]),
            "found inf at element 20",
        ),
    ];
    for (change, expected) in cases {
        let error = error(change);
        assert!(error.contains(expected), "{error}");
    }
    let other = error(&|replica| replica.state = NetworkState::default());
    assert!(other.contains("expected a state like the base"), "{other}");
}

#[test]
fn what_comes_from_the_wire_is_checked() {
    let layout = state(&mut Random(4)).layout();
    let segments = layout.merge_segments();
    let error = |name: &str, weight: u64, payload: &[u8]| {
        let of = |segment: &Segment| layout.tensors[segment.tensor].name == name;
        let index = segments.iter().position(of).unwrap();
        let short = Segment { tensor: segments[index].tensor, range: 2..6 };
        Contribution::decode(
            &layout,
            index,
            &short,
            weight,
            &bytes::Bytes::copy_from_slice(payload),
        )
        .unwrap_err()
        .to_string()
    };
    // One unit of `mean_by` (unit length 3) and of `fold.said` (4).
    let mean_by = |unit: u32, count: u64, value: f32| {
        let values = [value; 3].map(f32::to_le_bytes).concat();
        [&[1, 0, 0, 0][..], &unit.to_le_bytes(), &count.to_le_bytes(), &values].concat()
    };
    let fold = |units: [u32; 2], a: f32| {
        let units = units.map(u32::to_le_bytes).concat();
        let values = [a; 10].map(f32::to_le_bytes).concat();
        [&[2, 0, 0, 0][..], &units, &values].concat()
    };
    let nan = [1.0, 2.0, f32::NAN, 3.0_f32].map(f32::to_le_bytes).concat();
    let mean_by_f64 = |count: u64, value: f64| {
        let values = [value; 3].map(f64::to_le_bytes).concat();
        [&[1, 0, 0, 0, 2, 0, 0, 0][..], &count.to_le_bytes(), &values].concat()
    };
    let nan_f64 = [1.0, 2.0, f64::NAN, 3.0].map(f64::to_le_bytes).concat();
    // One unit of four values: its number, its factor and its values.
    let fold_f64 = |a: f64| {
        let values = [a, 0.0, 0.0, 0.0, 0.0].map(f64::to_le_bytes).concat();
        [&[1, 0, 0, 0, 2, 0, 0, 0][..], &values].concat()
    };
    let cases: [(&str, u64, &[u8], &str); 19] = [
        ("f64.mean", 1, &[0; 16], "expected 32 bytes, found 16"),
        ("f64.max", 1, &nan_f64, "expected finite values, found NaN at place 2"),
        ("i64.counts", 1, &[0; 16], "expected 32 bytes, found 16"),
        ("f64.mean_by", 1, &mean_by_f64(1, f64::INFINITY), "expected finite values, found inf"),
        ("f64.mean_by", 1, &mean_by(2, 1, 0.0), "expected 40 bytes, found 28"),
        ("f64.fold.said", 1, &fold_f64(f64::NAN), "expected finite factors, found NaN"),
        ("mean", 1, &[0; 17], "expected 16 bytes, found 17"),
        ("mean", 0, &[0; 16], "expected a weight from 1 to"),
        ("mean", u64::MAX, &[0; 16], "expected a weight from 1 to"),
        ("max", 1, &nan, "expected finite values, found NaN at place 2"),
        ("counts", 1, &[0; 16], "expected 32 bytes, found 16"),
        ("mean_by", 1, &[1, 0, 0], "expected at least 4 bytes, found 3"),
        ("mean_by", 1, &[0; 4], "expected 1 to 4 units, found 0"),
        ("mean_by", 1, &[255; 40], "expected 1 to 4 units, found 4294967295"),
        ("mean_by", 1, &mean_by(6, 1, 0.0), "expected units in 2..6, found 6"),
        ("mean_by", 1, &mean_by(2, 0, 0.0), "expected counts above 0, found 0 of unit 2"),
        ("mean_by", 1, &mean_by(2, 1, f32::INFINITY), "expected finite values, found inf"),
        ("fold.said", 1, &fold([3, 3], 0.0), "expected units in ascending order, found 3 before 3"),
        ("fold.said", 1, &fold([2, 3], f32::NAN), "expected finite factors, found NaN"),
    ];
    for (name, weight, payload, expected) in cases {
        let error = error(name, weight, payload);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_overflows_is_noticed() {
    let mean = |value: f64| {
        let mean = RealContribution::Mean { examples: 1, values: vec![value].into() };
        Contribution::F64(mean)
    };
    let layout = TensorLayout::new("w", ElementType::F64, &[1], MergeRule::Mean);
    let layout = Layout::new([layout]).unwrap();
    let merged = mean(1.5e308).merge(mean(-1.5e308));
    let partial = Partial { weight: 2, results: Results::default(), tensors: vec![Some(merged)] };
    let block = crate::id::Block { level: 1, index: 0 };
    let error = partial.check_finite(&layout, block).unwrap_err().to_string();
    assert!(error.contains("`w`") && error.contains("(found -inf)"), "{error}");
    let mut next = NetworkState::zeros(&layout).unwrap();
    let segment = layout.merge_segments().remove(0);
    let base = NetworkState::zeros(&layout).unwrap();
    finish_segment(&base, &segment, partial.tensors[0].as_ref(), &mut next);
    assert!(!is_segment_finite(&next, &segment));
    let error = next.check_finite().unwrap_err().to_string();
    assert!(error.ends_with("`w` element 0: expected a finite value, found -inf"), "{error}");
}
