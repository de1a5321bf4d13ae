//! Files as other programs write them: what each is taken for, and how well a model learns from it.
//!
//! `tests/data/README.md` says where the files come from.

mod cases;
mod mutated;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use common::dataset::{Dataset, Examples, Schema};
use common::spec::RunSpec;
use coordinator::ParallelBatchProcessor;
use tests::binaries::workspace;

use cases::{CASES, Case, REFUSED};

/// Seeds of the test split.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

/// A folder for the examples of all splits as CSV, for `tests/data/baseline.py`.
const EXPORT: &str = "SAMEBIT_EXPORT_SPLITS";

/// The run by which a model learns from a case.
const RUN: &str = r#"
model = "softmax"
replicas = 1
batch_size = 16
epochs = 100
[parameters]
learning_rate = 0.1
weight_decay = 0.001
[dataset]
test_examples = 0.2
split = "stratified"
"#;

fn folder() -> PathBuf {
    workspace().join("tests/data")
}

/// The run of a case; `seed` is that of its test split.
fn spec(case: &Case, seed: u64, normalise: &str) -> RunSpec {
    let Case { source, fields, .. } = case;
    let text = format!(
        "{RUN}source = \"{source}\"\nsplit_seed = {seed}\nnormalise = \"{normalise}\"\n{fields}\n"
    );
    RunSpec::from_toml(&text).expect("a spec")
}

fn load(spec: &RunSpec) -> (Dataset, Schema) {
    let loaded = Dataset::load_as(&spec.dataset, &folder(), None);
    loaded.unwrap_or_else(|error| panic!("{}: {error}", spec.dataset.source))
}

#[test]
fn each_file_is_taken_for_what_it_is() {
    let mut wrong = String::new();
    for case in &CASES {
        let (_, schema) = load(&spec(case, 1, "standard"));
        if schema.understood != case.line || !schema.warnings.is_empty() {
            let _ = writeln!(wrong, "{:?} {:?}", schema.understood, schema.warnings);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn files_without_data_are_named() {
    for (source, fields, expected) in REFUSED {
        let case = Case { source, fields, line: "" };
        let error = Dataset::load_as(&spec(&case, 1, "none").dataset, &folder(), None);
        let error = error.err().map_or_else(String::new, |error| error.to_string());
        let error = error.replace(&format!("{}/", folder().display()), "");
        assert_eq!(error, expected);
    }
}

/// Right answers of scikit-learn's logistic regression, for each seed.
struct Baseline {
    test_examples: u64,
    correct: Vec<u64>,
}

fn baselines() -> BTreeMap<String, Baseline> {
    let text = fs::read_to_string(folder().join("baseline.csv")).expect("a table");
    let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let row = |line: &str| {
        let mut fields = line.split(',');
        let name = fields.next().unwrap_or_default().to_owned();
        let mut counts = fields.map(|field| field.parse().expect("a number"));
        let test_examples = counts.next().expect("the number of test examples");
        (name, Baseline { test_examples, correct: counts.collect() })
    };
    rows.map(row).collect()
}

#[test]
fn a_model_learns_as_well_as_that_of_scikit_learn() {
    export();
    let baselines = baselines();
    let mut table = String::new();
    let mut is_good = true;
    for case in &CASES {
        let Some(baseline) = baselines.get(case.source) else {
            panic!("tests/data/baseline.csv has no row {:?}: tests/data/baseline.py", case.source);
        };
        let mut correct = 0;
        for seed in SEEDS {
            let (examples, right) = learn(&spec(case, seed, "standard"));
            assert_eq!(examples, baseline.test_examples, "{}", case.source);
            correct += right;
        }
        let theirs: u64 = baseline.correct.iter().sum();
        assert_eq!(baseline.correct.len(), SEEDS.count());
        let all = baseline.test_examples * SEEDS.count() as u64;
        // On average, at most one example or 2 % of them below, whichever is more.
        let below = (SEEDS.count() as u64).max(all / 50);
        is_good &= correct + below >= theirs;
        let _ = writeln!(table, "{:24} {correct:4} {theirs:4} of {all}", case.source);
    }
    println!("source, right answers of samebit and of scikit-learn\n{table}");
    assert!(is_good, "\n{table}");
}

/// Trains, and returns the numbers of test examples and of right answers.
fn learn(spec: &RunSpec) -> (u64, u64) {
    let (data, _) = load(spec);
    let processor = ParallelBatchProcessor::new(spec.replicas, spec.batch_size);
    let (_, steps) = processor.run_spec(spec, &data, None).expect("a run");
    let results = &steps.last().expect("an evaluation").results;
    (results.examples, results.counts["correct"][0])
}

/// Writes both splits of all cases and seeds, as they are, if a variable names a folder.
fn export() {
    let Some(to) = std::env::var_os(EXPORT).map(PathBuf::from) else { return };
    for case in &CASES {
        for seed in SEEDS {
            let (data, _) = load(&spec(case, seed, "none"));
            for (name, split) in [("train", &data.train), ("test", &data.test)] {
                let file = to.join(case.source).join(format!("{seed}-{name}.csv"));
                write(&file, split).expect("a file");
            }
        }
    }
}

/// Writes a split as CSV: features, divided by the scale, and the label.
fn write(file: &Path, split: &Examples) -> std::io::Result<()> {
    let mut text = String::new();
    let mut labels = split.labels().iter();
    split.features().each_example(split.width() as usize, |row| {
        row.iter().for_each(|value| write!(text, "{value},").unwrap_or_default());
        let _ = writeln!(text, "{}", labels.next().unwrap_or(&0));
    });
    fs::create_dir_all(file.parent().expect("a folder"))?;
    fs::write(file, text)
}
