use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array1, Array2, Array3, array};
use ndarray_npy::WriteNpyExt;
use tempfile::TempDir;

use super::*;

/// A folder of small files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self(folder)
    }

    /// `idx:FOLDER`, or `csv:FOLDER/FILE`.
    fn spec(&self, kind: &str, file: &str) -> DatasetSpec {
        let path = if file.is_empty() { self.0.path().into() } else { self.0.path().join(file) };
        let source = format!("{kind}:{}", path.display());
        DatasetSpec::new(source)
    }
}

/// Loads what must fail, and checks what the error says.
fn check_error(spec: &DatasetSpec, expected: &str) {
    let error = match load(spec) {
        Ok(_) => panic!("{expected}: loaded"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(expected), "expected {expected:?} in {error:?}");
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(magic: u32, header: &[u32], body: &[u8]) -> Vec<u8> {
    let words = [&[magic], header].concat();
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(body);
    bytes
}

/// Three images of 2 × 1 pixels.
fn images() -> Vec<u8> {
    idx(0x803, &[3, 2, 1], &[0, 51, 102, 153, 204, 255])
}

fn labels() -> Vec<u8> {
    idx(0x801, &[3], &[0, 2, 1])
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

#[test]
fn idx_folders_load_under_all_their_names() {
    let one_image = idx(0x803, &[1, 1, 2], &[7, 8]);
    let one_label = idx(0x801, &[1], &[4]);
    let folders = [
        Folder::new(&[
            (IMAGES, images()),
            (LABELS, labels()),
            (TEST_IMAGES, one_image.clone()),
            (TEST_LABELS, one_label.clone()),
        ]),
        Folder::new(&[
            ("train-images-idx3-ubyte.gz", packed(&images())),
            ("train-labels-idx1-ubyte.gz", packed(&labels())),
            ("t10k-images.idx3-ubyte", one_image),
            ("t10k-labels.idx1-ubyte.gz", packed(&one_label)),
        ]),
    ];
    for folder in folders {
        let data = load(&folder.spec("idx", "")).unwrap();
        assert_eq!(data.train.features(), &Features::U8(vec![0, 51, 102, 153, 204, 255]));
        assert_eq!(data.train.labels(), [0, 2, 1]);
        assert_eq!(data.test.features(), &Features::U8(vec![7, 8]));
        // Both splits have the classes of both.
        assert_eq!((data.train.classes(), data.test.classes()), (5, 5));
        assert_eq!((data.train.width(), data.train.scale()), (2, 255.0));
    }
    let folder = Folder::new(&[(IMAGES, images()), (LABELS, labels())]);
    let spec = folder.spec("idx", "");
    assert!(load(&spec).unwrap().test.is_empty());
    let data = load(&DatasetSpec { test_examples: Some(1), ..spec }).unwrap();
    assert_eq!((data.train.labels(), data.test.labels()), (&[0, 2][..], &[1][..]));
}

#[test]
fn training_examples_are_held_out_in_place_of_a_sources_own_test_split() {
    let one_image = idx(0x803, &[1, 1, 2], &[7, 8]);
    let one_label = idx(0x801, &[1], &[4]);
    let folder = Folder::new(&[
        (IMAGES, images()),
        (LABELS, labels()),
        (TEST_IMAGES, one_image),
        (TEST_LABELS, one_label),
    ]);
    let held_out = |spec: DatasetSpec, count| {
        load(&DatasetSpec { test_examples: Some(count), ..spec }).unwrap()
    };
    let data = held_out(folder.spec("idx", ""), 2);
    assert_eq!(data.train.features(), &Features::U8(vec![0, 51]));
    assert_eq!(data.test.features(), &Features::U8(vec![102, 153, 204, 255]));
    assert_eq!((data.train.labels(), data.test.labels()), (&[0][..], &[2, 1][..]));
    // What nobody is judged by does not count.
    assert_eq!(data.train.classes(), 3);
    assert!(held_out(folder.spec("idx", ""), 0).test.is_empty());

    let digits = DatasetSpec { source: "digits".into(), ..folder.spec("idx", "") };
    let all = load(&digits).unwrap();
    let data = held_out(digits, 100);
    assert_eq!((data.train.len(), data.test.len()), (1338, 100));
    assert_eq!(data.test.labels(), &all.train.labels()[1338..]);

    let folder = npy_folder(npy(&array![[1.0f32], [2.0]]), npy(&array![0u8, 1]));
    std::fs::write(folder.0.path().join("test_features.npy"), npy(&array![[3.0f32]])).unwrap();
    std::fs::write(folder.0.path().join("test_labels.npy"), npy(&array![1u8])).unwrap();
    let data = held_out(folder.spec("npy", ""), 1);
    assert_eq!(data.test.features(), &Features::F32(vec![2.0]));
}

#[test]
fn bad_idx_files_are_refused() {
    let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
    let damaged = |mut bytes: Vec<u8>| {
        let middle = bytes.len() - 6;
        bytes[middle] ^= 0xff;
        bytes
    };
    let long = |mut bytes: Vec<u8>| {
        bytes.push(0);
        bytes
    };
    let both = |images, labels| vec![(IMAGES, images), (LABELS, labels)];
    let with_test = |images, labels| {
        [both(self::images(), self::labels()), vec![(TEST_IMAGES, images), (TEST_LABELS, labels)]]
            .concat()
    };
    let bomb = packed(&[&idx(0x803, &[3, 2, 1], &[])[..], &[0; 1 << 20]].concat());
    let huge = idx(0x803, &[0x7fff_ffff, 512, 512], &[]);
    let cases = [
        (vec![], "train-images-idx3-ubyte or train-images-idx3-ubyte.gz or"),
        (vec![(IMAGES, images())], "expected a file train-labels-idx1-ubyte or"),
        (both(vec![], labels()), "ubyte, byte 0: expected 4 bytes of the magic number from byte 0"),
        (both(vec![0, 0, 8], labels()), "byte 3: expected 4 bytes of the magic number"),
        (both(labels(), labels()), "byte 0: expected the magic number 0x00000803"),
        (
            both(images(), images()),
            "labels-idx1-ubyte, byte 0: expected the magic number 0x00000801",
        ),
        (both(cut(images(), 1), labels()), "byte 21: expected 6 bytes of pixels from byte 16 on"),
        (both(long(images()), labels()), "byte 22: expected the end of the file, found more bytes"),
        (both(images(), cut(labels(), 2)), "byte 9: expected 3 bytes of labels from byte 8 on"),
        (both(images(), long(labels())), "byte 11: expected the end of the file"),
        (
            both(images(), idx(0x801, &[2], &[0, 1])),
            "byte 4: expected 3 labels, one for each image",
        ),
        (both(idx(0x803, &[0, 2, 1], &[]), labels()), "byte 4: expected 1 to 2147483648 examples"),
        (
            both(idx(0x803, &[3, 0, 1], &[]), labels()),
            "byte 8: expected images of 1 to 262144 pixels",
        ),
        (both(idx(0x803, &[3, !0, !0], &[]), labels()), "found 4294967295 × 4294967295"),
        (both(huge, labels()), "byte 4: expected at most 17179869184 pixels in all"),
        (both(bomb, labels()), "byte 22: expected the end of the file, found more bytes"),
        (both(cut(packed(&images()), 9), labels()), "expected gzip data that unpacks"),
        (both(damaged(packed(&images())), labels()), "expected gzip data that unpacks"),
        (with_test(idx(0x803, &[1, 1, 1], &[0]), labels()), "byte 8: expected images of 2 pixels"),
        (with_test(images(), idx(0x801, &[9], &[])), "t10k-labels-idx1-ubyte, byte 4"),
    ];
    for (files, expected) in cases {
        check_error(&Folder::new(&files).spec("idx", ""), expected);
    }
    let folder = Folder::new(&both(images(), labels()));
    let spec = DatasetSpec { classes: Some(2), ..folder.spec("idx", "") };
    check_error(&spec, "labels-idx1-ubyte, byte 9: expected a label below 2, found 2");
    let folder = Folder::new(&[(IMAGES, images()), (LABELS, labels()), (TEST_LABELS, labels())]);
    check_error(&folder.spec("idx", ""), "expected a file t10k-images-idx3-ubyte or");
    check_error(&folder.spec("idx", "nowhere"), "nowhere: expected a file train-images");
}

fn csv_spec(text: &[u8]) -> (Folder, DatasetSpec) {
    let folder = Folder::new(&[("data.csv", text.to_vec())]);
    let spec = folder.spec("csv", "data.csv");
    (folder, spec)
}

#[test]
fn csv_files_load_however_they_are_written() {
    let texts: [&[u8]; 5] = [
        b"1,2.5,0\n-3,4,1\n",
        b"x,y,label\n1,2.5,0\n-3,4,1",
        b"\xef\xbb\xbfx,y,label\r\n1,2.5,0\r\n\r\n-3,4,1\r\n\r\n",
        b" 1 , 2.5 , 0.0\n-3e0,4.000,1e0\n",
        &packed(b"1,2.5,0\n-3,4,1\n"),
    ];
    for text in texts {
        let (_folder, spec) = csv_spec(text);
        let data = load(&spec).unwrap();
        assert_eq!(data.train.features(), &Features::F32(vec![1.0, 2.5, -3.0, 4.0]));
        assert_eq!((data.train.labels(), data.train.classes()), (&[0, 1][..], 2));
        assert_eq!((data.test.len(), data.train.scale()), (0, 1.0));
    }
}

#[test]
fn csv_files_split_where_the_spec_says() {
    let (_folder, spec) = csv_spec(b"1,0\n2,1\n3,2\n");
    let split = |test_examples| load(&DatasetSpec { test_examples, ..spec.clone() });
    let data = split(Some(1)).unwrap();
    assert_eq!((data.train.labels(), data.test.labels()), (&[0, 1][..], &[2][..]));
    assert_eq!(data.train.classes(), 3);
    let data = split(Some(3)).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (0, 3));
    let error = split(Some(4)).unwrap_err().to_string();
    assert!(
        error.contains("`test_examples` of at most 3, the number of training examples, found 4"),
        "{error}"
    );
    let digits = DatasetSpec { source: "digits".into(), test_examples: Some(1439), ..spec };
    check_error(
        &digits,
        "`test_examples` of at most 1438, the number of training examples, found 1439",
    );
}

#[test]
fn bad_csv_files_are_refused() {
    let cases: [(&[u8], &str); 17] = [
        (b"", "data.csv, line 1: expected examples, found the end of the file"),
        (b"\n\n", "line 2: expected examples"),
        (b"x,y,label\n", "line 1: expected examples"),
        (b"1\n", "line 1: expected 2 to 262145 fields: features, then a label, found 1"),
        (b"1,2,0\n1,2,3,0\n", "line 2: expected 3 fields, as in the lines before, found 4"),
        (b"x,y,label\n1,2,0\n1,0\n", "line 3: expected 3 fields, as in the lines before, found 2"),
        (b"1,2,0\n1,,0\n", "line 2: expected a finite number in column 2, found \"\""),
        (b"1,2,0\n1,NaN,0\n", "line 2: expected a finite number in column 2, found \"NaN\""),
        (b"1,2,0\n1,inf,0\n", "found \"inf\""),
        (b"1,2,0\n1,1e99,0\n", "found \"1e99\""),
        (b"1,x,0\n", "line 1: expected a finite number in column 2, found \"x\""),
        (b"1,2,-1\n", "line 1: expected a label (a whole number from 0, below 65536) in column 3"),
        (b"1,2,0.5\n", "found \"0.5\""),
        (b"1,2,65536\n", "found \"65536\""),
        (b"1,2,NaN\n", "expected a label"),
        (b"1,2,cat\n", "line 1: expected a label"),
        (b"1,2,0\n1,\xff,0\n", "line 2: expected text in UTF-8"),
    ];
    for (text, expected) in cases {
        let (_folder, spec) = csv_spec(text);
        check_error(&spec, expected);
    }
    let (_folder, spec) = csv_spec(b"1,2,0\n1,2,3\n");
    let spec = DatasetSpec { classes: Some(3), ..spec };
    check_error(&spec, "line 2: expected a label (a whole number from 0, below 3)");
}

#[test]
fn endless_lines_are_refused() {
    // 16 MiB of zeros pack into 16 KiB.
    let (_folder, spec) = csv_spec(&packed(&vec![b'0'; 16 << 20]));
    check_error(&spec, "line 1: expected a line of less than 10485760 bytes");
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new(&[]);
    check_error(&folder.spec("csv", "none.csv"), "none.csv: No such file");
    check_error(&folder.spec("csv", ""), "expected a file, found something else");
    check_error(&folder.spec("npy", ""), "train_features.npy: No such file");
    let pipe = DatasetSpec { source: "csv:/dev/zero".into(), ..folder.spec("csv", "") };
    check_error(&pipe, "/dev/zero: expected a file");
}

fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

/// An npy file of version 1 with this header and body.
fn raw_npy(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

fn npy_folder(features: Vec<u8>, labels: Vec<u8>) -> Folder {
    Folder::new(&[("train_features.npy", features), ("train_labels.npy", labels)])
}

#[test]
fn npy_folders_load_in_all_their_types() {
    let floats = npy(&array![[1.0f32, 2.5], [-3.0, 4.0]]);
    let labels = [
        npy(&Array1::from(vec![3u8, 1])),
        npy(&Array1::from(vec![3u32, 1])),
        npy(&Array1::from(vec![3i32, 1])),
        npy(&Array1::from(vec![3i64, 1])),
    ];
    for labels in labels {
        let data = load(&npy_folder(floats.clone(), labels).spec("npy", "")).unwrap();
        assert_eq!(data.train.features(), &Features::F32(vec![1.0, 2.5, -3.0, 4.0]));
        assert_eq!((data.train.labels(), data.train.classes()), (&[3, 1][..], 4));
        assert_eq!((data.train.width(), data.train.scale()), (2, 1.0));
    }
    // Images of bytes are flattened; a test split may be there.
    let images = npy(&Array3::from_shape_vec((2, 2, 2), (0..8u8).collect()).unwrap());
    let labels = npy(&Array1::from(vec![0u8, 1]));
    let folder = Folder::new(&[
        ("train_features.npy", images.clone()),
        ("train_labels.npy", labels.clone()),
        ("test_features.npy", images),
        ("test_labels.npy", labels),
    ]);
    let data = load(&folder.spec("npy", "")).unwrap();
    assert_eq!(data.train, data.test);
    assert_eq!((data.train.width(), data.train.scale()), (4, 255.0));
    // NumPy's own header: padded, with a comma behind the last entry.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }             \n";
    let labels = "{ 'shape' :(2,),'fortran_order':False, 'descr': '|u1'}\n";
    let folder = npy_folder(raw_npy(header, &[5, 6]), raw_npy(labels, &[0, 1]));
    assert_eq!(load(&folder.spec("npy", "")).unwrap().train.len(), 2);
}

#[test]
fn bad_npy_files_are_refused() {
    let good = || npy(&array![[1.0f32, 2.5], [-3.0, 4.0]]);
    let labels = || npy(&Array1::from(vec![0i64, 1]));
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
    let long = |bytes: Vec<u8>| [bytes, vec![0]].concat();
    let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
    let cases = [
        (vec![], labels(), "features.npy, byte 0: expected 8 bytes of the magic bytes"),
        (b"NUMPY\x93\x01\0".to_vec(), labels(), "byte 0: expected the magic bytes \\x93NUMPY"),
        (b"\x93NUMPY\x09\0".to_vec(), labels(), "byte 6: expected npy version 1, 2 or 3, found 9"),
        (
            b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(),
            labels(),
            "byte 8: expected a header of at most 4096 bytes, found 4294967295",
        ),
        (raw_npy("{'descr': ", b""), labels(), "byte 10: expected a header with 'descr'"),
        (raw_npy(&"(".repeat(4000), b""), labels(), "expected a header with 'descr'"),
        (raw_npy(fortran, b""), labels(), "expected row-major order"),
        (npy(&array![[1.0f64]]), labels(), "features of type |u1 or <f4 (astype"),
        (raw_npy(&header(">f4", "(1, 1)"), &[0; 4]), labels(), "found >f4 of shape [1, 1]"),
        (npy(&Array1::from(vec![1.0f32])), labels(), "shape [examples, features…]"),
        (npy(&Array2::<f32>::zeros((0, 2))), labels(), "shape [examples, features…]"),
        (npy(&Array2::<f32>::zeros((2, 0))), labels(), "shape [examples, features…]"),
        (raw_npy(&header("<f4", "(2, -1)"), b""), labels(), "expected a header with 'descr'"),
        (
            raw_npy(&header("|u1", "(18446744073709551615, 2)"), b""),
            labels(),
            "at most 17179869184 bytes of values",
        ),
        (cut(good()), labels(), "byte 143: expected 16 bytes of values from byte 128 on"),
        (long(good()), labels(), "byte 144: expected the end of the file"),
        (npy(&array![[1.0, f32::NAN]]), labels(), "byte 132: expected a finite value, found NaN"),
        (good(), npy(&Array1::from(vec![0u8])), "labels.npy, byte 10: expected shape [2]"),
        (good(), npy(&array![[0u8], [1]]), "expected shape [2], a label for each example"),
        (good(), npy(&array![0.0f32, 1.0]), "labels of type |u1, <u4, <i4 or <i8, found <f4"),
        (
            good(),
            npy(&array![0i64, -1]),
            "byte 136: expected a label from 0, below 65536, found -1",
        ),
        (good(), npy(&array![0i32, 65536]), "byte 132: expected a label from 0, below 65536"),
        (good(), cut(labels()), "byte 143: expected 16 bytes of values"),
    ];
    for (features, labels, expected) in cases {
        check_error(&npy_folder(features, labels).spec("npy", ""), expected);
    }
    let test = |features, labels| {
        Folder::new(&[
            ("train_features.npy", good()),
            ("train_labels.npy", npy(&Array1::from(vec![0i64, 1]))),
            ("test_features.npy", features),
            ("test_labels.npy", labels),
        ])
    };
    let folder = test(npy(&array![[1.0f32], [2.0]]), labels());
    check_error(&folder.spec("npy", ""), "expected 2 features of 4 bytes, as of train");
    let folder = test(npy(&array![[1u8, 2], [2, 3]]), labels());
    check_error(&folder.spec("npy", ""), "expected 2 features of 4 bytes, as of train");
    let folder = Folder::new(&[
        ("train_features.npy", good()),
        ("train_labels.npy", labels()),
        ("test_labels.npy", labels()),
    ]);
    check_error(&folder.spec("npy", ""), "test_features.npy: No such file");
}
