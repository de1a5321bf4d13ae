//! What befalls a history, for the tests of those who have one.

use std::path::Path;

use rusqlite::Connection;

use super::file::FILE;

/// Somebody else's hold of the file, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Connection);

/// Has somebody else hold the file: nothing can be written.
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

/// Takes the ends of all runs out of the file.
pub(crate) fn forget_ends(folder: &Path) {
    let other = Connection::open(folder.join(FILE)).unwrap();
    other.execute("UPDATE runs SET state = NULL, ended = NULL, digest = NULL", []).unwrap();
}
