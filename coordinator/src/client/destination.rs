//! Output paths. A regular file is replaced atomically, also through links; a device, a pipe
//! and standard output are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The path that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// Limit of links to follow, as in Linux.
const LINKS: usize = 40;

/// How to write to a path.
enum Way {
    /// A regular file, which need not exist, by its real name: the new file is renamed to
    /// it.
    Replaced(PathBuf),
    /// A device or a pipe.
    Written(PathBuf),
    StandardOutput,
}

impl Way {
    fn to(path: &Path) -> io::Result<Self> {
        if is_standard_output(path) {
            return Ok(Self::StandardOutput);
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::Error::other("expected a file, found a folder")),
            // The process that opened this descriptor reads from the other end.
            Ok(found) if !found.is_file() || is_descriptor(path) => {
                Ok(Self::Written(path.to_owned()))
            }
            _ => target(path).map(Self::Replaced),
        }
    }
}

/// Whether `path` means standard output.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    [STANDARD_OUTPUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .iter()
        .any(|name| path == Path::new(name))
}

fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stderr")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

/// The target of a name through links, which need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&target) {
            // An absolute target replaces the whole path.
            Ok(link) => target = folder_of(&target).join(link),
            Err(_) if target.file_name().is_some() => return Ok(target),
            Err(_) => return Err(io::Error::other("expected a file, found no file name")),
        }
    }
    Err(io::Error::other(format!("expected a chain of at most {LINKS} links, found more")))
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// Checks that `path` could be written now, so that a long run does not fail at its end: a
/// new file can be created in the folder, or the device or pipe is writable. A pipe is not
/// opened, as its reader would see it end.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match Way::to(path)? {
        Way::StandardOutput => Ok(()),
        Way::Written(path) => Ok(access(&path, AccessFlags::W_OK)?),
        Way::Replaced(path) => {
            let probe = beside(&path, "probe");
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&probe)
                .and_then(|_| fs::remove_file(&probe))
        }
    }
}

/// Writes the output of `content` to `path`. A regular file is first flushed to disk under a
/// temporary name beside it, so that it is never incomplete.
pub(crate) fn write(
    path: &Path,
    content: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match Way::to(path)? {
        Way::StandardOutput => {
            let mut out = BufWriter::new(io::stdout().lock());
            content(&mut out)?;
            out.flush()
        }
        Way::Written(path) => {
            let mut file = BufWriter::new(OpenOptions::new().write(true).open(path)?);
            content(&mut file)?;
            file.flush()
        }
        Way::Replaced(path) => {
            let temporary = beside(&path, "temporary");
            // Left by a process of the same id, which died.
            let _ = fs::remove_file(&temporary);
            create(&temporary, content)?;
            fs::rename(&temporary, &path)
                .inspect_err(|_| drop(fs::remove_file(&temporary)))
                .and_then(|()| File::open(folder_of(&path))?.sync_all())
        }
    }
}

/// Creates a new file with the output of `content` and flushes it to disk, or creates none.
pub(crate) fn create(
    path: &Path,
    content: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(path)?);
    let written = content(&mut file).and_then(|()| file.into_inner()?.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Whether `path` is a regular file that has exactly the output of `content`.
pub(crate) fn has(path: &Path, content: impl Fn(&mut dyn Write) -> io::Result<()>) -> bool {
    // Opening a pipe may block.
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let Some(mut file) = is_file.then(|| File::open(path).ok()).flatten().map(BufReader::new)
    else {
        return false;
    };
    content(&mut Comparison(&mut file)).is_ok() && file.fill_buf().is_ok_and(<[u8]>::is_empty)
}

/// Compares what is written with what is read.
struct Comparison<R>(R);

impl<R: BufRead> Write for Comparison<R> {
    fn write(&mut self, expected: &[u8]) -> io::Result<usize> {
        let found = self.0.fill_buf()?;
        let length = found.len().min(expected.len());
        if found[..length] != expected[..length] {
            return Err(io::Error::other("found other bytes"));
        }
        self.0.consume(length);
        // Nothing is taken at the end of the file, which is an error for the writer.
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name beside `path` that no other process uses.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{what}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    fn put(path: &Path, text: &'static str) -> io::Result<()> {
        write(path, |out| out.write_all(text.as_bytes()))
    }

    #[test]
    fn what_cannot_be_written_is_found_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        check(&path("state")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the probe is gone");
        assert!(check(folder.path()).unwrap_err().to_string().contains("found a folder"));
        assert!(check(&path("missing/state")).is_err() && check(Path::new("..")).is_err());
        symlink(path("round"), path("round")).unwrap();
        assert!(check(&path("round")).unwrap_err().to_string().contains("at most 40 links"));
        symlink(path("missing/state"), path("link")).unwrap();
        assert!(check(&path("link")).is_err());
        for name in ["-", "/dev/stdout", "/dev/null", "/dev/full"] {
            check(Path::new(name)).unwrap();
        }
    }

    #[test]
    fn files_are_replaced_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        symlink("inner/next", path("link")).unwrap();
        symlink("../file", path("inner/next")).unwrap();
        for text in ["first", "second"] {
            put(&path("link"), text).unwrap();
            assert_eq!(fs::read_to_string(path("file")).unwrap(), text);
            assert!(path("link").is_symlink() && path("inner/next").is_symlink());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing temporary is left");
    }

    #[test]
    fn a_file_that_could_not_be_written_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, "old").unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn equal_files_have_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, "some text").unwrap();
        let same = |path: &Path, text: &str| has(path, |out| out.write_all(text.as_bytes()));
        assert!(same(&path, "some text"));
        for other in ["some texts", "some tex", "some Text", ""] {
            assert!(!same(&path, other), "{other}");
        }
        assert!(!same(&folder.path().join("none"), "") && !same(Path::new("/dev/null"), ""));
    }

    #[test]
    fn devices_stay_what_they_are() {
        put(Path::new("/dev/null"), "nothing").unwrap();
        assert!(put(Path::new("/dev/full"), "much").is_err());
        for device in ["/dev/null", "/dev/full"] {
            assert!(fs::metadata(device).unwrap().file_type().is_char_device(), "{device}");
        }
    }
}
