//! A Parquet file: its columns, what they hold, and the names of classes that Hugging Face keeps in
//! its metadata.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::input::{Input, MAGIC};
use super::leaf::{self, Leaf};
use super::pages::{BATCH_ROWS, Pages};
use super::value::Format;
use crate::dataset::DatasetError;
use crate::dataset::source::file::SourceFile;
use crate::dataset::source::listing::shown;
use crate::limits;

/// A file may have this many rows, and eight for each of its bytes. More would take memory that
/// nothing in the file accounts for.
const ROWS: u64 = 1 << 20;
const ROWS_PER_BYTE: u64 = 8;

/// The column in which pandas keeps row names.
const PANDAS_INDEX: &str = "__index_level_";

/// An open file.
#[derive(Debug)]
pub(super) struct ParquetFile {
    pub(super) name: String,
    input: Arc<Input>,
    metadata: ParquetMetaData,
    pub(super) columns: Vec<Column>,
    /// Names of the classes of columns that have them.
    pub(super) classes: BTreeMap<String, Vec<String>>,
}

/// A column of values that are of use.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) role: Role,
    /// Its place among the columns of values of the file.
    leaf: usize,
    format: Format,
}

/// What each row has in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One value.
    Cell,
    /// Several numbers.
    List,
    /// The bytes of an image.
    Image,
    /// Bytes that may be an image.
    Bytes,
    /// Nothing of use.
    LeftOut,
}

impl ParquetFile {
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let name = path.display().to_string();
        let io = |error| DatasetError::Io { path: name.clone(), error };
        // Checked before opening, which would wait on a pipe without a writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            let message = "expected a file, as Parquet is read from its end, found something else";
            return Err(io(std::io::Error::other(message)));
        }
        check_start(path, &name)?;
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let input = Input::of(file, length);
        let metadata = guarded(|| input.footer()).map_err(|error| DatasetError::Content {
            path: name.clone(),
            place: format!("byte {}", length.saturating_sub(8)),
            expected: "a whole Parquet file, with its metadata at the end".into(),
            found: error.to_string(),
        })?;
        let features = features(&metadata);
        let mut file = Self {
            name,
            input: Arc::new(input),
            columns: columns(&metadata, &features),
            classes: features.into_iter().map(|(name, it)| (name, it.classes)).collect(),
            metadata,
        };
        file.classes.retain(|_, names| !names.is_empty());
        file.check()?;
        file.find_images()?;
        Ok(file)
    }

    /// Its bytes.
    pub(super) fn length(&self) -> u64 {
        self.input.length()
    }

    fn check(&self) -> Result<(), DatasetError> {
        let (mut rows, mut most) = (0_u64, ROWS_PER_BYTE.saturating_mul(self.length()));
        most = most.saturating_add(ROWS).min(limits::EXAMPLES);
        for group in self.metadata.row_groups() {
            rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        }
        if !(1..=most).contains(&rows) {
            return Err(self.wrong("rows", format!("1 to {most} rows"), rows));
        }
        if self.columns.is_empty() {
            return Err(self.wrong("columns", "columns of values", "none"));
        }
        Ok(())
    }

    /// Tells columns of images by their first bytes.
    fn find_images(&mut self) -> Result<(), DatasetError> {
        for at in 0..self.columns.len() {
            if self.columns[at].role != Role::Bytes {
                continue;
            }
            let mut is_image = false;
            self.column(at, |batch, leaf| {
                for _ in 0..batch {
                    leaf.row(&mut |cell| {
                        is_image |= cell.is_some_and(crate::dataset::source::image::is_image);
                    });
                }
                Ok(false)
            })?;
            self.columns[at].role = if is_image { Role::Image } else { Role::LeftOut };
        }
        Ok(())
    }

    /// Calls `take` with batches of one column's rows, until it returns `false`.
    fn column(
        &self,
        at: usize,
        mut take: impl FnMut(usize, &mut dyn Leaf) -> Result<bool, DatasetError>,
    ) -> Result<(), DatasetError> {
        self.batches(&[at], |batch, leaves| take(batch, &mut *leaves[0]))
    }

    /// Calls `take` with batches of the rows of some columns, until it returns `false`.
    pub(super) fn batches(
        &self,
        columns: &[usize],
        mut take: impl FnMut(usize, &mut [Box<dyn Leaf>]) -> Result<bool, DatasetError>,
    ) -> Result<(), DatasetError> {
        for group in 0..self.metadata.num_row_groups() {
            let leaf = |at: &usize| {
                let column = &self.columns[*at];
                guarded(|| self.leaf(group, column)).map_err(|error| self.damaged(column, &error))
            };
            let mut leaves = columns.iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
            let mut left = self.metadata.row_group(group).num_rows().max(0) as usize;
            while left > 0 {
                let batch = left.min(BATCH_ROWS);
                for (leaf, at) in leaves.iter_mut().zip(columns) {
                    let column = &self.columns[*at];
                    let read = guarded(|| leaf.fill(batch));
                    let read = read.map_err(|error| self.damaged(column, &error))?;
                    if read != batch {
                        let expected = format!("{batch} more rows");
                        return Err(self.wrong(&place(column), expected, read));
                    }
                }
                if !take(batch, &mut leaves)? {
                    return Ok(());
                }
                left -= batch;
            }
        }
        Ok(())
    }

    fn leaf(&self, group: usize, column: &Column) -> ParquetResult<Box<dyn Leaf>> {
        let group = self.metadata.row_group(group);
        let chunk = group.column(column.leaf);
        let places = [Some(chunk.data_page_offset()), chunk.dictionary_page_offset()];
        // The library asserts this.
        if places.into_iter().flatten().any(|at| at < 0) || chunk.compressed_size() < 0 {
            return Err(ParquetError::General("pages at a negative place".into()));
        }
        let packing = chunk.compression();
        // The pages come as they are in the file, and are unpacked within limits.
        let chunk =
            chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(group.num_rows())?;
        let pages = Pages::of(Arc::clone(&self.input), &chunk, rows, packing)?;
        leaf::open(chunk.column_descr_ptr(), pages, column.format)
    }

    /// The only column that has names of classes, if there is one.
    pub(super) fn only_class_label(&self) -> Option<&str> {
        let mut names = self.classes.keys();
        names.next().map(String::as_str).filter(|_| names.next().is_none())
    }

    /// What is to be said of columns that are left out.
    pub(super) fn notes(&self) -> Option<String> {
        let left_out = self.columns.iter().filter(|column| column.role == Role::LeftOut);
        let names: Vec<String> = left_out.map(|column| format!("{:?}", column.name)).collect();
        let are = if names.len() > 1 { "are" } else { "is" };
        let names = (!names.is_empty()).then(|| shown(names.iter().map(String::as_str)));
        names.map(|names| format!("{names} {are} left out"))
    }

    /// The error for a place in the file.
    pub(super) fn wrong(
        &self,
        place: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> DatasetError {
        DatasetError::Content {
            path: self.name.clone(),
            place: place.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    fn damaged(&self, column: &Column, error: &ParquetError) -> DatasetError {
        self.wrong(&place(column), "Parquet data that can be read", error)
    }
}

fn place(column: &Column) -> String {
    format!("column {:?}", column.name)
}

/// Checks the start of a file, or names what it is instead.
fn check_start(path: &Path, name: &str) -> Result<(), DatasetError> {
    let mut start = Vec::new();
    let io = |error| DatasetError::Io { path: name.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
    if start == MAGIC {
        return Ok(());
    }
    let file = SourceFile::open(path)?;
    let found = start.escape_ascii().to_string();
    Err(file.wrong_byte(0, "the bytes PAR1 of a Parquet file", found))
}

/// What the library says, or that it stopped. It asserts some of what files say of themselves, and
/// takes slices of pages at places that they name; what is known of that is checked before.
fn guarded<T>(work: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    // What it left half done is dropped with the file.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ParquetError::General("damaged data".into())))
}

/// What Hugging Face's `datasets` says of a column.
#[derive(Debug, Default)]
struct Feature {
    kind: String,
    classes: Vec<String>,
}

/// What the metadata says of columns; nothing if another program wrote the file.
fn features(metadata: &ParquetMetaData) -> BTreeMap<String, Feature> {
    let entries = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let text = entries.filter(|entry| entry.key == "huggingface").find_map(|it| it.value.as_ref());
    let json = text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let features = json.as_ref().and_then(|json| json.pointer("/info/features")?.as_object());
    let feature = |value: &serde_json::Value| {
        let names = value.get("names").and_then(serde_json::Value::as_array);
        let names = names.into_iter().flatten().take(limits::CLASSES as usize);
        Feature {
            kind: value.get("_type").and_then(|it| it.as_str()).unwrap_or_default().to_owned(),
            classes: names.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        }
    };
    let features = features.into_iter().flatten();
    features.map(|(name, value)| (name.clone(), feature(value))).collect()
}

/// The columns of a file.
fn columns(metadata: &ParquetMetaData, features: &BTreeMap<String, Feature>) -> Vec<Column> {
    let descriptors = metadata.file_metadata().schema_descr().columns();
    let has = |path: &[&str]| descriptors.iter().any(|it| parts(it) == path);
    let column = |(leaf, descriptor): (usize, &Arc<ColumnDescriptor>)| {
        let parts = parts(descriptor);
        let format = Format::of(descriptor);
        let is_image = |name: &str| features.get(name).is_some_and(|it| it.kind == "Image");
        let (name, role) = match &parts[..] {
            [name, "path"] if has(&[name, "bytes"]) => return None,
            [name, "bytes"] if is_image(name) || has(&[name, "path"]) => (*name, Role::Image),
            [name] if name.starts_with(PANDAS_INDEX) => (*name, Role::LeftOut),
            [name, ..] if descriptor.max_rep_level() > 0 => {
                let is_number = descriptor.physical_type() != Type::BYTE_ARRAY;
                let is_known = is_number && format != Format::Bytes;
                (*name, if is_known { Role::List } else { Role::LeftOut })
            }
            [name] if format == Format::Bytes => (*name, Role::Bytes),
            _ if format == Format::Bytes => ("", Role::LeftOut),
            _ => ("", Role::Cell),
        };
        let name = if name.is_empty() { parts.join(".") } else { name.to_owned() };
        Some(Column { name, role, leaf, format })
    };
    descriptors.iter().enumerate().filter_map(column).collect()
}

fn parts(descriptor: &ColumnDescriptor) -> Vec<&str> {
    descriptor.path().parts().iter().map(String::as_str).collect()
}
