//! Who may write in a runs folder: the one coordinator that holds its lock.
//!
//! A lock holds a file, not a name. A folder that is moved away and replaced by
//! a copy has a lock that nobody holds, and another coordinator may have taken
//! it. So whoever writes looks each time whether the lock that is there is its
//! own: there is one writer behind every path, and of two it is the later one.

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
    /// Held as long as it is open.
    file: Arc<File>,
}

/// The lock in the folder is not the one that is held.
#[derive(Debug, thiserror::Error)]
#[error(
    "the runs folder was removed or replaced while this coordinator used it ({} is not the file \
     that it holds), and another one may write there: nothing more is written; stop this \
     coordinator, and start it again on the folder that is to count",
    path.display()
)]
struct Replaced {
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of a folder.
    pub(super) fn take(folder: &Path) -> Result<Self, RunsError> {
        let path = folder.join(RUNS_LOCK);
        // A pipe of this name is an error, and not waited for.
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
        // Somebody may have replaced it between the two.
        lock.check().map_err(|_| locked())?;
        Ok(lock)
    }

    /// Whether the lock in the folder is the one that is held.
    pub(super) fn check(&self) -> io::Result<()> {
        let identity = |about: &Metadata| (about.dev(), about.ino());
        let held = identity(&self.file.metadata()?);
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == held => Ok(()),
            // A disk that fails says nothing about who writes there.
            Err(error) if !is_gone(&error) => Err(error),
            _ => Err(io::Error::other(Replaced { path: self.path.clone() })),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Changes files as long as the lock is held.
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
