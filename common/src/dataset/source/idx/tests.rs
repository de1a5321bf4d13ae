use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::dataset::Features;
use crate::dataset::raw::{Places, RawLabels};
use crate::dataset::source::testing::{TO_TRAIN, edited, edits, folder, message};

fn load(path: &Path) -> Result<Splits, DatasetError> {
    super::load(path, TO_TRAIN)
}

fn idx(number: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, number, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|length| length.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn images() -> Vec<u8> {
    idx(8, &[2, 1, 2], &[1, 2, 3, 4])
}

fn labels() -> Vec<u8> {
    idx(8, &[2], &[7, 9])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const NAMES: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];

fn load_two(images: &[u8], labels: &[u8]) -> Result<Splits, DatasetError> {
    load(folder(&[(NAMES[0], images), (NAMES[1], labels)]).path())
}

#[test]
fn a_test_split_alone_is_data_that_nothing_is_trained_on() {
    let later = Reading { to_train: false, ..TO_TRAIN };
    for split in ["t10k", "test"] {
        let names = NAMES.map(|name| name.replace("train", split));
        let both = folder(&[(&names[0], &images()), (&names[1], &labels())]);
        assert!(message(load(both.path())).contains("train-images-idx3-ubyte"), "{split}");
        let (raw, test) = super::load(both.path(), later).unwrap();
        assert_eq!((raw.features, test.is_none()), (Features::U8(vec![1, 2, 3, 4]), true));
        assert_eq!(raw.labels, RawLabels::Numbers(vec![7.0, 9.0]));
    }
    // A training split is never passed over.
    let all = [(NAMES[0], &images()[..]), (NAMES[1], &labels()), ("t10k-images-idx3-ubyte", b"?")];
    assert!(super::load(folder(&all).path(), later).is_err());
}

#[test]
fn every_type() {
    let singles = |values: &[f32]| Features::F32(values.to_vec());
    let cases: [(u8, &[u8], Features); 6] = [
        (8, &[1, 255], Features::U8(vec![1, 255])),
        (9, &[1, 255], singles(&[1.0, -1.0])),
        (11, &[1, 0, 255, 255], singles(&[256.0, -1.0])),
        (12, &[0, 0, 0, 1, 255, 255, 255, 255], singles(&[1.0, -1.0])),
        (13, &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0], singles(&[1.0, -2.0])),
        (14, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0], singles(&[1.0, -2.0])),
    ];
    for (number, values, features) in cases {
        let (raw, _) = load_two(&idx(number, &[2, 1, 1, 1], values), &labels()).unwrap();
        assert_eq!((raw.features, raw.shape), (features, vec![1, 1, 1]), "{number}");
        let (raw, _) = load_two(&idx(number, &[2], values), &idx(number, &[2, 1], values)).unwrap();
        assert_eq!(raw.shape, [1]);
        assert!(matches!(raw.labels, RawLabels::Numbers(labels) if labels[0] >= 1.0));
    }
}

#[test]
fn names() {
    let (x, y) = (images(), labels());
    let (packed_x, packed_y) = (gzip(&x), gzip(&y));
    let cases: [&[(&str, &[u8])]; 7] = [
        &[("train-images-idx3-ubyte", &x), ("train-labels-idx1-ubyte", &y)],
        &[("train-images.idx3-ubyte", &x), ("train-labels.idx1-ubyte", &y)],
        &[("train-images-idx3-ubyte.gz", &packed_x), ("train-labels-idx1-ubyte.gz", &packed_y)],
        &[
            ("emnist-letters-train-images-idx3-ubyte.gz", &packed_x),
            ("emnist-letters-train-labels-idx1-ubyte", &y),
            ("emnist-letters-mapping.txt", b"x"),
        ],
        &[("MNIST/raw/train-images-idx3-ubyte", &x), ("MNIST/raw/train-labels-idx1-ubyte", &y)],
        &[("raw/train-images-idx3-ubyte", &x), ("raw/train-labels-idx1-ubyte", &y)],
        // A folder and an empty file of the right name are passed over, and so is the packed file.
        &[
            ("train-images-idx3-ubyte/inner", &x),
            ("train-images.idx3-ubyte", &x),
            ("train-images.idx3-ubyte.gz", b"bad"),
            ("train-labels-idx1-ubyte", b""),
            ("train-labels-idx1-ubyte.gz", &packed_y),
        ],
    ];
    for files in cases {
        let (raw, test) = load(folder(files).path()).unwrap();
        assert_eq!((raw.features, raw.shape), (Features::U8(vec![1, 2, 3, 4]), vec![1, 2]));
        assert_eq!(raw.labels, RawLabels::Numbers(vec![7.0, 9.0]), "{files:?}");
        assert_eq!(raw.places, Places::Bytes { start: 8, size: 1 });
        assert_eq!(test, None);
    }
}

#[test]
fn splits() {
    let (x, y) = (images(), labels());
    let train = [("train-images-idx3-ubyte", &x[..]), ("train-labels-idx1-ubyte", &y)];
    for name in ["t10k", "test"] {
        let names = [format!("{name}-images-idx3-ubyte"), format!("{name}-labels-idx1-ubyte")];
        let float = idx(13, &[1, 1, 2], &[0; 8]);
        let files = [train[0], train[1], (&names[0], &float), (&names[1], &idx(8, &[1], &[3]))];
        let (train_raw, test) = load(folder(&files).path()).unwrap();
        assert_eq!(train_raw.features, Features::F32(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(test.unwrap().labels, RawLabels::Numbers(vec![3.0]));
        let error = message(load(folder(&files[..3]).path()));
        assert!(error.contains(&format!("labels beside {}", names[0])), "{error}");
        let other = idx(8, &[1, 2, 1], &[0; 2]);
        let files = [train[0], train[1], (&names[0], &other), files[3]];
        let error = message(load(folder(&files).path()));
        assert!(error.contains("byte 4: expected examples of shape [1, 2], as in"), "{error}");
    }
    let (raw, _) = load(folder(&train[..1]).path()).unwrap();
    assert_eq!(raw.labels, RawLabels::None);
}

#[test]
fn qmnist() {
    let rows: Vec<u8> = [[5_u32, 4, 0, 9, 1, 1, 2, 3], [0; 8]]
        .concat()
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    let rows = idx(12, &[2, 8], &rows);
    let names = ["qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"];
    let (raw, _) = load(folder(&[(names[0], &images()), (names[1], &rows)]).path()).unwrap();
    assert_eq!(raw.labels, RawLabels::Numbers(vec![5.0, 0.0]));
    assert_eq!(raw.places, Places::Bytes { start: 12, size: 32 });
    // Another file of this shape is no list of labels.
    assert!(message(load_two(&images(), &rows)).contains("one-hot"));
}

#[test]
fn wrong_files() {
    let cases: [(Vec<u8>, &[&str]); 7] = [
        (b"abcdef".to_vec(), &["byte 0", "00 00", "61 62 63 64"]),
        (idx(10, &[2], &[1, 2]), &["byte 0", "00 00 0a 01"]),
        (idx(8, &[], &[1]), &["byte 3", "1 to 8 dimensions", "found 0"]),
        (idx(8, &[2, 2], &[1, 2, 3]), &["byte 15", "4 bytes of features", "after 3"]),
        (idx(8, &[2], &[1, 2, 3]), &["byte 10", "the end of the file"]),
        (idx(13, &[2], &[0x7f, 0xc0, 0, 0, 0, 0, 0, 0]), &["byte 8", "missing value"]),
        (idx(8, &[u32::MAX, u32::MAX], &[]), &["byte 4", "1 to 2147483648 examples"]),
    ];
    for (bytes, parts) in cases {
        let error = message(load_two(&bytes, &labels()));
        for part in parts.iter().chain(&["train-images-idx3-ubyte"]) {
            assert!(error.contains(part), "{error}");
        }
    }
    let error = message(load_two(&images(), &idx(8, &[3], &[0; 3])));
    assert!(error.contains("labels-idx1-ubyte, byte 4: expected 2 labels"), "{error}");
}

#[test]
fn wrong_folders() {
    let (x, y) = (images(), labels());
    let error = message(load(folder(&[("a", &x), (NAMES[1], &y)]).path()));
    assert!(error.contains("expected the files train-images-idx3-ubyte and"), "{error}");
    assert!(error.contains("found train-labels-idx1-ubyte"), "{error}");
    let error = message(load(
        folder(&[("a-train-images-idx3-ubyte", &x), ("b-train-images-idx3-ubyte", &x)]).path(),
    ));
    assert!(error.contains("those of a-, b-: move each"), "{error}");
    let error = message(load(
        folder(&[
            ("MNIST/raw/train-images-idx3-ubyte", &x),
            ("KMNIST/raw/train-images-idx3-ubyte", &x),
        ])
        .path(),
    ));
    assert!(error.contains("KMNIST/raw and MNIST/raw: name one"), "{error}");
    assert!(message(load(Path::new("/nonexistent"))).contains("/nonexistent"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_read_or_refused(x in edits(), y in edits(), packed: bool) {
        let pack = |bytes: &[u8]| if packed { gzip(bytes) } else { bytes.to_vec() };
        let (plain_x, plain_y) = (pack(&images()), pack(&labels()));
        for (x, y) in [(edited(&plain_x, &x), plain_y.clone()), (plain_x, edited(&plain_y, &y))] {
            let folder = folder(&[(NAMES[0], &x), (NAMES[1], &y)]);
            let _ = load(folder.path()).map_err(|error| error.to_string());
        }
    }
}
