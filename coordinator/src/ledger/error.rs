//! What can go wrong with the history, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode};

use super::file::{DAMAGED_FILES, FILE_BYTES};

/// Why the history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no history to read.
    #[error(
        "{}: expected the history of runs, found no such file: name the folder in which \
         `coordinator serve` keeps its runs (--runs DIR)",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a later version of this program.
    #[error(
        "{}: expected a history of version {known} or before, found version {found}: use the \
         version of Samebit that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version that is known.
        known: u32,
    },
    /// The file is not a history, or no longer.
    #[error(
        "{}: expected a whole history of runs, found damage ({cause}): the runs are unharmed; \
         `coordinator serve` puts the file aside and begins a new one when it comes upon this",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The writer found the file damaged, and has begun a new one. Nothing of
    /// what was to be recorded is recorded: the new history knows no run.
    #[error("{notice}")]
    Replaced {
        /// What happened, in a sentence.
        notice: String,
    },
    /// Damaged files have been put aside before, too often.
    #[error(
        "{}: damaged again, and {DAMAGED_FILES} damaged histories lie beside it: check the disk, \
         then move them away",
        path.display()
    )]
    DamagedAgain {
        /// The file.
        path: PathBuf,
    },
    /// A damaged file cannot be put aside.
    #[error("{}: damaged, and cannot be renamed: {error}; move it away", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no room.
    #[error(
        "{}: no room for the history: the disk is full, or the file has reached its limit of \
         {} GiB; make room, or move it away while no coordinator runs",
        path.display(), FILE_BYTES >> 30
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the file.
    #[error(
        "{}: another process holds the file: end what else writes there, or keeps a transaction open",
        path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file system cannot do what a log beside the file needs.
    #[error(
        "{}: expected journal mode `wal`, found `{found}`: keep runs on a disk of this host",
        path.display()
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// The mode that the file is in.
        found: String,
    },
    /// The last records are in a log that only someone who may write can read.
    #[error(
        "{}: its last records are in the file with `-wal` at its name's end, which can only be \
         read where the folder may be written to: copy both files to such a folder, and name \
         that (--runs DIR)",
        path.display()
    )]
    Unmerged {
        /// The file.
        path: PathBuf,
    },
    /// A record makes no sense: a mistake in this program.
    #[error("step {step} of a run: expected a round, labelling or evaluation, found {found}")]
    NotAStep {
        /// The step.
        step: u64,
        /// The event that came with it.
        found: String,
    },
    /// Anything else: no permission, a disk that fails.
    #[error(
        "{}: the history cannot be used: {cause}; check the disk, and who may use the folder",
        path.display()
    )]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
}

impl LedgerError {
    /// What `error` means for the history in `path`.
    pub(super) fn of(path: &Path, error: Error) -> Self {
        let (path, cause) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, cause }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(_) => Self::Sqlite { path, cause },
            // Not from SQLite itself: a value that no column of ours holds.
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
