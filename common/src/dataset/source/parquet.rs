//! Parquet files: tables, and images as Hugging Face has them.
//!
//! | file | what |
//! |---|---|
//! | `layout` | the files of a folder, and which split each is of |
//! | `file` | a file's columns and names of classes |
//! | `input` | its bytes |
//! | `pages` | pages of a column, unpacked within limits |
//! | `leaf`, `value` | the values of a column, row by row; one value as a text |
//! | `rows` | the rows of a table |
//! | `images` | images and their labels |

mod file;
mod images;
mod input;
mod layout;
mod leaf;
mod pages;
mod rows;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

use self::file::{ParquetFile, Role};
use self::layout::Files;
use self::rows::TableRows;
use super::csv::TextFile;
use super::table::{self, Tables};
use super::{Found, Kind, within};
use crate::dataset::schema::Schema;
use crate::dataset::{DatasetError, columns, schema};
use crate::spec::{DatasetSpec, TargetKind};

/// Reads the files of a path or pattern, or of a folder with its splits.
pub(super) fn read(
    spec: &DatasetSpec,
    path: &str,
    base: &Path,
    known: Option<&Schema>,
    labels: bool,
) -> Result<Found, DatasetError> {
    let mut files = Files::of(&within(base, path))?;
    match spec.test_source.as_deref().map(|source| super::kind(source, base)).transpose()? {
        None => {}
        Some((Kind::Parquet, path)) => {
            files.test = Files::of(&within(base, path))?.train;
        }
        Some(_) => return Err(table::other_kind(spec)),
    }
    let open = |paths: &[std::path::PathBuf]| {
        paths.iter().map(|path| ParquetFile::open(path)).collect::<Result<Vec<_>, _>>()
    };
    let (train, test) = (open(&files.train)?, open(&files.test)?);
    let first = &train[0];
    if first.columns.iter().any(|column| column.role == Role::Image) {
        let needs_label = labels && schema::target_kind(spec, known) != TargetKind::None;
        return images::read((spec, path, needs_label), &train, &test, files.notes);
    }
    let label = match &spec.label {
        Some(columns) => columns.names().to_vec(),
        None => first.only_class_label().map(str::to_owned).into_iter().collect(),
    };
    let classes = first.classes.clone();
    let mut notes = files.notes;
    notes.extend(first.notes());
    let train = tables(train)?;
    let test = if test.is_empty() { None } else { Some(tables(test)?) };
    let tables = Tables { name: path.to_owned(), train, test, notes };
    let mut found = table::examples(tables, spec, &label, (known, labels))?;
    let label = found.columns.iter().find(|column| column.role == columns::Role::Label);
    found.classes = label.and_then(|label| classes.get(&label.name)).cloned().unwrap_or_default();
    Ok(found)
}

fn tables(files: Vec<ParquetFile>) -> Result<Vec<TextFile>, DatasetError> {
    let table = |file: ParquetFile| {
        let name = file.name.clone();
        Ok(TextFile::of_rows(name, Box::new(TableRows::of(file)?)))
    };
    files.into_iter().map(table).collect()
}
