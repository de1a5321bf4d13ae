//! Faults of a history, for tests.

use std::path::Path;

use rusqlite::Connection;

use super::file::FILE;

/// A lock of the file by another process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Connection);

/// Locks the file as another process would, so that nothing can be written.
pub(crate) fn hold(folder: &Path) -> Held {
    let other = Connection::open(folder.join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    Held(other)
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

/// Removes the ends of all runs from the file.
pub(crate) fn forget_ends(folder: &Path) {
    let other = Connection::open(folder.join(FILE)).unwrap();
    other.execute("UPDATE runs SET state = NULL, ended = NULL, digest = NULL", []).unwrap();
}
