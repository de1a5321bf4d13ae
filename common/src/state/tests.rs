use std::sync::Arc;

use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;

use super::*;
use crate::merge;

fn f32(shape: &[usize], values: &[f32], rule: MergeRule) -> Tensor {
    let array = ArrayD::from_shape_vec(shape, values.to_vec()).unwrap();
    Tensor { data: TensorData::F32(array), rule }
}

fn f64(shape: &[usize], values: &[f64], rule: MergeRule) -> Tensor {
    let array = ArrayD::from_shape_vec(shape, values.to_vec()).unwrap();
    Tensor { data: TensorData::F64(array), rule }
}

fn i64(values: &[i64], rule: MergeRule) -> Tensor {
    let array = ArrayD::from_shape_vec(vec![values.len()], values.to_vec()).unwrap();
    Tensor { data: TensorData::I64(array), rule }
}

/// Two tensors of the signed types of 8 bytes, each of two segments.
fn wide() -> NetworkState {
    let values: Vec<f64> = (0..150_000).map(|at| f64::from(at) / 3.0).collect();
    let counts: Vec<i64> = (0..140_000).map(|at| at - 70_000).collect();
    NetworkState::new([
        ("i".into(), i64(&counts, MergeRule::Sum)),
        ("x".into(), f64(&[3, 50_000], &values, MergeRule::Mean)),
    ])
    .unwrap()
}

fn one(name: &str, tensor: Tensor) -> Result<NetworkState, StateError> {
    NetworkState::new([(name.to_string(), tensor)])
}

/// Two tensors that together have more than one segment.
fn large() -> NetworkState {
    let values: Vec<f32> = (0..300_000).map(|at| at as f32).collect();
    let counts = ArrayD::from_shape_vec(vec![140_000], (0..140_000).collect()).unwrap();
    NetworkState::new([
        ("w".into(), f32(&[3, 100_000], &values, MergeRule::Mean)),
        ("n".into(), Tensor { data: TensorData::U64(counts), rule: MergeRule::Sum }),
    ])
    .unwrap()
}

#[test]
fn what_is_no_state_is_refused() {
    let zeros =
        |shape: &[usize], rule| Tensor { data: TensorData::F32(ArrayD::zeros(shape)), rule };
    let cases = [
        (one("", zeros(&[1], MergeRule::Mean)), "tensor name \"\""),
        (one("a b", zeros(&[1], MergeRule::Mean)), "tensor name \"a b\""),
        (one("__metadata__", zeros(&[1], MergeRule::Mean)), "other than `__metadata__`"),
        (one(&"x".repeat(129), zeros(&[1], MergeRule::Mean)), "expected 1 to 128"),
        (one("w", zeros(&[], MergeRule::Mean)), "expected 1 to 8 axes"),
        (one("w", zeros(&[1; 9], MergeRule::Mean)), "expected 1 to 8 axes"),
        (one("w", zeros(&[3, 0], MergeRule::Mean)), "found shape [3, 0]"),
        (one("w", zeros(&[262_141, 1], MergeRule::Fold)), "at most 262140 values in a unit"),
        (
            one("w", f64(&[131_071, 1], &[0.0; 131_071], MergeRule::Fold)),
            "at most 131070 values in a unit",
        ),
        (
            one("w", f64(&[2], &[0.0, f64::NAN], MergeRule::Mean)),
            "`w` element 1: expected a finite value, found NaN",
        ),
        (one("n", i64(&[1], MergeRule::Mean)), "rule `mean` does not support i64"),
        (one("n", i64(&[1], MergeRule::Fold)), "rule `fold` does not support i64"),
        (
            one("w", f32(&[2], &[0.0, f32::INFINITY], MergeRule::Mean)),
            "`w` element 1: expected a finite value, found inf",
        ),
        (
            one(
                "n",
                Tensor { data: TensorData::U64(ArrayD::zeros(vec![1])), rule: MergeRule::Mean },
            ),
            "rule `mean` does not support u64",
        ),
        (
            NetworkState::new(["w", "w"].map(|name| (name.into(), zeros(&[1], MergeRule::Max)))),
            "`w` twice",
        ),
    ];
    for (state, expected) in cases {
        let error = state.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let many = (0..257).map(|at| (format!("t{at}"), zeros(&[1], MergeRule::Mean)));
    assert!(NetworkState::new(many).unwrap_err().to_string().contains("at most 256 tensors"));
}

#[test]
fn a_layout_from_a_peer_is_checked() {
    let tensor = |name: &str, shape: &[u64]| TensorLayout {
        name: name.into(),
        shape: shape.into(),
        element: ElementType::F32,
        rule: MergeRule::Mean,
    };
    let layout = |tensors: &[TensorLayout]| Layout { tensors: tensors.to_vec() };
    assert!(layout(&[tensor("a", &[1]), tensor("b", &[2])]).validate().is_ok());
    for bad in [
        layout(&[tensor("b", &[1]), tensor("a", &[1])]),
        layout(&[tensor("a", &[1]), tensor("a", &[1])]),
        layout(&[tensor("a", &[u64::MAX, u64::MAX])]),
        layout(&[tensor("a", &[1 << 31]), tensor("b", &[1 << 31]), tensor("c", &[1])]),
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
        assert!(bad.bytes() > 0);
    }
}

#[test]
fn arrays_become_row_major() {
    let columns = Array2::from_shape_fn((2, 3).f(), |(row, column)| (3 * row + column) as f32);
    let data = TensorData::F32(columns.into_dyn());
    let state = one("w", Tensor { data, rule: MergeRule::Mean }).unwrap();
    let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    assert_eq!(state.f32("w").unwrap().as_slice(), Some(&values[..]));
    assert_eq!(state, one("w", f32(&[2, 3], &values, MergeRule::Mean)).unwrap());
}

#[test]
fn segments_carry_a_state_over() {
    carry_over(large());
    carry_over(wide());
}

fn carry_over(state: NetworkState) {
    let state = Arc::new(state);
    let layout = state.layout();
    let segments = layout.state_segments();
    assert_eq!(segments.len(), 4);
    let mut copy = NetworkState::zeros(&layout).unwrap();
    let mut payload = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        state.read_segment(segment, &mut payload);
        assert!(payload.len() <= limits::PAYLOAD_BYTES);
        let shared = shared_segment(&state, segment);
        assert_eq!(shared, payload);
        // Also where the bytes lie at no multiple of their size.
        let shifted = [&[0][..], &payload].concat();
        copy.write_segment(index, segment, &shifted[1..]).unwrap();
    }
    let mut filled = NetworkState::zeros(&layout).unwrap();
    for (index, segment) in segments.iter().enumerate() {
        let fill = |out: &mut [u8]| {
            out.copy_from_slice(&state.segment_bytes(segment));
            Ok::<(), StateError>(())
        };
        filled.fill_segment(index, segment, fill).unwrap();
    }
    assert_eq!(filled, *state);
    assert_eq!(copy, *state);
    assert_eq!(copy.digest(), state.digest());
}

#[test]
fn merge_segments_are_few_and_even() {
    // 333 units of 784 values fill a payload, and so do 262,144 elements.
    let weights = f32(&[784, 400], &[0.0; 784 * 400], MergeRule::Fold);
    let layout = NetworkState::new([
        ("a".into(), weights),
        ("b".into(), f32(&[600_001], &[0.0; 600_001], MergeRule::Mean)),
        ("c".into(), f32(&[5], &[0.0; 5], MergeRule::Keep)),
    ])
    .unwrap()
    .layout();
    let segments = layout.merge_segments();
    let ranges: Vec<_> = segments.iter().map(|segment| (segment.tensor, &segment.range)).collect();
    let (b, last) = ((0..200_001, 200_001..400_002), 400_002..600_001);
    assert_eq!(ranges, [(0, &(0..200)), (0, &(200..400)), (1, &b.0), (1, &b.1), (1, &last)]);
}

#[test]
fn shared_bytes_outlive_the_state() {
    let state = Arc::new(large());
    let shared = shared_segment(&state, &state.layout().state_segments()[3]);
    let expected = state.segment_bytes(&state.layout().state_segments()[3]).into_owned();
    let address = state.f32("w").unwrap().as_slice().unwrap()[262_144..].as_ptr();
    if cfg!(target_endian = "little") {
        assert_eq!(shared.as_ptr(), address.cast(), "nothing is copied");
    }
    drop(state);
    assert_eq!(shared, expected);
}

#[test]
fn a_bad_segment_is_refused() {
    let mut state = large();
    let segments = state.layout().state_segments();
    let error = state.write_segment(3, &segments[3], &[0; 5]).unwrap_err().to_string();
    assert_eq!(error, "segment 3 of tensor `w`: expected 151424 bytes, found 5");
    let mut payload = vec![0; 151_424];
    payload[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = state.write_segment(3, &segments[3], &payload).unwrap_err().to_string();
    assert!(error.ends_with("expected finite values, found NaN at element 262146"), "{error}");
    state.check_finite().unwrap();

    let mut state = wide();
    let segments = state.layout().state_segments();
    let error = state.write_segment(1, &segments[1], &[0; 5]).unwrap_err().to_string();
    assert_eq!(error, "segment 1 of tensor `i`: expected 71424 bytes, found 5");
    let mut payload = vec![0; 151_424];
    payload[16..24].copy_from_slice(&f64::INFINITY.to_le_bytes());
    let error = state.write_segment(3, &segments[3], &payload).unwrap_err().to_string();
    assert!(error.ends_with("expected finite values, found inf at element 131074"), "{error}");
    let fill = |out: &mut [u8]| {
        out.copy_from_slice(&payload);
        Ok(())
    };
    let error: StateError = state.fill_segment(3, &segments[3], fill).unwrap_err();
    assert!(error.to_string().ends_with("found inf at element 131074"), "{error}");
    state.check_finite().unwrap();
}

#[test]
fn a_unit_of_the_longest_length_fits_into_a_message() {
    for (rule, element, length) in [
        (MergeRule::MeanBy, ElementType::F32, 262_140),
        (MergeRule::Fold, ElementType::F32, 262_140),
        (MergeRule::MeanBy, ElementType::F64, 131_070),
        (MergeRule::Fold, ElementType::F64, 131_070),
    ] {
        let tensor = TensorLayout::new("w", element, &[length, 2], rule);
        assert!(4 + tensor.encoded_unit_bytes() <= limits::PAYLOAD_BYTES, "{tensor:?}");
        let layout = Layout::new([tensor]).unwrap();
        let ranges = layout.merge_segments().into_iter().map(|segment| segment.range);
        assert_eq!(ranges.collect::<Vec<_>>(), [0..1, 1..2]);
        let longer = TensorLayout::new("w", element, &[length + 1, 2], rule);
        assert!(Layout::new([longer]).is_err());
    }
}

#[test]
fn a_model_that_diverges_is_noticed() {
    let mut state = large();
    state.f32_mut("w").unwrap()[[2, 99_999]] = f32::NEG_INFINITY;
    let error = state.check_finite().unwrap_err().to_string();
    assert!(error.contains("`w` element 299999: expected a finite value, found -inf"));
    let mut state = wide();
    state.f64_mut("x").unwrap()[[2, 49_999]] = f64::INFINITY;
    let error = state.check_finite().unwrap_err().to_string();
    assert!(error.contains("`x` element 149999: expected a finite value, found inf"));
}

#[test]
fn lookups_say_what_there_is() {
    let mut state = large();
    let error = state.f32("n").unwrap_err().to_string();
    assert!(error.contains("expected an f32 tensor `n`, found an u64 tensor"), "{error}");
    let error = state.u64_mut("x").unwrap_err().to_string();
    assert!(error.contains("found the tensors `n`, `w`"), "{error}");
    let mut state = wide();
    state.i64_mut("i").unwrap()[[0]] = i64::MIN;
    assert_eq!(state.i64("i").unwrap()[[0]], i64::MIN);
    assert_eq!(state.f64("x").unwrap()[[0, 3]], 1.0);
    let error = state.u64("i").unwrap_err().to_string();
    assert!(error.contains("expected an u64 tensor `i`, found an i64 tensor"), "{error}");
    let error = state.f32("x").unwrap_err().to_string();
    assert!(error.contains("expected an f32 tensor `x`, found an f64 tensor"), "{error}");
}

#[test]
fn rules_are_set_all_or_none() {
    let mut state = large();
    let set = |state: &mut NetworkState, rules: &[(&str, MergeRule)]| {
        state.set_rules(&rules.iter().map(|(name, rule)| (name.to_string(), *rule)).collect())
    };
    let before = state.clone();
    assert!(set(&mut state, &[("w", MergeRule::Max), ("x", MergeRule::Max)]).is_err());
    assert!(set(&mut state, &[("w", MergeRule::Max), ("n", MergeRule::Mean)]).is_err());
    assert_eq!(state, before);
    set(&mut state, &[("w", MergeRule::Fold)]).unwrap();
    assert_eq!(state.tensors()["w"].rule, MergeRule::Fold);

    // A replica's own state takes over the rules with the values.
    let mut own = before;
    own.copy_from(&state).unwrap();
    assert_eq!(own, state);
    assert!(own.copy_from(&NetworkState::default()).is_err());
    let other = one("w", f32(&[1], &[0.0], MergeRule::Mean)).unwrap();
    assert!(one("v", f32(&[1], &[0.0], MergeRule::Mean)).unwrap().copy_from(&other).is_err());
}

#[test]
fn the_digest_is_what_it_says() {
    let state = one("w", f32(&[1, 2], &[1.0, -0.0], MergeRule::Mean)).unwrap();
    let mut header = b"samebit-state-1\n".to_vec();
    header.extend([1, 0, 0, 0, 1, 0, 0, 0, b'w', 0, 0, 2, 0, 0, 0]);
    header.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let leaf = Digest::of(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0x80]);
    assert_eq!(state.digest(), Digest::of(&[header, leaf.0.to_vec()].concat()));

    // f64 is 2 under mean, 0; i64 is 3 under sum, 2.
    let (x, i) = (f64(&[1], &[-0.0], MergeRule::Mean), i64(&[-1], MergeRule::Sum));
    let state = NetworkState::new([("x".into(), x), ("i".into(), i)]).unwrap();
    let mut header = b"samebit-state-1\n".to_vec();
    header.extend([2, 0, 0, 0]);
    for (name, element, rule) in [(b'i', 3, 2), (b'x', 2, 0)] {
        header.extend([1, 0, 0, 0, name, element, rule, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
    let leaves = [[0xff; 8], [0, 0, 0, 0, 0, 0, 0, 0x80]].map(|bytes| Digest::of(&bytes).0);
    assert_eq!(state.digest(), Digest::of(&[header, leaves.concat()].concat()));
}

proptest! {
    #[test]
    fn any_bit_changes_the_digest(
        values in prop::collection::vec(-1e9_f32..1e9, 6),
        place in 0..6_usize,
        bit in 0..30_u32,
    ) {
        let state = one("w", f32(&[2, 3], &values, MergeRule::Mean)).unwrap();
        let mut changed = values.clone();
        changed[place] = f32::from_bits(values[place].to_bits() ^ (1 << bit));
        prop_assume!(changed[place].is_finite());
        let others = [
            one("w", f32(&[2, 3], &changed, MergeRule::Mean)).unwrap(),
            one("w", f32(&[3, 2], &values, MergeRule::Mean)).unwrap(),
            one("w", f32(&[6], &values, MergeRule::Mean)).unwrap(),
            one("w", f32(&[2, 3], &values, MergeRule::Max)).unwrap(),
            one("v", f32(&[2, 3], &values, MergeRule::Mean)).unwrap(),
        ];
        for other in others {
            prop_assert_ne!(other.digest(), state.digest());
        }
        prop_assert_eq!(state.clone().digest(), state.digest());
    }
}

#[test]
fn whatever_may_change_a_state_changes_its_revision() {
    let mut state = large();
    let first = state.revision();
    assert_eq!(state.clone().revision(), first);
    assert_eq!(large(), state);
    assert_ne!(large().revision(), first, "another state, although an equal one");
    let mut other = NetworkState::zeros(&state.layout()).unwrap();
    assert_ne!(other.revision(), first);
    other.copy_from(&state).unwrap();
    assert_eq!(other.revision(), first);

    let segment = state.layout().state_segments().remove(0);
    let mut bytes = Vec::new();
    state.read_segment(&segment, &mut bytes);
    let rules = [("w".to_string(), MergeRule::Sum)].into();
    let changes: [&dyn Fn(&mut NetworkState); 5] = [
        &|state| state.f32_mut("w").unwrap()[[0, 0]] = 5.0,
        &|state| state.u64_mut("n").unwrap()[[0]] = 5,
        &|state| state.set_rules(&rules).unwrap(),
        &|state| state.write_segment(0, &segment, &bytes).unwrap(),
        &|state| merge::finish_segment(&large(), &segment, None, state),
    ];
    for (place, change) in changes.iter().enumerate() {
        let before = state.revision();
        change(&mut state);
        assert_ne!(state.revision(), before, "change {place}");
    }
}
