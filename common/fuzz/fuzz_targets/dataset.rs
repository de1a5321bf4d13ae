//! Arbitrary bytes as a table, or as NumPy's arrays of features and of labels: no panic, no hang, and
//! what loads is whole and is read as the same again by its schema.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use common::dataset::{Dataset, Examples};
use common::spec::DatasetSpec;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// First bytes of a file of NumPy's. Where they stand a second time, the labels begin.
const NUMPY: &[u8] = b"\x93NUMPY";

/// What a user may have set; the length of the data chooses one of them.
const CHOICES: [&str; 6] = [
    "",
    "label = \"first\"\nmissing = \"mean\"",
    "label = \"last\"\nmissing = \"drop\"",
    "normalise = \"standard\"",
    "normalise = \"minmax\"\ntest_examples = 0.3\nsplit = \"stratified\"",
    "classes = 3\nignore = []",
];

/// Files in memory, where there are such.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder")
});

fuzz_target!(|data: &[u8]| {
    let folder = FOLDER.path();
    let source = if data.starts_with(NUMPY) {
        let second = data.windows(NUMPY.len()).skip(1).position(|at| at == NUMPY);
        let (features, labels) = data.split_at(second.map_or(data.len(), |at| at + 1));
        let labels = if labels.is_empty() { features } else { labels };
        write(folder, "x_train.npy", features);
        write(folder, "y_train.npy", labels);
        "npy:."
    } else {
        write(folder, "data.csv", data);
        "csv:data.csv"
    };
    let choices = CHOICES[data.len() % CHOICES.len()];
    let spec: DatasetSpec =
        toml::from_str(&format!("source = {source:?}\n{choices}")).expect("a dataset");
    match Dataset::load_as(&spec, folder, None) {
        Ok((data, schema)) => {
            check(&data.train);
            check(&data.test);
            let again = Dataset::load_as(&spec, folder, Some(&schema));
            assert_eq!(again.expect("it is read by its schema").0, data);
        }
        Err(error) => assert!(error.to_string().contains("found "), "{error}"),
    }
});

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("a file");
}

fn check(split: &Examples) {
    assert!(split.labels().iter().all(|label| *label < split.target_type().outputs()));
    assert_eq!(split.features().len() as u64, split.len() * u64::from(split.width()));
    split.features().each_example(split.width() as usize, |row| {
        assert!(row.iter().all(|value| (value / split.scale()).is_finite()));
    });
}
