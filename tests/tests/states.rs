//! States that other programs have written, and data that is not what a state was trained on, with
//! the real binaries.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::commands::{alone, text};

/// A tensor of a file: name, type, shape, bytes.
type Tensor = (&'static str, &'static str, Vec<usize>, Vec<u8>);

/// Trains on the digits, and returns the path of the state.
fn trained(folder: &Path) -> String {
    let path = folder.join("state.safetensors").to_str().expect("a plain path").to_owned();
    let run = ["run", "--model", "softmax", "--epochs", "1", "--local", "1", "--slots", "1"];
    let done = alone(&[&run[..], &["--quiet", "--output", &path]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    path
}

/// The header of a safetensors file, and the bytes after it.
fn parts(path: &str) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).expect("a state");
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).expect("JSON"), values.to_vec())
}

/// The values of an f32 tensor of a file.
fn values(path: &str, name: &str) -> Vec<f32> {
    let (header, bytes) = parts(path);
    let place = |end: usize| header[name]["data_offsets"][end].as_u64().expect("a place") as usize;
    let words = bytes[place(0)..place(1)].chunks_exact(4);
    words.map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect()
}

/// Writes a file of these tensors without metadata, and returns its path.
fn file(folder: &Path, name: &str, tensors: &[Tensor]) -> String {
    let (mut header, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = body.len();
        body.extend(bytes);
        let place = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, body.len()]});
        header.insert((*name).into(), place);
    }
    let header = serde_json::to_vec(&header).expect("plain data");
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &body].concat();
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a scratch folder can be written to");
    path.to_str().expect("a plain path").to_owned()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn f64s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect()
}

/// `coordinator evaluate ARGS` on a cluster of its own.
fn evaluate(args: &[&str]) -> Output {
    alone(&[&["evaluate"], args, &["--local", "1", "--slots", "1"]].concat())
}

/// Loss and accuracy of an evaluation, which has to have succeeded.
fn found(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = text(&output.stdout).lines().find(|line| line.starts_with("result"));
    result.expect("a line with the result")
}

/// A table of three classes in bands, without those from `classes` on, `shift` beside the bands.
fn table(folder: &Path, name: &str, (classes, shift): (usize, usize)) -> String {
    let names = ["low", "middle", "top"];
    let line = |at: usize| {
        let class = at % classes;
        format!("{},{},{}\n", 10 * class + (at * 7 + shift) % 5, at % 3, names[class])
    };
    let lines: String = (0..90).map(line).collect();
    let path = folder.join(name);
    std::fs::write(&path, format!("x,y,label\n{lines}")).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn a_state_of_another_program_gives_the_same_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let own = trained(folder);
    let expected = evaluate(&[&own]);
    let expected = found(&expected);
    assert!(expected.contains("accuracy"), "{expected}");
    let (weights, bias) = (values(&own, "weights"), values(&own, "bias"));
    let named = ["--model", "softmax", "--dataset", "digits"];

    // Other types, no counter, and a tensor that means nothing here.
    let tensors: [Tensor; 3] = [
        ("weights", "F64", vec![64, 10], f64s(&weights)),
        ("bias", "F64", vec![10], f64s(&bias)),
        ("scale", "F16", vec![1], vec![0, 0x3c]),
    ];
    let wide = file(folder, "wide", &tensors);
    let output = evaluate(&[&[&*wide], &named[..]].concat());
    assert_eq!(found(&output), expected);
    for message in [
        "converted from F64 to f32: `bias`, `weights`",
        "not in the file, so as in a new state of the model: `examples`",
        "not in the model, so left out: `scale`",
    ] {
        let message = format!("{wide}: {message}\n");
        assert_eq!(text(&output.stderr).matches(&message).count(), 1, "{}", text(&output.stderr));
    }

    // Of PyTorch: outputs come first, and the error has the flags to copy.
    let turned: Vec<f32> = (0..640).map(|at| weights[at % 64 * 10 + at / 64]).collect();
    let tensors: [Tensor; 2] = [
        ("0.bias", "F32", vec![10], f32s(&bias)),
        ("0.weight", "F32", vec![10, 64], f32s(&turned)),
    ];
    let torch = file(folder, "torch", &tensors);
    let args = [&[&*torch], &named[..]].concat();
    let refused = evaluate(&args);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    let (_, flags) = text(&refused.stderr).split_once("then add ").expect("flags");
    let flags: Vec<&str> =
        flags.trim_end().split(['\'', ' ']).filter(|it| !it.is_empty()).collect();
    assert_eq!(flags, ["--map", "weights=0.weight^T", "--map", "bias=0.bias"]);
    assert_eq!(found(&evaluate(&[&args[..], &flags].concat())), expected);

    // To train on from it.
    let more = ["run", "--model", "softmax", "--epochs", "1", "--local", "1", "--initial-state"];
    let output = alone(&[&more[..], &[&torch], &flags].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("`examples`"), "{}", text(&output.stderr));

    // A picture of a tensor of another type.
    let picture = folder.join("x.png").to_str().expect("a plain path").to_owned();
    let output = alone(&["plot", &wide, "--out", &picture]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("converted from F64 to f32: `weights`"));
}

#[test]
fn a_state_knows_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = table(folder, "x.csv", (3, 0));
    let state = folder.join("state").to_str().expect("a plain path").to_owned();
    let run = [
        "run",
        "--model",
        "softmax",
        "--epochs",
        "2",
        "--local",
        "1",
        "--slots",
        "1",
        "--quiet",
        "--set",
        "dataset.test_examples=0.2",
        "--set",
        "dataset.normalise=minmax",
    ];
    let done = alone(&[&run[..], &["--dataset", &data, "--output", &state]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let (header, _) = parts(&state);
    let digest = header["__metadata__"]["samebit.data"].as_str().expect("a digest");
    assert_eq!(digest.len(), 64);

    let other = "evaluated on other data than it was trained on";
    for split in ["train", "test"] {
        let same = evaluate(&[&state, "--split", split]);
        found(&same);
        assert!(!text(&same.stderr).contains("evaluated on"), "{}", text(&same.stderr));
    }
    // Other examples, and none of the last class.
    for (name, content) in [("other.csv", (3, 1)), ("two.csv", (2, 0))] {
        let data = table(folder, name, content);
        let output = evaluate(&[&state, "--dataset", &data, "--split", "train"]);
        found(&output);
        assert_eq!(text(&output.stderr).matches(other).count(), 1, "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&digest[..12]), "{}", text(&output.stderr));
    }
}

#[test]
fn data_without_the_last_class_is_evaluated_by_a_state_that_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..30).map(|at| format!("{},{},{}\n", at % 2, at % 3, at % 2)).collect();
    let data = folder.path().join("x.csv");
    std::fs::write(&data, lines).expect("a file");
    let data = data.to_str().expect("a plain path");
    let tensors: [Tensor; 2] = [
        ("bias", "F32", vec![3], f32s(&[0.0; 3])),
        ("weights", "F32", vec![2, 3], f32s(&[1.0, -1.0, 0.5, 0.0, 0.25, 2.0])),
    ];
    let state = file(folder.path(), "state", &tensors);
    let output = evaluate(&[
        &state,
        "--model",
        "softmax",
        "--dataset",
        data,
        "--split",
        "train",
        "--set",
        "dataset.label=last",
    ]);
    found(&output);
    assert!(text(&output.stdout).contains("3 classes"), "{}", text(&output.stdout));
}

#[test]
fn input_that_makes_no_spikes_ends_with_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..20).map(|at| format!("0.0001,0.0002,0.0001,{}\n", at % 2)).collect();
    let data = folder.path().join("x.csv");
    std::fs::write(&data, lines).expect("a file");
    let data = data.to_str().expect("a plain path");
    let output = alone(&[
        "run",
        "--local",
        "1",
        "--slots",
        "1",
        "--model",
        "spiking",
        "--dataset",
        data,
        "--set",
        "dataset.label=last",
        "--set",
        "dataset.test_examples=4",
        "--set",
        "parameters.neurons=4",
        "--set",
        "parameters.intensity_limit=3",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(error.contains("none of the 16 examples that it was trained on"), "{error}");
    assert!(error.contains("`dataset.normalise`") && error.contains("`dataset.scale`"), "{error}");
}
