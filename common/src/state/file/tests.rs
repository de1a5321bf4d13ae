use ndarray::ArrayD;
use safetensors::SafeTensors;

use super::super::{Tensor, TensorData};
use super::*;

fn state() -> NetworkState {
    let f32 = |shape: &[usize], rule| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|at| at as f32 * 0.5 - 1.0).collect();
        Tensor { data: TensorData::F32(ArrayD::from_shape_vec(shape, values).unwrap()), rule }
    };
    let counts = ArrayD::from_shape_vec(vec![2], vec![7, u64::MAX]).unwrap();
    NetworkState::new([
        ("a.odd".into(), f32(&[3], MergeRule::Max)),
        ("b.counts".into(), Tensor { data: TensorData::U64(counts), rule: MergeRule::Sum }),
        ("c.large".into(), f32(&[3, 100_000], MergeRule::Fold)),
    ])
    .unwrap()
}

/// A file of this header and these values.
fn file(folder: &Path, header: &str, values: &[u8]) -> PathBuf {
    let path = folder.join("case.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length, header.as_bytes(), values].concat()).unwrap();
    path
}

#[test]
fn a_saved_state_comes_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let metadata = BTreeMap::from([("samebit.round".to_string(), "3".to_string())]);
    state().save(&path, &metadata).unwrap();
    let loaded = NetworkState::load(&path).unwrap();
    assert_eq!(loaded, state());
    assert_eq!(loaded.digest(), state().digest());

    let bytes = fs::read(&path).unwrap();
    loaded.save(&path, &metadata).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "equal states make equal files");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

/// A state with all types.
fn all_types() -> NetworkState {
    let wide = ArrayD::from_shape_vec(vec![2], vec![0.1, -1e300]).unwrap();
    let whole = ArrayD::from_shape_vec(vec![2], vec![i64::MIN, 7]).unwrap();
    let mut tensors: Vec<(String, Tensor)> =
        state().tensors().iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    tensors.push(("d".into(), Tensor { data: TensorData::F64(wide), rule: MergeRule::Mean }));
    tensors.push(("e".into(), Tensor { data: TensorData::I64(whole), rule: MergeRule::Max }));
    NetworkState::new(tensors).unwrap()
}

#[test]
fn all_types_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    all_types().save(&path, &BTreeMap::new()).unwrap();
    assert_eq!(NetworkState::load(&path).unwrap(), all_types());
    let (state, messages) = FileTensors::load(&path).unwrap().into_state().unwrap();
    assert_eq!((state, messages), (all_types(), vec![]));

    let mut bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views = [tensors.tensor("d").unwrap(), tensors.tensor("e").unwrap()];
    assert_eq!(views[0].dtype(), Dtype::F64);
    assert_eq!(views[0].data(), [0.1_f64, -1e300].map(f64::to_le_bytes).concat());
    assert_eq!(views[1].dtype(), Dtype::I64);
    assert_eq!(views[1].data(), [i64::MIN, 7].map(i64::to_le_bytes).concat());

    // Their digest is checked wherever a file is read.
    let place = views[1].data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(NetworkState::load(&path).unwrap_err().to_string().contains("damaged"));
    assert!(FileTensors::load(&path).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn wide_types_of_other_programs_become_f32_and_u64_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"n":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},
                     "w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
    let values = [1.5_f64.to_le_bytes(), 9_i64.to_le_bytes()].concat();
    let path = file(folder.path(), header, &values);
    let (state, messages) = FileTensors::load(&path).unwrap().into_state().unwrap();
    assert_eq!((state.f32("w").unwrap()[[0]], state.u64("n").unwrap()[[0]]), (1.5, 9));
    assert_eq!(messages.len(), 2, "{messages:?}");
    // As a state of Samebit, whose checkpoints are read so.
    let state = NetworkState::load(&path).unwrap();
    assert_eq!((state.f64("w").unwrap()[[0]], state.i64("n").unwrap()[[0]]), (1.5, 9));
    let rules: Vec<_> = state.tensors().values().map(|tensor| tensor.rule).collect();
    assert_eq!(rules, [MergeRule::Sum, MergeRule::Mean]);
}

#[test]
fn other_readers_open_a_file_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state().save(&path, &BTreeMap::new()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("a.odd").unwrap();
    assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[3][..]));
    assert_eq!(view.data(), [-1.0_f32, -0.5, 0.0].map(f32::to_le_bytes).concat());
    let view = tensors.tensor("b.counts").unwrap();
    assert_eq!(
        (view.dtype(), view.data()[0], view.data().as_ptr() as usize % 8),
        (Dtype::U64, 7, bytes.as_ptr() as usize % 8)
    );
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata_of(&header, "samebit.rule.c.large").unwrap(), "fold");
}

#[test]
fn a_file_without_metadata_gets_the_usual_rules() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"n":{"dtype":"U64","shape":[1],"data_offsets":[4,12]},
                     "w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let values = [&1.5_f32.to_le_bytes()[..], &9_u64.to_le_bytes()].concat();
    let state = NetworkState::load(&file(folder.path(), header, &values)).unwrap();
    assert_eq!(state.f32("w").unwrap()[[0]], 1.5);
    assert_eq!(state.u64("n").unwrap()[[0]], 9);
    let rules: Vec<_> = state.tensors().values().map(|tensor| tensor.rule).collect();
    assert_eq!(rules, [MergeRule::Sum, MergeRule::Mean]);
}

#[test]
fn a_bad_file_is_refused_with_what_was_expected_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let one = |dtype: &str, shape: &str, end: usize, metadata: &str| {
        format!(
            r#"{{{metadata}"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
        )
    };
    let nan = [1.0_f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    let infinite = f64::INFINITY.to_le_bytes();
    let rule = r#""__metadata__":{"samebit.rule.w":"median"},"#;
    let by_unit = r#""__metadata__":{"samebit.rule.w":"fold"},"#;
    let digest = r#""__metadata__":{"samebit.digest":"00"},"#;
    let cases = [
        (one("F32", "[2]", 8, ""), &nan[..7], "as its header says, found"),
        (one("F32", "[2]", 8, ""), &[0; 9][..], "as its header says, found"),
        (one("F32", "[2]", 8, ""), &nan, "found NaN at element 1"),
        (one("F16", "[4]", 8, ""), &[0; 8], "type F32, F64, U64 or I64, found F16"),
        (
            one("F64", "[1]", 8, ""),
            &infinite,
            "`w`: expected finite values, found inf at element 0",
        ),
        (one("I64", "[1]", 8, by_unit), &[0; 8], "`fold` does not support i64"),
        (one("F32", "[3]", 8, ""), &[0; 8], "safetensors header"),
        (one("F32", "[]", 4, ""), &[0; 4], "1 to 8 axes"),
        (one("F32", "[0]", 0, ""), &[], "length 1 or more"),
        (one("F32", "[1]", 4, rule), &[0; 4], r#"found "median""#),
        (one("U64", "[1]", 8, by_unit), &[0; 8], "`fold` does not support u64"),
        (one("F32", "[1]", 4, digest), &[0; 4], "digest"),
        (one("F32", "[4611686018427387903]", 18446744073709551612, ""), &[], "found"),
        ("{".into(), &[], "safetensors header"),
        ("".into(), &[], "safetensors header"),
    ];
    for (header, values, expected) in cases {
        let path = file(folder.path(), &header, values);
        let error = NetworkState::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{header}: {error}");
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}

#[test]
fn what_is_not_safetensors_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case");
    for bytes in [&b""[..], b"short", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", &[0xff; 64]] {
        fs::write(&path, bytes).unwrap();
        let error = NetworkState::load(&path).unwrap_err().to_string();
        assert!(error.contains("expected a safetensors file"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(NetworkState::load(&path).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn a_flipped_bit_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state().save(&path, &BTreeMap::new()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(NetworkState::load(&path).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn a_state_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir_all(path.join("inside")).unwrap();
    let error = state().save(&path, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("cannot be written"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn tensors_in_memory_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state().save(&path, &BTreeMap::new()).unwrap();
    let (of_file, _) = FileTensors::load(&path).unwrap().into_state().unwrap();
    let (of_memory, messages) = as_file_tensors("memory", &state(), true).into_state().unwrap();
    assert_eq!((of_memory, messages), (of_file, Vec::new()));

    let (plain, _) = as_file_tensors("memory", &state(), false).into_state().unwrap();
    assert_eq!(plain.tensors()["a.odd"].data, state().tensors()["a.odd"].data);
    assert_eq!(plain.tensors()["a.odd"].rule, MergeRule::Mean, "its own rule was Max");
}
