#[rustfmt::skip]
mod fixtures;

use proptest::prelude::*;

use super::*;
use crate::dataset::Features;
use crate::dataset::raw::{Places, Raw, RawLabels};
use crate::dataset::source::testing::{TO_TRAIN, edited, edits, folder, message};
use fixtures::*;

fn load_folder(path: &Path) -> Result<Splits, DatasetError> {
    super::load_folder(path, TO_TRAIN)
}

/// A file as NumPy writes it.
fn npy(descr: &str, order: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(values);
    bytes
}

fn c(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    npy(descr, "False", shape, values)
}

/// Two examples of one feature.
fn two() -> Vec<u8> {
    c("|u1", "(2,)", &[7, 8])
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn load_features(bytes: &[u8]) -> Result<Splits, DatasetError> {
    load_file(&folder(&[("a.npy", bytes)]).path().join("a.npy"))
}

fn load_labels(features: &[u8], labels: &[u8]) -> Result<Raw, DatasetError> {
    let folder = folder(&[("X.npy", features), ("y.npy", labels)]);
    load_folder(folder.path()).map(|(train, _)| train)
}

fn labels_message(features: &[u8], labels: &[u8]) -> String {
    load_labels(features, labels).unwrap_err().to_string()
}

#[test]
fn every_type_of_features() {
    let singles = |values: &[f32]| Features::F32(values.to_vec());
    let cases: [(&str, &[u8], Features); 14] = [
        ("|u1", &[1, 255], Features::U8(vec![1, 255])),
        ("|b1", &[1, 0], Features::U8(vec![1, 0])),
        ("|i1", &[1, 255], singles(&[1.0, -1.0])),
        ("<u2", &[1, 0, 0, 1], singles(&[1.0, 256.0])),
        (">u2", &[1, 0, 0, 1], singles(&[256.0, 1.0])),
        (">i2", &[255, 255, 0, 1], singles(&[-1.0, 1.0])),
        ("<u4", &[1, 0, 0, 0, 0, 0, 1, 0], singles(&[1.0, 65536.0])),
        ("<i4", &[255, 255, 255, 255, 2, 0, 0, 0], singles(&[-1.0, 2.0])),
        (
            ">i8",
            &[255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 0, 0, 0, 0, 9],
            singles(&[-2.0, 9.0]),
        ),
        ("<u8", &[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], singles(&[3.0, 256.0])),
        ("<f2", &[0, 0x3c, 0, 0xc0], singles(&[1.0, -2.0])),
        (">f4", &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0], singles(&[1.0, -2.0])),
        ("<f8", &doubles(&[0.1, -0.1]), singles(&[0.1, -0.1])),
        (">f2", &[0x3c, 0, 0xc0, 0], singles(&[1.0, -2.0])),
    ];
    for (descr, values, features) in cases {
        let (raw, test) = load_features(&c(descr, "(2,)", values)).unwrap();
        assert_eq!((raw.features, raw.shape), (features, vec![1]), "{descr}");
        assert_eq!((raw.labels, test), (RawLabels::None, None));
    }
}

#[test]
fn files_of_numpy() {
    let (raw, _) = load_features(BIG_FORTRAN).unwrap();
    assert_eq!(raw.features, Features::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(raw.shape, [3]);
    let (raw, _) = load_features(HALVES).unwrap();
    assert_eq!(raw.features, Features::F32(vec![0.5, -2.0, 65504.0, 5.960_464_5e-8]));
    let four = c("|u1", "(4, 1, 2)", &[0; 8]);
    let raw = load_labels(&four, TEXTS).unwrap();
    assert_eq!(raw.shape, [1, 2]);
    let texts = ["cat", "döner", "", "a🐈"].map(String::from);
    assert_eq!(raw.labels, RawLabels::Texts(texts.into_iter().collect()));
    assert_eq!(raw.places, Places::Bytes { start: 128, size: 20 });
    assert!(raw.label_file.ends_with("y.npy"), "{}", raw.label_file);
    let raw = load_labels(&two(), BYTE_TEXTS).unwrap();
    assert_eq!(raw.labels, RawLabels::Texts(["cat", "dog"].into_iter().collect()));
    let raw = load_labels(&four, ONE_HOT).unwrap();
    assert_eq!(raw.labels, RawLabels::Numbers(vec![2.0, 0.0, 1.0, 1.0]));
    assert_eq!(raw.places, Places::Bytes { start: 128, size: 1 });
}

#[test]
fn fortran_order_of_three_dimensions() {
    // numpy.asfortranarray(numpy.arange(8, dtype='u1').reshape(2, 2, 2))
    let bytes = npy("|u1", "True", "(2, 2, 2)", &[0, 4, 2, 6, 1, 5, 3, 7]);
    let (raw, _) = load_features(&bytes).unwrap();
    assert_eq!(raw.features, Features::U8((0..8).collect()));
}

#[test]
fn chunks_join() {
    // More than one chunk, in the middle of which no value is cut.
    let count = 300_000_usize;
    let values: Vec<u8> = (0..count).flat_map(|value| (value as f64).to_le_bytes()).collect();
    let (raw, _) = load_features(&c("<f8", "(100000, 3)", &values)).unwrap();
    assert_eq!(raw.features, Features::F32((0..count).map(|value| value as f32).collect()));
}

#[test]
fn labels_of_numbers() {
    let numbers = |values: &[f64]| RawLabels::Numbers(values.to_vec());
    let cases: [(&str, &str, &[u8], RawLabels); 6] = [
        ("|i1", "(2,)", &[1, 255], numbers(&[1.0, -1.0])),
        (">u4", "(2, 1)", &[0, 0, 0, 5, 255, 255, 255, 255], numbers(&[5.0, 4_294_967_295.0])),
        // As in a table.
        ("|b1", "(2,)", &[1, 0], RawLabels::Texts(["True", "False"].into_iter().collect())),
        ("<f8", "(2, 1, 1)", &doubles(&[1.5, -3.0]), numbers(&[1.5, -3.0])),
        ("|u1", "(2, 2)", &[0, 1, 1, 0], numbers(&[1.0, 0.0])),
        ("<f8", "(2, 3)", &doubles(&[0.0, 0.0, 1.0, 0.0, 1.0, 0.0]), numbers(&[2.0, 1.0])),
    ];
    for (descr, shape, values, labels) in cases {
        let raw = load_labels(&two(), &c(descr, shape, values)).unwrap();
        assert_eq!(raw.labels, labels, "{descr} {shape}");
    }
}

#[test]
fn wrong_labels() {
    let cases: [(&str, &str, &[u8], &[&str]); 12] = [
        ("|u1", "(3,)", &[0; 3], &["byte 10", "2 labels, one for each example", "[3]"]),
        ("|u1", "()", &[0], &["single number"]),
        ("|u1", "(2, 2)", &[0, 1, 1, 1], &["byte 131", "one-hot", "second 1 in row 1", "argmax"]),
        ("|u1", "(2, 2)", &[0, 1, 0, 0], &["byte 130", "no 1 in row 1"]),
        ("<f8", "(2, 2)", &doubles(&[0.5, 0.5, 0.0, 1.0]), &["byte 128", "0.5 in row 0"]),
        ("|u1", "(2, 0)", &[], &["one-hot labels of 1 to"]),
        ("|u1", "(2, 2, 2)", &[0; 8], &["shape [2]", "one label for each example"]),
        (
            "<f8",
            "(2,)",
            &doubles(&[0.0, f64::NAN]),
            &["byte 136", "NaN, a missing value", "labels"],
        ),
        ("<f8", "(2,)", &doubles(&[0.0, f64::INFINITY]), &["byte 136", "inf"]),
        (
            "<i8",
            "(2,)",
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &["byte 128", "number the classes"],
        ),
        ("|b1", "(2,)", &[0, 2], &["byte 129", "type bool", "found 2"]),
        ("<U2", "(2,)", &[255; 16], &["byte 128", "valid characters", "astype(str)"]),
    ];
    for (descr, shape, values, parts) in cases {
        let error = labels_message(&two(), &c(descr, shape, values));
        for part in parts.iter().chain(&["y.npy"]) {
            assert!(error.contains(part), "{descr} {shape}: {error}");
        }
    }
    for (descr, part) in [("<U9999", "1 to 1024 characters"), ("|S0", "1 to 1024 characters")] {
        assert!(labels_message(&two(), &c(descr, "(2,)", &[])).contains(part));
    }
    assert!(labels_message(&two(), OBJECTS).contains("astype(str)"));
}

#[test]
fn wrong_features() {
    let cases: [(Vec<u8>, &[&str]); 16] = [
        (OBJECTS.into(), &["byte 10", "Python objects", "astype(numpy.float32)", "allow_pickle"]),
        (NAMED.into(), &["byte 10", "named fields", "structured_to_unstructured"]),
        (DATES.into(), &["<M8[D]", "astype"]),
        (TEXTS.into(), &["text (<U5)", "number"]),
        (c("<f4", "(2,)", &[0, 0, 0, 0, 0, 0, 0xc0, 0x7f]), &["byte 132", "missing value"]),
        (c("<f8", "(2,)", &doubles(&[1.0, 1e300])), &["byte 136", "1e300", "scale the features"]),
        (c("<f8", "(2,)", &doubles(&[f64::NEG_INFINITY, 0.0])), &["byte 128", "-inf"]),
        (c("|u1", "()", &[1]), &["an array of examples"]),
        (c("|u1", "(0, 3)", &[]), &["1 to 2147483648 examples", "[0, 3]"]),
        (c("|u1", "(3, 0)", &[]), &["1 to 262144 features"]),
        (c("|u1", "(1, 999999999)", &[]), &["1 to 262144 features"]),
        (c("|u1", "(2000000000, 9999)", &[]), &["at most 17179869184 features"]),
        (c("|u1", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", &[1]), &["at most 8 dimensions"]),
        (c("|u1", "(3,)", &[1, 2]), &["byte 130", "3 bytes of features", "after 2"]),
        (c("|u1", "(1,)", &[1, 2]), &["byte 129", "the end of the file", "more bytes"]),
        (b"abcdefgh".to_vec(), &["byte 0", "NUMPY of npy", "found abcdef"]),
    ];
    for (bytes, parts) in cases {
        let error = message(load_features(&bytes));
        for part in parts.iter().chain(&["a.npy"]) {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn headers() {
    let python_2 = c("<u2", "(2L, 1L)", &[1, 0, 2, 0]);
    assert_eq!(load_features(&python_2).unwrap().0.features, Features::F32(vec![1.0, 2.0]));
    let mut version_2 = b"\x93NUMPY\x02\x00".to_vec();
    version_2.extend([118, 0, 0, 0]);
    version_2.extend(&two()[10..]);
    assert_eq!(load_features(&version_2).unwrap().0.features, Features::U8(vec![7, 8]));
    let deep = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {}", "(".repeat(60));
    let mut bytes = two();
    bytes[10..10 + deep.len()].copy_from_slice(deep.as_bytes());
    assert!(message(load_features(&bytes)).contains("byte 10: expected a header with 'descr'"));
    bytes[6] = 9;
    assert!(message(load_features(&bytes)).contains("byte 6: expected npy version 1, 2 or 3"));
}

#[test]
fn folders() {
    let (a, b) = (c("|u1", "(2, 2)", &[1, 2, 3, 4]), c("<f4", "(1, 2)", &[0; 8]));
    let (y, z) = (c("|u1", "(2,)", &[0, 1]), c("|u1", "(1,)", &[1]));
    let both =
        [("x_train.npy", &a[..]), ("y_train.npy", &y), ("x_test.npy", &b), ("y_test.npy", &z)];
    let (train, test) = load_folder(folder(&both).path()).unwrap();
    // One type for both splits.
    assert_eq!(train.features, Features::F32(vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(train.labels, RawLabels::Numbers(vec![0.0, 1.0]));
    assert_eq!(test.unwrap().features, Features::F32(vec![0.0, 0.0]));

    let other = c("<f4", "(1, 2, 1)", &[0; 8]);
    let files = [both[0], both[1], ("x_test.npy", &other), both[3]];
    let error = message(load_folder(folder(&files).path()));
    for part in ["x_test.npy, byte 10", "shape [2], as in", "x_train.npy", "found [2, 1]"] {
        assert!(error.contains(part), "{error}");
    }

    let (train, test) = load_folder(folder(&[("images.npy", &a)]).path()).unwrap();
    assert_eq!((train.labels, test), (RawLabels::None, None));
    assert_eq!(train.places, Places::Bytes { start: 128, size: 2 });

    let files = [("features.npy", &a[..]), ("labels.npy", &[]), ("my_labels.npy", &y)];
    let (train, _) = load_folder(folder(&files).path()).unwrap();
    assert_eq!(train.labels, RawLabels::None);

    let files = [("a.npy", &a[..]), ("b.npy", &[]), ("c.npy/d", &[])];
    let error = message(load_folder(folder(&files).path()));
    for part in ["x_train/y_train", "data/target", "a.npy, b.npy (empty), c.npy (not a file)"] {
        assert!(error.contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_read_or_refused(x in edits(), y in edits(), which in 0..5_usize) {
        let four = c("<f4", "(4, 1, 2)", &[0; 32]);
        let bytes = c("|u1", "(4,)", &[0; 4]);
        let labels = [TEXTS, ONE_HOT, &bytes, OBJECTS, NAMED][which];
        for (x, y) in [(edited(&four, &x), labels.to_vec()), (four, edited(labels, &y))] {
            let folder = folder(&[("X.npy", &x), ("y.npy", &y)]);
            let _ = load_folder(folder.path()).map_err(|error| error.to_string());
        }
    }

    #[test]
    fn any_header_is_read_or_refused(text in "[{(\\[]?['0-9a-zA-Z<,: ()\\[\\]{}jxL._-]{0,80}") {
        let mut bytes = b"\x93NUMPY\x03\x00".to_vec();
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.bytes());
        let _ = load_features(&bytes).is_ok();
    }
}
