//! The files of a dataset, and the splits that their names say.
//!
//! A folder has files such as `train-00000-of-00002.parquet` or `train.parquet`, itself or in a folder
//! `data` or one of any other name, or files of any name in folders `train` and `test`. A folder
//! without such names is one table in several files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::DatasetError;
use crate::dataset::source::listing::{missing, shown};
use crate::dataset::source::paths;

/// Most files and folders that are looked at.
const ENTRIES: usize = 10_000;

/// Folders within each other that are looked at.
const DEPTH: usize = 2;

/// The words for splits: for training, for the test, and for what stands for a test split that is
/// not there.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 2] = ["test", "testing"];
const VALIDATION: [&str; 5] = ["validation", "valid", "val", "dev", "eval"];

/// The files of a dataset, in order. There is at least one to train on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Files {
    pub(super) train: Vec<PathBuf>,
    pub(super) test: Vec<PathBuf>,
    /// What is to be said of the files.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Split {
    Train,
    Test,
    Validation,
    Other,
}

impl Files {
    /// Of a file, a pattern or a folder.
    pub(super) fn of(path: &Path) -> Result<Self, DatasetError> {
        if !path.is_dir() {
            let train = paths::files(&path.to_string_lossy())?;
            return Ok(Self { train, ..Self::default() });
        }
        let mut found = Vec::new();
        list(path, DEPTH, &mut 0, &mut found)?;
        found.sort_unstable();
        Self::of_folder(path, found)
    }

    /// Of the files in a folder, sorted.
    fn of_folder(folder: &Path, found: Vec<PathBuf>) -> Result<Self, DatasetError> {
        // Several sets of splits beside each other are several datasets.
        let mut sets: BTreeMap<PathBuf, BTreeMap<Split, Vec<PathBuf>>> = BTreeMap::new();
        for path in found {
            let (split, set) = split_of(folder, &path);
            sets.entry(set).or_default().entry(split).or_default().push(path);
        }
        let has_train = |splits: &BTreeMap<Split, _>| splits.contains_key(&Split::Train);
        let names = |sets: &BTreeMap<PathBuf, _>| {
            let names: Vec<String> = sets.keys().map(|set| set.display().to_string()).collect();
            shown(names.iter().map(String::as_str))
        };
        if sets.values().filter(|splits| has_train(splits)).count() > 1 {
            let found = format!("several: {}", names(&sets));
            let expected = "a folder of one dataset, as parquet:FOLDER/NAME";
            return Err(missing(folder, expected, &found));
        }
        if let Some(splits) = sets.values_mut().find(|splits| has_train(splits)) {
            return Ok(Self::of_splits(std::mem::take(splits)));
        }
        let mut others = sets.into_values().flat_map(BTreeMap::into_values);
        match (others.next(), others.next()) {
            (Some(train), None) => Ok(Self { train, ..Self::default() }),
            (None, _) => Err(missing(folder, "files that end in .parquet", "none")),
            _ => {
                let expected = "files of the training split, as train-00000-of-00001.parquet";
                Err(missing(folder, expected, "other names in several folders or splits"))
            }
        }
    }

    fn of_splits(mut splits: BTreeMap<Split, Vec<PathBuf>>) -> Self {
        let mut take = |split| splits.remove(&split).unwrap_or_default();
        let (train, mut test) = (take(Split::Train), take(Split::Test));
        let (validation, others) = (take(Split::Validation), take(Split::Other));
        let mut notes = Vec::new();
        if test.is_empty() && !validation.is_empty() {
            notes.push("the validation split is the test split".to_owned());
            test = validation;
        } else if !validation.is_empty() {
            notes.push("the validation split is not read".to_owned());
        }
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|path| name(path)).collect();
            notes.push(format!("not read: {}", shown(names.iter().map(String::as_str))));
        }
        Self { train, test, notes }
    }
}

/// Appends the Parquet files of a folder and of the folders in it.
fn list(
    folder: &Path,
    depth: usize,
    entries: &mut usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), DatasetError> {
    let io = |error| DatasetError::Io { path: folder.display().to_string(), error };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        *entries += 1;
        if *entries > ENTRIES {
            let message = format!("expected at most {ENTRIES} files of a dataset, found more");
            return Err(io(io::Error::other(message)));
        }
        if name(&path).starts_with(['.', '_']) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, entries, found)?;
            }
        } else if path.extension() == Some(OsStr::new("parquet")) {
            found.push(path);
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The split of a file, and the folder of its dataset.
fn split_of(folder: &Path, path: &Path) -> (Split, PathBuf) {
    let parent = path.parent().unwrap_or(folder);
    let by_name = word(&name(path));
    if by_name != Split::Other || parent == folder {
        return (by_name, parent.to_owned());
    }
    match word(&name(parent)) {
        Split::Other => (Split::Other, parent.to_owned()),
        split => (split, parent.parent().unwrap_or(folder).to_owned()),
    }
}

/// The split that a name begins with, as `train-00000-of-00002.parquet` or `train`.
fn word(name: &str) -> Split {
    let name = name.to_ascii_lowercase();
    let word = name.split(|it: char| !it.is_ascii_alphabetic()).next().unwrap_or_default();
    if TRAIN.contains(&word) {
        Split::Train
    } else if TEST.contains(&word) {
        Split::Test
    } else if VALIDATION.contains(&word) {
        Split::Validation
    } else {
        Split::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::source::testing::folder;

    /// The files for training, for the test, and what is said, or the error.
    fn files(names: &[&str]) -> Result<(String, String, String), String> {
        let all: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
        let folder = folder(&all);
        let listed = |paths: Vec<PathBuf>| {
            let relative = paths.iter().map(|path| path.strip_prefix(folder.path()).unwrap());
            relative.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let found = Files::of(folder.path()).map_err(|error| error.to_string())?;
        Ok((listed(found.train), listed(found.test), found.notes.join("; ")))
    }

    #[track_caller]
    fn check(names: &[&str], train: &str, test: &str, notes: &str) {
        assert_eq!(files(names), Ok((train.into(), test.into(), notes.into())));
    }

    #[test]
    fn splits_are_told_by_their_names() {
        let (first, second) =
            ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet");
        let both = format!("{first} {second}");
        check(
            &["README.md", second, "data/test-00000-of-00001.parquet", first],
            &both,
            "data/test-00000-of-00001.parquet",
            "",
        );
        check(&["train.parquet", "test.parquet"], "train.parquet", "test.parquet", "");
        check(
            &["mnist/train-00000-of-00001.parquet", "mnist/validation-00000-of-00001.parquet"],
            "mnist/train-00000-of-00001.parquet",
            "mnist/validation-00000-of-00001.parquet",
            "the validation split is the test split",
        );
        check(
            &["default/train/0001.parquet", "default/train/0000.parquet", "default/test/0.parquet"],
            "default/train/0000.parquet default/train/0001.parquet",
            "default/test/0.parquet",
            "",
        );
        check(
            &["train-0.parquet", "test-0.parquet", "val-0.parquet", "extra-0.parquet"],
            "train-0.parquet",
            "test-0.parquet",
            "the validation split is not read; not read: extra-0.parquet",
        );
    }

    #[test]
    fn other_files_are_one_table() {
        check(
            &["part-1.parquet", "part-0.parquet", ".x.parquet", "_metadata/y.parquet"],
            "part-0.parquet part-1.parquet",
            "",
            "",
        );
    }

    #[test]
    fn unclear_folders_are_refused() {
        let error = files(&["a/train-0.parquet", "b/train-0.parquet"]).unwrap_err();
        assert!(error.contains("as parquet:FOLDER/NAME, found several: "), "{error}");
        let error = files(&["x.csv"]).unwrap_err();
        assert!(error.contains("expected files that end in .parquet, found none"), "{error}");
        let error = files(&["test-0.parquet", "x.parquet"]).unwrap_err();
        assert!(error.contains("expected files of the training split"), "{error}");
    }
}
