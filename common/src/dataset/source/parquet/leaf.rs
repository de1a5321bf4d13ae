//! The values of a column in a row group, row by row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type, Int96Type,
};
use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use super::pages::Pages;
use super::value::{Format, Value};

/// The values of a column, of any type.
pub(super) trait Leaf {
    /// Reads the next rows, at most so many, and returns how many there were.
    fn fill(&mut self, rows: usize) -> Result<usize>;

    /// Calls `take` with each value of the next of these rows, as a text or as bytes; `None` is a
    /// value that is missing.
    fn row(&mut self, take: &mut dyn FnMut(Option<&[u8]>));
}

/// Opens a column.
pub(super) fn open(
    descriptor: ColumnDescPtr,
    pages: Pages,
    format: Format,
) -> Result<Box<dyn Leaf>> {
    Ok(match descriptor.physical_type() {
        Type::BOOLEAN => Typed::<BoolType>::boxed(descriptor, pages, format),
        Type::INT32 => Typed::<Int32Type>::boxed(descriptor, pages, format),
        Type::INT64 => Typed::<Int64Type>::boxed(descriptor, pages, format),
        Type::INT96 => Typed::<Int96Type>::boxed(descriptor, pages, format),
        Type::FLOAT => Typed::<FloatType>::boxed(descriptor, pages, format),
        Type::DOUBLE => Typed::<DoubleType>::boxed(descriptor, pages, format),
        Type::BYTE_ARRAY => Typed::<ByteArrayType>::boxed(descriptor, pages, format),
        Type::FIXED_LEN_BYTE_ARRAY => {
            Typed::<FixedLenByteArrayType>::boxed(descriptor, pages, format)
        }
    })
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    format: Format,
    /// A value is there where the definition level is this.
    defined: i16,
    is_list: bool,
    list_values: Option<Arc<AtomicU64>>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Vec<T::T>,
    /// The next level and the next value.
    level: usize,
    value: usize,
    text: Vec<u8>,
}

impl<T: DataType> Typed<T>
where
    T::T: Value,
{
    fn boxed(descriptor: ColumnDescPtr, pages: Pages, format: Format) -> Box<dyn Leaf> {
        Box::new(Self {
            format,
            defined: descriptor.max_def_level(),
            is_list: descriptor.max_rep_level() > 0,
            list_values: pages.list_values(),
            reader: ColumnReaderImpl::new(descriptor, Box::new(pages)),
            definitions: Vec::new(),
            repetitions: Vec::new(),
            values: Vec::new(),
            level: 0,
            value: 0,
            text: Vec::new(),
        })
    }
}

impl<T: DataType> Leaf for Typed<T>
where
    T::T: Value,
{
    fn fill(&mut self, rows: usize) -> Result<usize> {
        self.definitions.clear();
        self.repetitions.clear();
        self.values.clear();
        (self.level, self.value) = (0, 0);
        if let Some(values) = &self.list_values {
            values.store(0, Ordering::Relaxed);
        }
        let (rows, _, _) = self.reader.read_records(
            rows,
            Some(&mut self.definitions),
            Some(&mut self.repetitions),
            &mut self.values,
        )?;
        Ok(rows)
    }

    fn row(&mut self, take: &mut dyn FnMut(Option<&[u8]>)) {
        loop {
            let is_there =
                self.defined == 0 || self.definitions.get(self.level) == Some(&self.defined);
            match self.values.get(self.value).filter(|_| is_there) {
                Some(value) => {
                    self.value += 1;
                    self.text.clear();
                    take(value.bytes(self.format, &mut self.text));
                }
                None => take(None),
            }
            self.level += 1;
            if !self.is_list || self.repetitions.get(self.level).is_none_or(|level| *level == 0) {
                return;
            }
        }
    }
}
