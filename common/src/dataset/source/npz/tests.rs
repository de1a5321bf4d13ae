#[rustfmt::skip]
mod fixtures;

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::dataset::Features;
use crate::dataset::raw::{Places, RawLabels};
use crate::dataset::source::testing::{TO_TRAIN, edited, edits, folder, message};
use fixtures::COMPRESSED;

fn load(path: &Path) -> Result<Splits, DatasetError> {
    super::load(path, TO_TRAIN)
}

fn npy(shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(values);
    bytes
}

fn npz(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn load_bytes(bytes: &[u8]) -> Result<Splits, DatasetError> {
    load(&folder(&[("a.npz", bytes)]).path().join("a.npz"))
}

#[test]
fn archive_of_numpy() {
    let (raw, test) = load_bytes(COMPRESSED).unwrap();
    assert_eq!(raw.features, Features::U8((0..8).collect()));
    assert_eq!(raw.shape, [2, 2]);
    assert_eq!(raw.labels, RawLabels::Numbers(vec![1.0, 0.0]));
    assert_eq!(raw.places, Places::Bytes { start: 128, size: 8 });
    assert!(raw.label_file.ends_with("a.npz (y_train.npy)"), "{}", raw.label_file);
    assert_eq!(test, None);
}

#[test]
fn members() {
    let (x, y) = (npy("(2, 1)", &[5, 6]), npy("(2,)", &[0, 1]));
    let both = [("X.npy", &x[..]), ("y.npy", &y), ("X_test.npy", &x), ("y_test.npy", &y)];
    let (train, test) = load_bytes(&npz(&both, CompressionMethod::Stored)).unwrap();
    let test = test.unwrap();
    assert_eq!(train.features, test.features);
    assert_eq!(train.labels, test.labels);
    assert!(test.label_file.ends_with("(y_test.npy)"), "{}", test.label_file);

    let archive = npz(&both, CompressionMethod::Deflated);
    let folder_of_one = folder(&[("a.npz", &archive)]);
    let archive_path = folder_of_one.path().join("a.npz");
    assert_eq!(only(folder_of_one.path()).unwrap(), Some(archive_path));

    let one = npz(&[("arr_0.npy", &x)], CompressionMethod::Deflated);
    assert_eq!(load_bytes(&one).unwrap().0.labels, RawLabels::None);

    let two = npz(&[("arr_0.npy", &x), ("arr_1.npy", &y)], CompressionMethod::Stored);
    let error = message(load_bytes(&two));
    for part in ["a.npz", "x_train/y_train", "found arr_0, arr_1", "numpy.savez(path, NAME=array)"]
    {
        assert!(error.contains(part), "{error}");
    }
    let labels = npz(&[("y_train.npy", &y)], CompressionMethod::Stored);
    assert!(message(load_bytes(&labels)).contains("found y_train"));
}

#[test]
fn damage() {
    let error = message(load_bytes(b"not a zip file"));
    assert!(error.contains("byte 0: expected a .npz archive"), "{error}");
    let values = vec![3; 1000];
    let mut stored = npz(&[("X.npy", &npy("(1000,)", &values))], CompressionMethod::Stored);
    let at = stored.windows(1000).position(|window| window == values).unwrap();
    stored[at + 500] = 4;
    let error = message(load_bytes(&stored));
    assert!(error.contains("(X.npy), byte 1128: expected zip data that unpacks"), "{error}");
}

#[test]
fn bombs_cost_no_memory() {
    let zeros = vec![0; 50 << 20];
    let bomb =
        npz(&[("X.npy", &[npy("(2,)", &[1, 2]), zeros].concat())], CompressionMethod::Deflated);
    let folder = folder(&[("a.npz", &bomb)]);
    let result = load(&folder.path().join("a.npz"));
    assert!(message(result).contains("byte 130: expected the end of the file"));
}

#[test]
fn lists_are_limited() {
    let names: Vec<String> = (0..9_000).map(|index| format!("{index:0>90}.npy")).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let error = message(load_bytes(&npz(&members, CompressionMethod::Stored)));
    assert!(error.contains("too long a list of files"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn changed_archives_are_read_or_refused(edits in edits(), stored: bool, tail: bool) {
        let x = npy("(2, 1)", &[5, 6]);
        let both = npz(&[("X.npy", &x), ("y.npy", &x)], CompressionMethod::Stored);
        let bytes = if stored { &both[..] } else { COMPRESSED };
        // The list of members is at the end.
        let cut = if tail { bytes.len() - 200 } else { 0 };
        let bytes = [&bytes[..cut], &edited(&bytes[cut..], &edits)].concat();
        let folder = folder(&[("a.npz", &bytes)]);
        let path = folder.path().join("a.npz");
        let _ = load(&path).map_err(|error| error.to_string());
    }
}
