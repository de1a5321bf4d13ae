//! The lock of a runs folder: only the coordinator that holds it may write there.
//!
//! A lock belongs to a file, not to a name. If the folder is moved away and replaced by a
//! copy, the copy's lock is free, and another coordinator may take it. So before every write
//! a coordinator checks that the lock file at the path is the one it holds: for every path
//! there is one writer, and of two coordinators it is the later one.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::error::RunsError;
use super::files::{Files, WriteFile};

/// Name of the lock.
pub(super) const RUNS_LOCK: &str = "lock";

/// A folder's lock, held until the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// The lock is held as long as this file is open.
    file: Arc<File>,
}

/// The lock file in the folder is not the one that is held.
#[derive(Debug, thiserror::Error)]
#[error(
    "the runs folder was removed or replaced while this coordinator used it ({} is not the file \
     that it has locked), and another coordinator may write there: this one writes nothing more; \
     stop it, and restart it on the right folder",
    path.display()
)]
struct Replaced {
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of a folder.
    pub(super) fn take(folder: &Path) -> Result<Self, RunsError> {
        let path = folder.join(RUNS_LOCK);
        // Opening a pipe of this name would wait: it is an error instead.
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(&path).map_err(|error| RunsError::io(&path, error))?;
        let locked = || RunsError::Locked { folder: folder.display().to_string() };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked()),
            Err(TryLockError::Error(error)) => return Err(RunsError::io(&path, error)),
        }
        let lock = Self { path, file: Arc::new(file) };
        // It may have been replaced between opening and locking.
        lock.check().map_err(|_| locked())?;
        Ok(lock)
    }

    /// Whether the lock in the folder is the one that is held.
    pub(super) fn check(&self) -> io::Result<()> {
        let identity = |about: &Metadata| (about.dev(), about.ino());
        let held = identity(&self.file.metadata()?);
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == held => Ok(()),
            // A failing disk is no evidence that the lock was replaced.
            Err(error) if !is_gone(&error) => Err(error),
            _ => Err(io::Error::other(Replaced { path: self.path.clone() })),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// File operations that check the lock first.
#[derive(Debug)]
pub(super) struct LockedFiles {
    pub(super) lock: Lock,
    pub(super) files: Arc<dyn Files>,
}

impl Files for LockedFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.lock.check()?;
        self.files.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock.check()?;
        self.files.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.lock.check()?;
        self.files.sync_folder(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.lock.check()?;
        self.files.create_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock.check()?;
        self.files.remove(path)
    }
}
