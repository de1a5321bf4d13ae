//! CSV: one example per record, its features and its label in columns.
//!
//! | file | what |
//! |---|---|
//! | `dialect` | separators, quotes, comments: the records of a text |
//! | `cell` | the value of a field |
//! | `header` | names of columns, or scikit-learn's line of counts |
//! | `facts` | what all fields of a column have |
//! | `label` | which column is the label, or which ones are the target |
//! | `infer` | what each column is: label, numbers, texts, left out |
//! | `read` | the examples, by that plan |

mod cell;
mod dialect;
mod facts;
mod header;
mod infer;
mod label;
mod read;
#[cfg(test)]
mod tests;

use self::dialect::{Dialect, FIELDS, RECORD_BYTES, Record};
use self::header::Header;
use crate::dataset::DatasetError;
use crate::spec::{Missing, TargetKind};

pub(in crate::dataset) use self::infer::Plan;
pub(in crate::dataset) use self::label::Why;
pub(in crate::dataset) use self::read::Table;

/// What a user has said of the columns.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataset) struct Choices<'a> {
    /// Whether labels are read. If not, no column is guessed to be the label.
    pub(in crate::dataset) labels: bool,
    pub(in crate::dataset) separator: Option<u8>,
    pub(in crate::dataset) targets: TargetKind,
    /// The columns of the label or the target: names, `first` or `last`. None if they are to be
    /// found.
    pub(in crate::dataset) label: &'a [String],
    pub(in crate::dataset) missing: Missing,
    /// Columns to leave out, instead of those that are recognised.
    pub(in crate::dataset) ignore: Option<&'a [String]>,
}

impl Default for Choices<'_> {
    fn default() -> Self {
        Self {
            labels: true,
            separator: None,
            targets: TargetKind::Class,
            label: &[],
            missing: Missing::Error,
            ignore: None,
        }
    }
}

/// A file in memory.
#[derive(Clone, Debug)]
pub(in crate::dataset) struct TextFile {
    /// Its name, for sentences.
    name: String,
    text: String,
}

impl TextFile {
    pub(in crate::dataset) fn new(name: String, text: String) -> Self {
        Self { name, text: dialect::with_line_feeds(text) }
    }

    /// Calls `take` with each example, which has as many fields as the header says.
    fn examples<'a>(
        &'a self,
        dialect: Dialect,
        header: &Header,
        mut take: impl FnMut(&Record<'a>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError> {
        let (mut records, mut record) = (dialect.records(self.text.as_bytes()), Record::default());
        while records.next(&mut record) {
            // A file that was put together from several repeats its header.
            if header.records > 0 && record.equals(&header.fields) {
                continue;
            }
            if record.is_cut() {
                let expected =
                    format!("at most {FIELDS} fields and {RECORD_BYTES} bytes between two quotes");
                return Err(self.wrong(record.line(), expected, "more"));
            }
            if record.len() != header.columns {
                let expected = format!("{} fields, as on other lines", header.columns);
                return Err(self.wrong(record.line(), expected, record.len()));
            }
            take(&record)?;
        }
        Ok(())
    }

    fn wrong(&self, line: u64, expected: impl ToString, found: impl ToString) -> DatasetError {
        DatasetError::Content {
            path: self.name.clone(),
            place: format!("line {line}"),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    fn no_target(&self, line: u64, at: usize, title: &str) -> DatasetError {
        let expected = format!(
            "a target in {}, or `dataset.missing` set to \"drop\"",
            infer::place(at, title)
        );
        self.wrong(line, expected, "none")
    }

    fn missing(&self, line: u64, at: usize, title: &str) -> DatasetError {
        let expected = format!(
            "a value in {}, or `dataset.missing` set to \"drop\" or \"mean\"",
            infer::place(at, title)
        );
        self.wrong(line, expected, "none")
    }
}
