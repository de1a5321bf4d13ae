//! The pages of a column, unpacked by the crates that unpack other files, and within limits. What a
//! page says of itself is checked where the library would believe it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::input::Input;
use crate::dataset::source::ahead::Ahead;
use crate::dataset::source::unpack;
use crate::limits;

/// Rows that are read at once.
pub(super) const BATCH_ROWS: usize = 64;

/// Values of lists in the pages for one batch: as many as the most features that its examples may
/// have.
const LIST_VALUES: u64 = BATCH_ROWS as u64 * limits::FEATURES as u64;

/// A page unpacks to this many bytes, or to some times its packed bytes if those are more. Writers
/// make pages of about 1 MiB; images make larger ones, and do not shrink.
const PAGE_BYTES: u64 = 64 << 20;
const PAGE_RATIO: u64 = 16;

/// Encodings of values that are read: those that pandas, pyarrow, `datasets`, polars, DuckDB and
/// Spark write unless they are told otherwise.
const ENCODINGS: [Encoding; 5] = [
    Encoding::PLAIN,
    Encoding::PLAIN_DICTIONARY,
    Encoding::RLE_DICTIONARY,
    Encoding::RLE,
    Encoding::DELTA_BINARY_PACKED,
];

/// Reads the pages of a column in a row group.
pub(super) struct Pages {
    pages: SerializedPageReader<Input>,
    packing: Compression,
    kind: Type,
    width: i32,
    has_dictionary: bool,
    /// Values of lists that were handed out since this was set to 0.
    list_values: Option<Arc<AtomicU64>>,
}

impl Pages {
    /// `chunk` says that the pages are not packed, `packing` how they are.
    pub(super) fn of(
        input: Arc<Input>,
        chunk: &ColumnChunkMetaData,
        rows: usize,
        packing: Compression,
    ) -> Result<Self> {
        let descriptor = chunk.column_descr();
        let kind = descriptor.physical_type();
        let is_list = descriptor.max_rep_level() > 0;
        Ok(Self {
            pages: SerializedPageReader::new(input, chunk, rows, None)?,
            packing,
            kind,
            width: if kind == Type::FIXED_LEN_BYTE_ARRAY { descriptor.type_length() } else { 0 },
            has_dictionary: false,
            list_values: is_list.then(Arc::default),
        })
    }

    /// Counts the values of a list's pages.
    pub(super) fn list_values(&self) -> Option<Arc<AtomicU64>> {
        self.list_values.clone()
    }

    fn unpacked(&mut self, mut page: Page) -> Result<Page> {
        match &mut page {
            Page::DataPage { buf, .. } => *buf = unpack(buf, self.packing)?,
            Page::DictionaryPage { buf, num_values, .. } => {
                *buf = unpack(buf, self.packing)?;
                let size = match self.kind {
                    Type::INT64 | Type::DOUBLE => 8,
                    Type::INT96 => 12,
                    Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(self.width.max(1))?,
                    _ => 4,
                };
                if u64::from(*num_values).saturating_mul(size) > buf.len() as u64 {
                    return Err(wrong("a dictionary of more values than it has bytes for"));
                }
                self.has_dictionary = true;
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                if levels > buf.len() as u64 {
                    return Err(wrong("levels that are longer than their page"));
                }
                if *is_compressed {
                    let levels = levels as usize;
                    let values = unpack(&buf.slice(levels..), self.packing)?;
                    *buf = [&buf[..levels], &values].concat().into();
                }
            }
        }
        if page.is_data_page() {
            self.check(&page)?;
        }
        Ok(page)
    }

    fn check(&self, page: &Page) -> Result<()> {
        let encoding = page.encoding();
        if !ENCODINGS.contains(&encoding) {
            return Err(wrong(&format!(
                "the encoding {encoding:?}, which is not read here: write the file by pandas or \
                 pyarrow with their defaults"
            )));
        }
        let is_by_dictionary =
            matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY);
        if is_by_dictionary && !self.has_dictionary {
            return Err(wrong("a page without its dictionary"));
        }
        if let Some(values) = &self.list_values {
            let more = u64::from(page.num_values());
            if values.fetch_add(more, Ordering::Relaxed).saturating_add(more) > LIST_VALUES {
                return Err(wrong("lists that are too long"));
            }
        }
        Ok(())
    }
}

fn wrong(text: &str) -> ParquetError {
    ParquetError::General(text.to_owned())
}

/// The bytes of a page.
fn unpack(packed: &Bytes, packing: Compression) -> Result<Bytes> {
    let most = PAGE_BYTES.max(PAGE_RATIO * packed.len() as u64);
    let too_long = || wrong(&format!("a page of more than {most} bytes"));
    let read = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most { Err(too_long()) } else { Ok(Bytes::from(bytes)) }
    };
    if packed.is_empty() {
        return Ok(Bytes::new());
    }
    match packing {
        Compression::UNCOMPRESSED => Ok(packed.clone()),
        Compression::SNAPPY => {
            let damaged = |error: snap::Error| wrong(&error.to_string());
            if snap::raw::decompress_len(packed).map_err(damaged)? as u64 > most {
                return Err(too_long());
            }
            let bytes = snap::raw::Decoder::new().decompress_vec(packed).map_err(damaged)?;
            Ok(bytes.into())
        }
        Compression::GZIP(_) => read(&mut unpack::gzip(Ahead::new(&packed[..]))),
        Compression::ZSTD(_) => read(&mut unpack::zstd(Ahead::new(&packed[..]))),
        other => {
            let name = other.to_string();
            let name = name.split('(').next().unwrap_or_default();
            Err(wrong(&format!("pages packed by {name}: write the file with snappy, zstd or gzip")))
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}
