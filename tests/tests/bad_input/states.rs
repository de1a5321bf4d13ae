//! States: those that are read, and where one is to be written.

use std::collections::BTreeMap;

use common::model::{DataShape, Registry, TargetType};
use toml::Table;

use super::case::{Case, check, noise};

/// A file as Samebit writes it: `softmax` over the digits.
fn right() -> Vec<u8> {
    let shape = DataShape::new(64, TargetType::Classes(10));
    let model = Registry::standard().build("softmax", &Table::new(), shape, 1);
    let state = model.and_then(|model| model.initial_state()).expect("the model makes a state");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("right");
    state.save(&path, &BTreeMap::new()).expect("the state is saved");
    std::fs::read(path).expect("the state is there")
}

/// The right file with one text of its header replaced by another of the same
/// length.
fn but(part: &str, by: &str) -> Vec<u8> {
    assert_eq!(part.len(), by.len(), "the header's length is told before it");
    let mut bytes = right();
    let at = bytes.windows(part.len()).position(|bytes| bytes == part.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{part:?} is no part of the header"));
    bytes[at..at + part.len()].copy_from_slice(by.as_bytes());
    bytes
}

/// A zip archive whose first file has this name.
fn archive(name: &str) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.resize(26, 0);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0; 2]);
    [bytes, name.as_bytes().to_vec()].concat()
}

/// A file of f32 tensors without metadata.
fn plain(tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let (mut header, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = body.len();
        body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let place = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [start, body.len()],
        });
        header.insert((*name).into(), place);
    }
    with_header(&serde_json::to_string(&header).expect("plain data"), &body)
}

fn with_header(header: &str, body: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), body].concat()
}

/// `coordinator evaluate` of this file.
fn evaluate(name: &str, file: Vec<u8>) -> Case {
    let spec = "--model softmax --dataset digits --coordinator 127.0.0.1:1";
    Case::coordinator(name, format!("evaluate DIR/state {spec}")).file("state", file)
}

#[test]
fn files_to_evaluate() {
    let mut not_finite = right();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut changed = right();
    changed[end - 4] ^= 1;
    let values = [0.5; 640];
    let weights = ("weights", &[64, 10][..], &values[..]);
    let complex = r#"{"weights":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#;
    check(vec![
        Case::coordinator("no such file", "evaluate DIR/none").says(&["DIR/none", "No such file"]),
        Case::coordinator("a folder", "evaluate DIR").says(&["DIR"]),
        evaluate("empty", Vec::new()).says(&["DIR/state", "at least 8 bytes", "found 0"]),
        evaluate("noise", noise(1000)).says(&["DIR/state", "another format, or is truncated"]),
        evaluate("a header without end", u64::MAX.to_le_bytes().to_vec())
            .says(&["DIR/state", "18446744073709551615"]),
        evaluate("a header that is no JSON", with_header("tensors!", &[]))
            .says(&["DIR/state", "a safetensors header"]),
        evaluate("truncated", right()[..end - 1].to_vec())
            .says(&["DIR/state", "as its header says"]),
        evaluate("longer than it says", [right(), vec![0]].concat())
            .says(&["DIR/state", "as its header says"]),
        evaluate("not finite", not_finite).says(&["DIR/state", "digest", "damaged"]),
        evaluate(
            "not finite, of another program",
            plain(&[("bias", &[10], &[f32::NAN; 10]), weights]),
        )
        .says(&["DIR/state", "`bias` element 0", "finite", "NaN"]),
        evaluate("one bit changed", changed).says(&["DIR/state", "digest", "damaged"]),
        evaluate("an unknown rule", but("\"sum\"", "\"mad\"")).says(&[
            "DIR/state",
            "`examples`",
            "mean_by",
            "\"mad\"",
        ]),
        evaluate("another type", with_header(complex, &[0; 8])).says(&["`weights`", "C64"]),
        evaluate("a name with a blank", plain(&[("a b", &[1], &[1.0])])).says(&[
            "lacks `bias` f32 [10], `weights` f32 [64, 10]",
            "has `a b` F32 [1]",
            "--map",
        ]),
        evaluate("no tensors", plain(&[])).says(&["does not fit", "`weights`"]),
        evaluate("another shape", plain(&[("weights", &[2], &[1.0, 2.0])])).says(&["does not fit"]),
        Case::coordinator("of whatever model", "evaluate DIR/state")
            .file("state", right())
            .says(&["DIR/state does not name its model", "--model"]),
        Case::coordinator("of another model", "evaluate DIR/state --model mlp --dataset digits")
            .file("state", right())
            .says(&["does not fit the model", "layer2"]),
        Case::coordinator(
            "of other data",
            "evaluate DIR/state --model softmax --dataset csv:DIR/x --split train \
             --set dataset.label=last",
        )
        .file("state", right())
        .file("x", "1,2,0\n3,4,1\n")
        .says(&["does not fit the model", "x: 2 examples, 1 feature, label ", "`bias`"]),
    ]);
}

#[test]
fn files_of_other_kinds() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let kind = |name: &str, file: &[u8]| evaluate(name, file.to_vec());
    check(vec![
        kind("a pointer", pointer.as_bytes()).says(&["DIR/state", "Git LFS", "`git lfs pull`"]),
        kind("a page", b"<!DOCTYPE html><title>404</title>").says(&["an HTML page", "download"]),
        kind("a pickle", b"\x80\x04\x95\x1a\0\0\0\0\0\0\0").says(&["pickle", "save_file("]),
        kind("of torch.save", &archive("model/data.pkl")).says(&["torch.save", "save_file("]),
        kind("an npz", &archive("weights.npy")).says(&["(npz)", "safetensors.numpy.save_file("]),
        kind("packed", b"\x1f\x8b\x08\0\0\0\0\0\0\x03").says(&["gzip", "`gunzip`"]),
        Case::coordinator("a pointer to draw", "plot DIR/state --out DIR/x.png")
            .file("state", pointer)
            .says(&["DIR/state", "`git lfs pull`"]),
    ]);
}

#[test]
fn tensors_of_other_names() {
    let (weights, bias) = ([0.5; 640], [0.5; 10]);
    let torch = plain(&[("fc.bias", &[10], &bias), ("fc.weight", &[10, 64], &weights)]);
    let map = |name: &str, flags: &str| evaluate(name, torch.clone()).args(flags);
    check(vec![
        map("not mapped", "")
            .says(&["--map 'weights=fc.weight^T' --map 'bias=fc.bias'", "seems to be of PyTorch"]),
        map("not transposed", " --map weights=fc.weight --map bias=fc.bias").says(&[
            "`weights`: expected shape [64, 10], found shape [10, 64] of `fc.weight`",
            "`--map 'weights=fc.weight^T'` transposes it",
        ]),
        map("another tensor of the file", " --map weights=fc2.weight")
            .says(&["a tensor of the file, which has `fc.bias` F32 [10], `fc.weight`"]),
        map("another tensor of the model", " --map layer1.weights=fc.weight")
            .says(&["a tensor of the model, which has `bias`, `examples`, `weights`"]),
        map("no mapping", " --map weights").says(&["TENSOR=NAME", "'layer1.weights=fc1.weight^T'"]),
        Case::coordinator("without a state", "run --map bias=b --coordinator 127.0.0.1:1")
            .says(&["--initial-state FILE"]),
    ]);
}

#[test]
fn files_to_start_from_and_to_write() {
    let run = "run --epochs 1 --coordinator 127.0.0.1:1";
    let from = |name: &str, file: &str| {
        Case::coordinator(name, format!("{run} --initial-state DIR/{file}"))
    };
    let to = |name: &str, file: &str| Case::coordinator(name, format!("{run} --output {file}"));
    check(vec![
        from("no such file to start from", "none").says(&["DIR/none", "No such file"]),
        from("noise to start from", "state")
            .file("state", noise(100))
            .says(&["DIR/state", "expected a safetensors file"]),
        from("another model's state to start from", "state")
            .file("state", right())
            .says(&["does not fit the model"]),
        to("a missing folder to write to", "DIR/none/state").says(&[
            "DIR/none/state",
            "cannot be written",
            "No such file",
        ]),
        to("a folder to write to", "DIR").says(&["DIR", "found a folder"]),
        to("no file name to write to", "..").says(&[".."]),
        to("a file for a folder", "DIR/file/state")
            .file("file", "text")
            .says(&["DIR/file/state", "cannot be written"]),
    ]);
}

#[test]
fn specs_inside_states() {
    let header = serde_json::json!({"__metadata__": {"samebit.spec": "model = 3"}});
    check(vec![
        evaluate("a broken spec inside", with_header(&header.to_string(), &[]))
            .says(&["DIR/state", "metadata `samebit.spec`"]),
    ]);
}
