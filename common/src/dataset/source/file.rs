//! A file of a dataset, unpacked as it is read.

use std::fs::{File, FileType, Metadata};
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use super::ahead::{Ahead, PEEK_BYTES};
use super::archive::{self, UnpackError};
use super::kind::{self, Packing};
use super::unpack;
use crate::dataset::DatasetError;
use crate::limits;

/// Limit of bytes of the examples of one file: those that fit into the chunks of one split.
pub(super) const SPLIT_BYTES: u64 = limits::DATASET_CHUNKS as u64 * limits::PAYLOAD_BYTES as u64;

/// Limit of bytes of a file: its examples, and a header before them. No more than this is
/// unpacked, however small a packed file is.
const FILE_BYTES: u64 = SPLIT_BYTES + limits::PAYLOAD_BYTES as u64;

/// Memory that is allocated for the first bytes of a part of a file.
const FIRST_BYTES: u64 = 64 << 10;

/// The name of the standard input, as a path and in errors.
const STDIN: (&str, &str) = ("-", "standard input");

/// A file, read once from front to back. Whether it is packed is recognised by its first bytes,
/// whatever its name. Places in it are those of the unpacked file.
pub(super) struct SourceFile<'a> {
    name: String,
    content: Ahead<Box<dyn Read + 'a>>,
    packing: Packing,
    /// Bytes read so far.
    offset: u64,
    /// Most bytes that are read.
    limit: u64,
}

impl SourceFile<'static> {
    /// Opens a file, a pipe or a terminal, or the standard input as `-`. Waits for a pipe's
    /// writer.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        if path == Path::new(STDIN.0) {
            return Self::new(STDIN.1.to_owned(), io::stdin());
        }
        let name = path.display().to_string();
        let io = |error| DatasetError::Io { path: name.clone(), error };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if let Some(found) = unreadable(&metadata) {
            return Err(io(io::Error::other(format!("expected a file, found {found}"))));
        }
        let mut file = File::open(path).map_err(io)?;
        if metadata.is_file() {
            let mut start = Vec::new();
            file.by_ref().take(4).read_to_end(&mut start).map_err(io)?;
            file.rewind().map_err(io)?;
            if Packing::of(&start) == Packing::Zip {
                return Self::zip(name, BufReader::new(file), FILE_BYTES);
            }
        }
        Self::new(name, file)
    }
}

impl<'a> SourceFile<'a> {
    /// A file of any origin. A zip archive is read whole, for its list of files is at its end.
    pub(super) fn new(name: String, file: impl Read + 'a) -> Result<Self, DatasetError> {
        Self::with_limit(name, file, FILE_BYTES)
    }

    fn with_limit(name: String, file: impl Read + 'a, limit: u64) -> Result<Self, DatasetError> {
        let mut file = Ahead::new(file);
        let start = match file.peek(PEEK_BYTES) {
            Ok(start) => start,
            Err(error) => return Err(DatasetError::Io { path: name, error }),
        };
        let packing = Packing::of(start);
        let content: Box<dyn Read + 'a> = match packing {
            Packing::Plain => Box::new(file),
            Packing::Gzip => Box::new(unpack::gzip(file)),
            Packing::Bzip2 => Box::new(unpack::bzip2(file)),
            Packing::Xz => Box::new(unpack::xz(file)),
            Packing::Zstd => Box::new(unpack::zstd(file)),
            Packing::Zip => {
                let mut whole = Self::of(name, Packing::Plain, Box::new(file), limit);
                let bytes = whole.rest(limit, "a zip archive")?;
                return Self::zip(whole.name, Cursor::new(bytes), limit);
            }
        };
        Self::of(name, packing, content, limit).recognised()
    }

    fn zip(name: String, zip: impl Read + Seek + 'a, limit: u64) -> Result<Self, DatasetError> {
        let (content, problem): (Box<dyn Read + 'a>, _) = match archive::open(zip) {
            Ok(content) => (Box::new(content), None),
            Err(problem) => (Box::new(io::empty()), Some(problem)),
        };
        let file = Self::of(name, Packing::Zip, content, limit);
        match problem {
            None => file.recognised(),
            Some(UnpackError::Damage(error)) => Err(file.broken(error)),
            Some(UnpackError::Content { expected, found }) => {
                Err(file.wrong_byte(0, expected, found))
            }
        }
    }

    fn of(name: String, packing: Packing, content: Box<dyn Read + 'a>, limit: u64) -> Self {
        Self { name, content: Ahead::new(content), packing, offset: 0, limit }
    }

    /// Checks that the unpacked file may hold data.
    fn recognised(mut self) -> Result<Self, DatasetError> {
        let packing = self.packing;
        let start = match self.content.peek(PEEK_BYTES) {
            Ok(start) => start,
            Err(error) => return Err(self.broken(error)),
        };
        let inner = Packing::of(start);
        let found = match kind::foreign(start) {
            Some(found) => found.to_owned(),
            None if packing != Packing::Plain && inner != Packing::Plain => {
                let (outer, inner) = (packing.name(), inner.name());
                format!("{inner} data inside of {outer} data: unpack it once")
            }
            None => return Ok(self),
        };
        Err(self.wrong_byte(0, "a file of data", found))
    }

    /// The file's name in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next `bytes` bytes, which are `what`. Memory is allocated as they arrive.
    pub(super) fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        let start = self.offset;
        let taken = self.read(bytes)?;
        if (taken.len() as u64) < bytes {
            let expected = format!("{bytes} bytes of {what} from byte {start} on");
            let found = format!("the end of the file after {} of them", taken.len());
            return Err(self.wrong_byte(self.offset, expected, found));
        }
        Ok(taken)
    }

    /// All bytes to the end of the file, which are `what`: at most `most`. Memory is allocated
    /// as they arrive.
    pub(super) fn rest(&mut self, most: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        let start = self.offset;
        let most = most.min(self.limit.saturating_sub(start));
        let rest = self.read(most)?;
        if self.more()? {
            let expected = match start {
                0 => format!("at most {most} bytes of {what}"),
                _ => format!("at most {most} bytes of {what} from byte {start} on"),
            };
            return Err(self.wrong_byte(self.offset, expected, "more"));
        }
        Ok(rest)
    }

    /// The next big-endian 32-bit word, `what`.
    pub(super) fn word(&mut self, what: &str) -> Result<u32, DatasetError> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }

    /// Checks that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), DatasetError> {
        if self.more()? {
            return Err(self.wrong_byte(self.offset, "the end of the file", "more bytes"));
        }
        Ok(())
    }

    /// The error for a byte.
    pub(super) fn wrong_byte(
        &self,
        byte: u64,
        expected: impl ToString,
        found: impl ToString,
    ) -> DatasetError {
        DatasetError::Content {
            path: self.name.clone(),
            place: format!("byte {byte}"),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Up to `bytes` bytes, less only at the end of the file. Memory doubles as they arrive, and
    /// never exceeds them.
    fn read(&mut self, bytes: u64) -> Result<Vec<u8>, DatasetError> {
        if bytes > self.limit.saturating_sub(self.offset) {
            let expected = format!("a file of at most {} bytes", self.limit);
            let found = format!("{bytes} bytes from here on");
            return Err(self.wrong_byte(self.offset, expected, found));
        }
        let mut taken = Vec::new();
        loop {
            let length = taken.len() as u64;
            let next = length.max(FIRST_BYTES).min(bytes - length);
            taken.reserve_exact(next as usize);
            let result = self.content.by_ref().take(next).read_to_end(&mut taken);
            let read = taken.len() as u64 - length;
            self.offset += read;
            result.map_err(|error| self.broken(error))?;
            if read < next || length + read == bytes {
                return Ok(taken);
            }
        }
    }

    /// Whether bytes follow.
    fn more(&mut self) -> Result<bool, DatasetError> {
        let more = self.content.peek(1).map(|rest| !rest.is_empty());
        more.map_err(|error| self.broken(error))
    }

    /// The error of a failed read: of the system, or data that does not unpack.
    fn broken(&self, error: io::Error) -> DatasetError {
        if let Some(error) = unpack::system_error(&error) {
            return DatasetError::Io { path: self.name.clone(), error };
        }
        if self.packing == Packing::Plain {
            return DatasetError::Io { path: self.name.clone(), error };
        }
        let expected = format!("{} data that unpacks", self.packing.name());
        self.wrong_byte(self.offset, expected, unpack::problem(&error))
    }
}

/// What a path leads to, if it cannot be read from front to back.
fn unreadable(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_dir() { Some("a folder") } else { special(kind) }
}

#[cfg(unix)]
fn special(kind: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_socket() {
        Some("a socket")
    } else if kind.is_block_device() {
        Some("a block device")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests;
