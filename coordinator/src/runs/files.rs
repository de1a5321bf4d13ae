//! The operations on files. Tests replace them, to make each of them fail or stop at it.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the write buffer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that is being written.
pub trait WriteFile: Write + Send {
    /// Flushes the written bytes to disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// Operations that change files and folders.
pub trait Files: Debug + Send + Sync {
    /// Creates an empty file; an existing file of this name is truncated.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Renames a file; an existing file of the new name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Flushes the names in a folder to disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Creates a folder; an error if it exists.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The system's files.
#[derive(Clone, Copy, Debug)]
pub struct OsFiles;

impl WriteFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Files for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Suffix of temporary names.
const TEMPORARY: &str = ".temporary";

/// Whether a file name is temporary.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Writes a file under a temporary name, flushes it, renames it, and flushes the folder.
pub(super) fn write_atomically(
    files: &dyn Files,
    temporary: &Path,
    path: &Path,
    content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let written = write(files, temporary, content);
    let renamed = written.and_then(|()| files.rename(temporary, path));
    if renamed.is_err() {
        // It may not exist. Otherwise the next start removes it.
        let _ = files.remove(temporary);
    }
    renamed?;
    files.sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn write(
    files: &dyn Files,
    path: &Path,
    content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, files.create(path)?);
    content(&mut file)?;
    file.flush()?;
    file.get_mut().sync()
}

/// The temporary name of a file that one thread writes.
pub(super) fn temporary(path: &Path) -> PathBuf {
    beside(path, TEMPORARY)
}

/// A temporary name that no other thread of this process uses, for a file that
/// several may write at a time.
pub(super) fn temporary_of_its_own(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    beside(path, &format!(".{}{TEMPORARY}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
