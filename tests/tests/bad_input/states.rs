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
        evaluate("not finite", not_finite).says(&["DIR/state", "`weights`", "finite", "NaN"]),
        evaluate("one bit changed", changed).says(&["DIR/state", "digest", "damaged"]),
        evaluate("an unknown rule", but("\"sum\"", "\"mad\"")).says(&[
            "DIR/state",
            "`examples`",
            "mean_by",
            "\"mad\"",
        ]),
        evaluate("another type", but("\"F32\"", "\"I32\"")).says(&["F32 or U64", "I32"]),
        evaluate("a name with a blank", plain(&[("a b", &[1], &[1.0])])).says(&["\"a b\""]),
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
        .says(&["does not fit the model", "`bias`"]),
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
