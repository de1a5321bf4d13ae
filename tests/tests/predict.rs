//! Predictions, from a user's file to a file of classes and scores.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::binaries::{binaries, workspace};
use tests::cluster::Cluster;

use crate::commands::{alone, command, text};

/// `sh -c LINE` in a folder, with our programs in the path.
fn shell(folder: &Path, line: &str) -> Output {
    let programs = binaries().coordinator.parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    shell.output().expect("a shell")
}

/// The block of commands below a heading of the README, and the text block after it.
fn documented(heading: &str) -> (Vec<String>, String) {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let section = readme.split_once(heading).expect("the heading").1;
    let block = |fence: &str| {
        let rest = section.split_once(fence).expect("a block").1;
        rest.split_once("```").expect("its end").0.trim().to_owned()
    };
    (block("```sh\n").lines().map(str::to_owned).collect(), block("```text\n"))
}

#[test]
fn the_readme_goes_from_a_table_to_predictions_in_four_commands() {
    let scene = tempfile::tempdir().expect("a folder");
    let folder = scene.path();
    fs::copy(workspace().join("tests/data/penguins.csv"), folder.join("penguins.csv"))
        .expect("a copy");
    let (commands, line) = documented("## Your own table");
    assert_eq!(commands.len(), 4);
    let mut said = String::new();
    for command in &commands {
        let output = shell(folder, command);
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        said += text(&output.stdout);
        said += text(&output.stderr);
    }
    assert!(said.contains(&line), "{said}");
    let predictions = fs::read_to_string(folder.join("predictions.csv")).expect("predictions");
    let table = fs::read_to_string(folder.join("penguins.csv")).expect("the table");
    let (mut rows, mut right) = (predictions.lines(), 0);
    assert_eq!(rows.next(), Some("prediction,Adelie,Chinstrap,Gentoo"));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), table.lines().count() - 1, "a row for each example");
    for (row, example) in rows.iter().zip(table.lines().skip(1)) {
        let found = row.split(',').next().expect("a class");
        right += usize::from(example.split(',').nth(1) == Some(found));
    }
    assert!(10 * right > 9 * rows.len(), "{right} of {}", rows.len());
}

/// A table of 50 classes, whose predictions take three steps, and a state for it.
fn many_classes(folder: &Path) -> (String, String) {
    let row = |at: usize| format!("{},{},{}\n", at % 50, at % 7, (at * 31) % 50);
    let table = "a,b,label\n".to_owned() + &(0..5000).map(row).collect::<String>();
    let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    fs::write(path("many.csv"), table).expect("a file");
    let trained = alone(&[
        "run",
        "--local",
        "1",
        "--quiet",
        "--model",
        "softmax",
        "--rounds",
        "3",
        "--dataset",
        &path("many.csv"),
        "--set",
        "dataset.scale=50",
        "--output",
        &path("state"),
    ]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    (path("many.csv"), path("state"))
}

#[test]
fn predictions_are_the_same_bytes_on_any_cluster_and_what_an_evaluation_finds() {
    let scene = tempfile::tempdir().expect("a folder");
    let (table, state) = many_classes(scene.path());
    let path = |name: &str| scene.path().join(name).to_str().expect("a plain path").to_owned();
    let cluster = Cluster::start().with_workers(3, 1);
    let predict = |output: &str, more: &[&str]| {
        let args = ["predict", &state, "--dataset", &table, "--output", output];
        command(&cluster, &[&args, more].concat())
    };
    let first = predict(&path("a.csv"), &["--json"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let events: Vec<Value> =
        text(&first.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let parts: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "predicted")
        .map(|event| event["examples"].as_u64().expect("a number"))
        .collect();
    assert_eq!((parts.len(), parts.last()), (3, Some(&5000)), "{parts:?}");
    assert_eq!(events.last().expect("an event")["event"], "saved");

    let args = ["predict", &state, "--dataset", &table, "--output", &path("b.csv"), "--local", "1"];
    let alone = alone(&args);
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    let read = |name: &str| fs::read(path(name)).expect("predictions");
    assert!(read("a.csv") == read("b.csv"), "equal predictions are equal files");
    assert!(predict(&path("c.npy"), &[]).status.success());
    assert!(predict(&path("d.jsonl"), &[]).status.success());
    assert!(read("c.npy").starts_with(b"\x93NUMPY") && read("d.jsonl").starts_with(b"{\"class\""));

    // Each class as often as an evaluation finds it.
    let evaluated =
        command(&cluster, &["evaluate", &state, "--dataset", &table, "--split", "train", "--json"]);
    let of = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let mut evaluation = text(&evaluated.stdout).lines().map(of);
    let evaluation = evaluation.rfind(|event| event["event"] == "evaluation");
    let confusion = evaluation.expect("an evaluation")["results"]["counts"]["confusion"].clone();
    let confusion: Vec<u64> =
        confusion.as_array().expect("counts").iter().map(|it| it.as_u64().expect("one")).collect();
    let found = |class: usize| -> u64 { confusion.iter().skip(class).step_by(50).sum() };
    let rows = String::from_utf8(read("a.csv")).expect("text");
    for class in 0..50 {
        let begin = format!("{class},");
        let count = rows.lines().skip(1).filter(|row| row.starts_with(&begin)).count();
        assert_eq!(count as u64, found(class), "class {class}");
    }
}

#[test]
fn what_cannot_be_predicted_is_said() {
    let scene = tempfile::tempdir().expect("a folder");
    let (table, state) = many_classes(scene.path());
    let refused = |args: &[&str]| {
        let output = alone(&[&["predict", &state, "--local", "1"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        text(&output.stderr).to_owned()
    };
    let error = refused(&["--dataset", &table, "--output", "p.parquet"]);
    assert!(error.contains("ends in .csv, .npy or .jsonl"), "{error}");
    let error = refused(&["--dataset", &table, "--json"]);
    assert!(error.contains("expected a file for --output"), "{error}");
    let other = scene.path().join("other.csv");
    fs::write(&other, "a,c\n1,2\n").expect("a file");
    let error = refused(&["--dataset", other.to_str().expect("a plain path")]);
    assert!(error.contains("expected a column \"b\", as in the training examples"), "{error}");
    let gap = scene.path().join("gap.csv");
    fs::write(&gap, "a,b\n1,2\n3,\n").expect("a file");
    let error = refused(&["--dataset", gap.to_str().expect("a plain path")]);
    assert!(error.contains("gap.csv, line 3: expected a value in column 2"), "{error}");
    // The standard output has the table, and nothing else.
    fs::write(&gap, "b,a\n1,2\n3,4\n").expect("a file");
    let output = alone(&[
        "predict",
        &state,
        "--local",
        "1",
        "--dataset",
        gap.to_str().expect("a plain path"),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 3);
    assert!(text(&output.stderr).contains("digest"), "{}", text(&output.stderr));
}
