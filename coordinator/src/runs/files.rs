//! The few things that are done to files. Tests put their own in place of the
//! system's, to make each of them fail, or to stop at it.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that is being written.
pub trait WriteFile: Write + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What changes files and folders.
pub trait Files: Debug + Send + Sync {
    /// A new, empty file; one of this name is lost.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Gives a file another name; one of that name is lost.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes a folder; it is an error if it is there.
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

/// Ends of names that are not for good.
const TEMPORARY: &str = ".temporary";

/// Whether a file was never finished.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Writes a file under a temporary name, makes it durable, renames it, and
/// makes the name durable.
pub(super) fn write_atomically(
    files: &dyn Files,
    temporary: &Path,
    path: &Path,
    content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let written = write(files, temporary, content);
    let renamed = written.and_then(|()| files.rename(temporary, path));
    if renamed.is_err() {
        // It may never have been made; what is left of it goes at the next
        // start.
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
