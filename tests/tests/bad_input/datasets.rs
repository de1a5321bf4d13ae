//! Data files.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::case::{Case, check, noise};

const IMAGES: &str = "data/train-images-idx3-ubyte";
const LABELS: &str = "data/train-labels-idx1-ubyte";

/// `coordinator run` over this source.
fn over(name: &str, source: &str) -> Case {
    let spec = "run --model softmax --epochs 1 --coordinator 127.0.0.1:1";
    Case::coordinator(name, format!("{spec} --dataset {source}"))
}

/// Big-endian words, then bytes.
fn idx(words: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(body);
    bytes
}

/// Three images of 2 × 1 pixels.
fn images() -> Vec<u8> {
    idx(&[0x803, 3, 2, 1], &[0, 1, 2, 3, 4, 5])
}

fn labels() -> Vec<u8> {
    idx(&[0x801, 3], &[0, 2, 1])
}

fn over_idx(name: &str, images: Vec<u8>, labels: Vec<u8>) -> Case {
    over(name, "idx:DIR/data").file(IMAGES, images).file(LABELS, labels)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

#[test]
fn sources() {
    check(vec![
        over("an unknown source", "mnist").says(&["\"mnist\"", "`digits`", "`csv:FILE`"]),
        over("an unknown kind", "feather:DIR/x").says(&["\"feather:DIR/x\"", "`npy:FOLDER`"]),
        over("no folder", "idx:").says(&["\"idx:\"", "`idx:FOLDER`"]),
        over("no such folder", "idx:DIR/none").says(&["DIR/none", "No such file"]),
        over("no such arrays", "npy:DIR").says(&["DIR", "x_train/y_train"]),
        over("no such table", "csv:DIR/none.csv").says(&["DIR/none.csv", "No such file"]),
        over("a folder for a table", "csv:DIR").says(&["DIR", "expected a file"]),
        over("no text", "csv:/dev/null").says(&["/dev/null", "expected examples"]),
        over("more held out than there is", "digits --set dataset.test_examples=1439")
            .says(&["`test_examples` of at most 1438", "found 1439"]),
        over("a label of no class", "digits --set dataset.classes=9").says(&[
            "digits, line",
            "below 9",
            "\"9\"",
        ]),
    ]);
}

#[test]
fn idx_folders() {
    let packed_images = packed(&images());
    let torn = packed_images[..packed_images.len() - 6].to_vec();
    let mut noisy = packed_images[..10].to_vec();
    noisy.extend(noise(500));
    check(vec![
        over_idx("no idx", b"ten bytes: no idx".to_vec(), labels())
            .says(&["DIR/data/train-images-idx3-ubyte, byte 0", "an idx file"]),
        over_idx("another rank", idx(&[0x802, 3, 2, 1], &[0; 6]), labels())
            .says(&["DIR/data/train-images-idx3-ubyte, byte 18", "end of the file"]),
        over_idx("an empty file", Vec::new(), labels())
            .says(&["train-images-idx3-ubyte (empty)", "expected the files"]),
        over_idx("truncated images", images()[..20].to_vec(), labels()).says(&[
            "byte 20",
            "6 bytes of features",
            "end of the file after 4",
        ]),
        over_idx("truncated labels", images(), labels()[..10].to_vec())
            .says(&["train-labels-idx1-ubyte, byte 10", "3 bytes of labels"]),
        over_idx("images left over", [images(), vec![9]].concat(), labels()).says(&[
            "byte 22",
            "end of the file",
            "more bytes",
        ]),
        over_idx("too few labels", images(), idx(&[0x801, 2], &[0, 1])).says(&[
            "train-labels-idx1-ubyte, byte 4",
            "3 labels",
            "shape [2]",
        ]),
        over_idx("no images", idx(&[0x803, 0, 2, 1], &[]), labels())
            .says(&["byte 4", "shape [0, 2, 1]"]),
        over_idx("four billion images", idx(&[0x803, u32::MAX, 2, 1], &[]), labels())
            .says(&["byte 4", "4294967295"]),
        over_idx("images without end", idx(&[0x803, 3, u32::MAX, u32::MAX], &[]), labels())
            .says(&["byte 4", "[3, 4294967295, 4294967295]"]),
        over_idx("more than fits", idx(&[0x803, 1 << 30, 28, 28], &[]), labels()).says(&[
            "byte 4",
            "at most",
            "features in all",
        ]),
        over_idx("gzip that is torn", torn, labels()).says(&["gzip data that unpacks", "damage"]),
        over_idx("gzip that is noise", noisy, labels()).says(&["gzip data that unpacks", "damage"]),
        over_idx("other images to test with", images(), labels())
            .file("data/t10k-images-idx3-ubyte", idx(&[0x803, 1, 3, 1], &[0, 1, 2]))
            .file("data/t10k-labels-idx1-ubyte", idx(&[0x801, 1], &[0]))
            .says(&["t10k-images-idx3-ubyte", "shape [2, 1]", "[3, 1]"]),
        over_idx("test images without labels", images(), labels())
            .file("data/t10k-images-idx3-ubyte", images())
            .says(&["a file of labels beside t10k-images-idx3-ubyte", "found none"]),
    ]);
}

/// A `.npy` file of version 1.
fn npy(element: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let order = "'fortran_order': False";
    let header = format!("{{'descr': '{element}', {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

fn over_npy(name: &str, features: Vec<u8>, labels: Vec<u8>) -> Case {
    over(name, "npy:DIR/data")
        .file("data/train_features.npy", features)
        .file("data/train_labels.npy", labels)
}

#[test]
fn npy_folders() {
    let features = || npy("|u1", "(2, 2)", &[1, 2, 3, 4]);
    let labels = || npy("|u1", "(2,)", &[0, 1]);
    let floats = |values: [f32; 2]| npy("<f4", "(2, 1)", &values.map(f32::to_le_bytes).concat());
    check(vec![
        over_npy("not npy", b"no arrays at all".to_vec(), labels())
            .says(&["DIR/data/train_features.npy, byte 0", "NUMPY"]),
        over_npy("a torn archive", b"PK\x03\x04 zipped arrays".to_vec(), labels())
            .says(&["DIR/data/train_features.npy, byte 0", "zip data that unpacks"]),
        over_npy("another version", b"\x93NUMPY\x09\x00xxxx".to_vec(), labels()).says(&[
            "byte 6",
            "version 1, 2 or 3",
            "9",
        ]),
        over_npy("another type", npy("<c8", "(2, 1)", &[0; 16]), labels()).says(&[
            "numbers or texts",
            "<c8",
            "astype(numpy.float32)",
        ]),
        over_npy("objects", npy("|O", "(2, 1)", &[0; 16]), labels())
            .says(&["Python objects (|O)", "allow_pickle=False"]),
        over_npy("no axis", npy("|u1", "()", &[0]), labels()).says(&["shape []", "an array"]),
        over_npy("no end", npy("|u1", "(9223372036854775807, 262144)", &[]), labels())
            .says(&["9223372036854775807"]),
        over_npy("truncated", npy("|u1", "(2, 2)", &[1, 2, 3]), labels())
            .says(&["4 bytes of features", "after 3"]),
        over_npy("not a number", floats([0.5, f32::NAN]), labels()).says(&[
            "train_features.npy, byte",
            "a finite number",
            "NaN",
        ]),
        over_npy("endless", floats([f32::INFINITY, 0.5]), labels())
            .says(&["a finite number", "inf"]),
        over_npy("too few labels", features(), npy("|u1", "(1,)", &[0])).says(&[
            "train_labels.npy",
            "2 labels",
            "[1]",
        ]),
        over_npy("labels of another type", features(), npy("<c8", "(2,)", &[0; 16])).says(&[
            "train_labels.npy",
            "numbers or texts",
            "<c8",
        ]),
        over_npy("labels that are no choice", features(), npy("|u1", "(2, 2)", &[1, 1, 0, 1]))
            .says(&["train_labels.npy, byte", "one-hot", "argmax"]),
        over("no labels", "npy:DIR/data").file("data/x_train.npy", features()).says(&[
            "x_train.npy",
            "expected labels",
            "found none",
        ]),
    ]);
}

/// A table whose label is in its last column.
fn over_csv(name: &str, text: impl Into<Vec<u8>>) -> Case {
    over(name, "csv:DIR/data.csv --set dataset.label=last").file("data.csv", text)
}

#[test]
fn csv_files() {
    check(vec![
        over_csv("empty", "").says(&["DIR/data.csv, line 1", "expected examples"]),
        over_csv("only a header", "a,b,label\n").says(&["DIR/data.csv", "expected examples"]),
        over_csv("ragged", "1,2,0\n3,4,1\n3,1\n").says(&[
            "DIR/data.csv, line 3",
            "3 fields",
            "found 2",
        ]),
        over_csv("one column", "0\n1\n").says(&["line 1", "at least two columns"]),
        over_csv("no number", "1,2,0\n3,4,1\n3,x,1\n").says(&["line 3", "number", "\"x\""]),
        over_csv("NaN", "1,2,0\n3,nan,1\n").says(&["line 2", "column 2", "`dataset.missing`"]),
        over_csv("a gap", "1,2,0\n3,,1\n").says(&["line 2", "column 2", "found none"]),
        over_csv("endless", "1,2,0\n3,4,1\n3,inf,1\n").says(&["line 3", "column 2", "\"inf\""]),
        over_csv("a label beyond all", "1,2,70000\n")
            .args(" --set dataset.classes=9")
            .says(&["line 1", "below 9", "70000"]),
        over_csv("not text", vec![b'1', b',', b'2', b'\n', 0, 1, 2])
            .says(&["DIR/data.csv, byte 4", "expected text"]),
        over("a label that cannot be guessed", "csv:DIR/data.csv")
            .file("data.csv", "1,2,0\n3,4,1\n")
            .says(&["a column of labels", "`dataset.label`"]),
        over_csv("no such label", "1,2,0\n3,4,1\n")
            .args(" --set dataset.label=kind")
            .says(&["`dataset.label`", "\"kind\""]),
        over_csv("no such separator", "1,2,0\n")
            .args(" --set dataset.separator=ab")
            .says(&["`dataset.separator`", "one ASCII character"]),
        over_csv("more to test with than there is", "1,2,0\n3,4,1\n")
            .args(" --set dataset.test_examples=3")
            .says(&["`test_examples` of at most 2", "found 3"]),
        over_csv("nothing left to learn from", "1,2,0\n3,4,1\n")
            .args(" --set dataset.test_examples=2")
            .says(&["expected", "training"]),
    ]);
}
