//! The bytes of a Parquet file.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

/// Limit of the metadata at a file's end, in bytes.
const FOOTER_BYTES: u64 = 64 << 20;

/// First and last bytes of a file.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// The bytes of a file, of which no more are asked for than it has.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    length: u64,
}

impl Input {
    /// Of an open file and its length.
    pub(super) fn of(file: File, length: u64) -> Self {
        Self { file, length }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The metadata at the end of the file.
    pub(super) fn footer(&self) -> ParquetResult<ParquetMetaData> {
        let text = |error: &str| ParquetError::General(error.to_owned());
        let end = self.length.checked_sub(8).ok_or_else(|| text("a file of less than 8 bytes"))?;
        let tail = self.get_bytes(end, 8)?;
        let (size, magic) = tail.split_at(4);
        if magic == b"PARE" {
            return Err(text("an encrypted file: save it without encryption"));
        }
        if magic != MAGIC {
            return Err(text("an end without the bytes PAR1"));
        }
        let size = size.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if size > end.min(FOOTER_BYTES) {
            return Err(text("metadata that is too long"));
        }
        ParquetMetaDataReader::decode_metadata(&self.get_bytes(end - size, size as usize)?)
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Input {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start.min(self.length)))?;
        Ok(BufReader::new(file))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<bytes::Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("{length} bytes at byte {start}")));
        }
        self.file.get_bytes(start, length)
    }
}
