//! Errors of the history.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode};

use super::file::{DAMAGED_FILES, FILE_BYTES};

/// Why the history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file does not exist.
    #[error(
        "{}: expected the history of runs, found no such file: name the runs folder of \
         `coordinator serve` with --runs DIR",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a later version of this program.
    #[error(
        "{}: expected a history of version {known} or earlier, found version {found}: use the \
         version of Samebit that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last known version.
        known: u32,
    },
    /// The file is damaged or not a history.
    #[error(
        "{}: expected an intact history of runs, found damage ({cause}): the runs are not affected; \
         `coordinator serve` renames the file and starts a new history when it finds the damage",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        cause: String,
    },
    /// The writer found the file damaged, and has started a new one. The records were not
    /// written: the new history has no runs.
    #[error("{notice}")]
    Replaced {
        /// What happened, in a sentence.
        notice: String,
    },
    /// Too many damaged files have been renamed before.
    #[error(
        "{}: damaged again, and {DAMAGED_FILES} damaged histories exist beside it already: check \
         the disk, then move them away",
        path.display()
    )]
    DamagedAgain {
        /// The file.
        path: PathBuf,
    },
    /// A damaged file cannot be renamed.
    #[error("{}: damaged, and cannot be renamed: {error}: move it away", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The disk is full, or the file too large.
    #[error(
        "{}: no room for the history: the disk is full, or the file has reached its limit of \
         {} GiB: free some disk space, or move the file away while no coordinator is running",
        path.display(), FILE_BYTES >> 30
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process has locked the file.
    #[error(
        "{}: another process holds the file's lock: end the program that writes there or keeps a \
         transaction open",
        path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file system does not support SQLite's write-ahead log.
    #[error(
        "{}: expected journal mode `wal`, found `{found}`: store runs on a local disk of this host",
        path.display()
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// The mode that the file is in.
        found: String,
    },
    /// The last records are in a log that can only be read with write access.
    #[error(
        "{}: its last records are in the file of that name with `-wal` appended, which can only be \
         read in a writable folder: copy both files to one, and name it with --runs DIR",
        path.display()
    )]
    Unmerged {
        /// The file.
        path: PathBuf,
    },
    /// A record is not valid: a defect of this program.
    #[error("step {step} of a run: expected a round, labelling or evaluation, found {found}")]
    NotAStep {
        /// The step.
        step: u64,
        /// The event that came with it.
        found: String,
    },
    /// Any other error: missing permission, a failing disk.
    #[error(
        "{}: the history cannot be used: {cause}: check the disk, and the permissions of the folder",
        path.display()
    )]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        cause: String,
    },
}

impl LedgerError {
    /// The error for SQLite's `error` of the history in `path`.
    pub(super) fn of(path: &Path, error: Error) -> Self {
        let (path, cause) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, cause }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(_) => Self::Sqlite { path, cause },
            // Not from SQLite itself: a value that does not fit its column.
            None => match error {
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..) => Self::Damaged { path, cause },
                _ => Self::Sqlite { path, cause },
            },
        }
    }
}

/// The error for a file that is not a history.
pub(super) fn damaged(path: &Path, cause: &str) -> LedgerError {
    LedgerError::Damaged { path: path.to_owned(), cause: cause.to_owned() }
}
