//! A folder that is copied, moved or replaced while a coordinator has it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// Copies a folder, as `cp -a` does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files in a folder, and what is in them.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            files.extend(content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Whatever changes a folder.
fn changes(folder: &RunsFolder) -> Vec<Result<(), RunsError>> {
    let another = SubmissionRecord { run: RunId(7), ..submission() };
    vec![
        checkpoint(folder, 4),
        folder.prune(RUN, 1, 1),
        folder.write_submission(&another, None),
        folder.update_submission(&submission()),
        folder.write_outcome(RUN, &outcome()),
        folder.remove_outcome(RUN),
        folder.write_chunk(Digest::of(b"other"), b"other"),
        folder.clean(),
        folder.check_lock(),
    ]
}

#[test]
fn a_folder_that_was_replaced_by_its_copy_has_one_writer() {
    let scratch = tempfile::tempdir().unwrap();
    let (runs, away) = (scratch.path().join("runs"), scratch.path().join("away"));
    let first = RunsFolder::open(&runs).unwrap();
    first.write_submission(&submission(), Some(&state(0))).unwrap();
    first.write_chunk(Digest::of(b"unneeded"), b"unneeded").unwrap();
    [1, 2].iter().for_each(|round| checkpoint(&first, *round).unwrap());
    first.write_outcome(RUN, &outcome()).unwrap();
    copy(&runs, &scratch.path().join("copy"));
    fs::rename(&runs, &away).unwrap();
    fs::rename(scratch.path().join("copy"), &runs).unwrap();

    let second = RunsFolder::open(&runs).unwrap();
    let before = [content(&runs), content(&away)];
    for (number, change) in changes(&first).into_iter().enumerate() {
        let error = change.expect_err(&format!("change {number}")).to_string();
        assert!(error.contains("removed or replaced while"), "{number}: {error}");
    }
    assert_eq!([content(&runs), content(&away)], before);
    drop(first);
    changes(&second).into_iter().for_each(Result::unwrap);
}

#[test]
fn a_lock_that_was_removed_is_held_by_nobody() {
    let (scratch, first) = folder_with(&[1]);
    fs::remove_file(scratch.path().join("lock")).unwrap();
    assert!(first.check_lock().is_err() && checkpoint(&first, 2).is_err());
    let second = RunsFolder::open(scratch.path()).unwrap();
    assert!(first.check_lock().is_err() && checkpoint(&first, 2).is_err());
    checkpoint(&second, 2).unwrap();
    assert!(RunsFolder::open(scratch.path()).is_err(), "the second one holds it");
    fs::remove_dir_all(scratch.path()).unwrap();
    assert!(second.check_lock().is_err() && checkpoint(&second, 3).is_err());
    assert!(!scratch.path().exists());
}
