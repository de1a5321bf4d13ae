//! The rows of a file that is a table, as texts.

use super::file::{ParquetFile, Role};
use super::leaf::Leaf;
use crate::dataset::DatasetError;
use crate::dataset::source::csv::{Record, Rows, line_of_row};
use crate::limits;

/// A file that is a table. A list of numbers is as many columns: `x[0]`, `x[1]`, ….
#[derive(Debug)]
pub(super) struct TableRows {
    file: ParquetFile,
    /// The columns that count, and how many fields each has.
    columns: Vec<(usize, usize)>,
    names: Vec<String>,
    /// Bytes of long texts that are read at most.
    most_text: usize,
}

/// Texts may have this many bytes in all, and this many for each byte of the file: a dictionary makes
/// any number of a few. Short ones, as numbers are, do not count.
const TEXT_BYTES: usize = 64 << 20;
const TEXT_PER_BYTE: u64 = 64;
const SHORT: usize = 32;

impl TableRows {
    pub(super) fn of(file: ParquetFile) -> Result<Self, DatasetError> {
        let is_used = |at: &usize| matches!(file.columns[*at].role, Role::Cell | Role::List);
        let used: Vec<usize> = (0..file.columns.len()).filter(is_used).collect();
        let mut columns = Vec::new();
        file.batches(&used, |_, leaves| {
            for (leaf, at) in leaves.iter_mut().zip(&used) {
                let mut fields = 0;
                leaf.row(&mut |_| fields += 1);
                columns.push((*at, fields));
            }
            Ok(false)
        })?;
        let fields: usize = columns.iter().map(|(_, fields)| fields).sum();
        if fields > limits::FEATURES as usize {
            let expected = format!("at most {} values in a row", limits::FEATURES);
            return Err(file.wrong("row 0", expected, fields));
        }
        let mut names = Vec::with_capacity(fields);
        for (at, fields) in &columns {
            let column = &file.columns[*at];
            match column.role {
                Role::List => names.extend((0..*fields).map(|it| format!("{}[{it}]", column.name))),
                _ => names.push(column.name.clone()),
            }
        }
        let most_text = TEXT_PER_BYTE.saturating_mul(file.length()) as usize;
        Ok(Self { most_text: most_text.saturating_add(TEXT_BYTES), file, columns, names })
    }

    /// Appends a column's fields of one row. Returns the bytes of long texts in them.
    fn push(
        &self,
        row: u64,
        (at, expected): (usize, usize),
        leaf: &mut dyn Leaf,
        record: &mut Record<'_>,
    ) -> Result<usize, DatasetError> {
        let (mut fields, mut is_text, mut is_empty, mut bytes) = (0, true, false, 0);
        leaf.row(&mut |cell| {
            fields += 1;
            is_empty = cell.is_none() && fields == 1;
            let field = std::str::from_utf8(cell.unwrap_or_default());
            is_text &= field.is_ok();
            bytes += cell.map_or(0, <[u8]>::len).saturating_sub(SHORT);
            if fields <= expected {
                record.push_text(field.unwrap_or_default());
            }
        });
        let name = &self.file.columns[at].name;
        if !is_text {
            let (place, expected) = (format!("row {row}"), format!("text in {name:?}"));
            return Err(self.file.wrong(&place, expected, "bytes that are no UTF-8"));
        }
        if is_empty {
            // A list that is not there.
            (fields..expected).for_each(|_| record.push_text(""));
        } else if fields != expected {
            let expected = format!("{expected} numbers in {name:?}, as in row 0");
            return Err(self.file.wrong(&format!("row {row}"), expected, fields));
        }
        Ok(bytes)
    }
}

impl Rows for TableRows {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn each<'a>(
        &'a self,
        take: &mut dyn FnMut(&Record<'a>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError> {
        let (mut row, mut record, mut text) = (0, Record::default(), 0);
        let used: Vec<usize> = self.columns.iter().map(|(at, _)| *at).collect();
        self.file.batches(&used, |batch, leaves| {
            for _ in 0..batch {
                record.begin(line_of_row(row));
                for (leaf, column) in leaves.iter_mut().zip(&self.columns) {
                    text += self.push(row, *column, &mut **leaf, &mut record)?;
                }
                if text > self.most_text {
                    let expected = format!("at most {} bytes of texts", self.most_text);
                    return Err(self.file.wrong(&format!("row {row}"), expected, "more"));
                }
                take(&record)?;
                row += 1;
            }
            Ok(true)
        })
    }
}
