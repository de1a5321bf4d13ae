//! A file of a dataset, decompressed as it is read.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::dataset::DatasetError;
use crate::limits;

/// Limit of bytes of the examples of one file: those that fit into the chunks of one split.
/// No more than this is decompressed, however small a compressed file is.
pub(super) const SPLIT_BYTES: u64 = limits::DATASET_CHUNKS as u64 * limits::PAYLOAD_BYTES as u64;

/// Limit of a line of a CSV file, in bytes: enough for the maximum number of features, with
/// 40 characters each.
const LINE_BYTES: u64 = 40 * limits::FEATURES as u64;

/// First bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file, read from front to back. Gzip is recognised by its first bytes, whatever the
/// file's name; offsets and lines are those of the decompressed content.
pub(super) struct SourceFile<'a> {
    name: String,
    reader: BufReader<Box<dyn Read + 'a>>,
    packed: bool,
    /// Bytes read so far.
    offset: u64,
    /// Lines read so far.
    lines: u64,
}

impl SourceFile<'static> {
    /// Opens a regular file.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let name = path.display().to_string();
        let io = |error| DatasetError::Io { path: name.clone(), error };
        // Checked before opening, which would wait on a pipe without a writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("expected a file, found something else")));
        }
        let file = File::open(path).map_err(io)?;
        Self::new(name, file)
    }
}

impl<'a> SourceFile<'a> {
    /// A file of any origin.
    pub(super) fn new(name: String, file: impl Read + 'a) -> Result<Self, DatasetError> {
        let mut file = BufReader::new(file);
        let start = file.fill_buf();
        let start = start.map_err(|error| DatasetError::Io { path: name.clone(), error })?;
        let packed = start.starts_with(&GZIP_MAGIC);
        let reader: Box<dyn Read + 'a> =
            if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Self { name, reader: BufReader::new(reader), packed, offset: 0, lines: 0 })
    }

    /// The next `bytes` bytes, which are `what`. Memory is allocated as they arrive.
    pub(super) fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        let mut taken = Vec::new();
        let result = self.reader.by_ref().take(bytes).read_to_end(&mut taken);
        let start = self.offset;
        self.offset += taken.len() as u64;
        result.map_err(|error| self.broken(error))?;
        if (taken.len() as u64) < bytes {
            let expected = format!("{bytes} bytes of {what} from byte {start} on");
            let found = format!("the end of the file after {} of them", taken.len());
            return Err(self.wrong_byte(self.offset, expected, found));
        }
        Ok(taken)
    }

    /// The next big-endian 32-bit word, `what`.
    pub(super) fn word(&mut self, what: &str) -> Result<u32, DatasetError> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }

    /// Checks that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), DatasetError> {
        let rest = self.reader.fill_buf().map(|rest| rest.len());
        match rest.map_err(|error| self.broken(error))? {
            0 => Ok(()),
            _ => Err(self.wrong_byte(self.offset, "the end of the file", "more bytes")),
        }
    }

    /// Reads the next line, without its end; `false` at the end of the file.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, DatasetError> {
        line.clear();
        let result = self.reader.by_ref().take(LINE_BYTES).read_until(b'\n', line);
        self.offset += line.len() as u64;
        let read = result.map_err(|error| self.broken(error))?;
        self.lines += u64::from(read > 0);
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read as u64 == LINE_BYTES {
            let expected = format!("a line of less than {LINE_BYTES} bytes");
            return Err(self.wrong_line(expected, "a longer one"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(read > 0)
    }

    /// Lines read so far: the number of the last one.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The error for a byte.
    pub(super) fn wrong_byte(
        &self,
        byte: u64,
        expected: impl ToString,
        found: impl ToString,
    ) -> DatasetError {
        self.wrong(format!("byte {byte}"), expected.to_string(), found.to_string())
    }

    /// The error for the last line.
    pub(super) fn wrong_line(&self, expected: impl ToString, found: impl ToString) -> DatasetError {
        let line = format!("line {}", self.lines.max(1));
        self.wrong(line, expected.to_string(), found.to_string())
    }

    fn wrong(&self, place: String, expected: String, found: String) -> DatasetError {
        DatasetError::Content { path: self.name.clone(), place, expected, found }
    }

    /// The error of a failed read: of the system, or damaged gzip data.
    fn broken(&self, error: std::io::Error) -> DatasetError {
        if self.packed && error.raw_os_error().is_none() {
            let found = format!("damage ({error})");
            return self.wrong_byte(self.offset, "gzip data that unpacks", found);
        }
        DatasetError::Io { path: self.name.clone(), error }
    }
}
