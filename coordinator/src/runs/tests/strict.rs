//! What is read of a folder is of the right run, and all of it.

use std::ffi::OsString;
use std::io;

use super::super::folder::names_of;
use super::*;

#[test]
fn the_end_of_another_run_is_not_believed() {
    let (_scratch, folder) = folder_with(&[1]);
    let mine = outcome();
    let others =
        [Outcome { run: RunId(4), ..mine.clone() }, Outcome { identity: RunIdentity(1), ..mine }];
    for other in others {
        folder.write_outcome(RUN, &other).unwrap();
        let error = folder.outcome(&submission()).unwrap_err();
        assert!(error.is_damage(), "the run goes on from its checkpoint: {error}");
        let (expected, found) = (submission().identity, other.identity);
        let words = format!(
            "outcome.json: expected the end of run {RUN}, {expected}, found that of run {}, {found}",
            other.run
        );
        assert!(error.to_string().contains(&words), "{error}");
    }
}

#[test]
fn a_folder_whose_entries_cannot_all_be_read_is_an_error() {
    let folder = Path::new("runs/3");
    let name = || Ok(OsString::from("run.json"));
    let whole = names_of(folder, std::iter::repeat_with(name).take(2)).unwrap();
    assert_eq!(whole, ["run.json", "run.json"]);
    let broken = [name(), Err(io::ErrorKind::Other.into()), name()];
    let error = names_of(folder, broken.into_iter()).unwrap_err();
    assert!(matches!(error, RunsError::Io { .. }), "{error}");
    let error = names_of(folder, std::iter::repeat_with(name)).unwrap_err().to_string();
    assert!(error.contains("runs/3: expected at most 1048576 entries, found more"), "{error}");
}
