//! CSV: one example per record, its features and its label in columns.
//!
//! | file | what |
//! |---|---|
//! | `records` | the records of a text, and their fields |
//! | `separator` | the separator of a text |
//! | `dialect` | what is no record, comments, how numbers are written |
//! | `cell` | the value of a field |
//! | `header` | names of columns, or scikit-learn's line of counts |
//! | `facts` | what all fields of a column have |
//! | `label` | which column is the label, or which ones are the target |
//! | `parts` | the form of each of several new files |
//! | `infer` | what each column is: label, numbers, texts, left out |
//! | `order` | where a file has columns that are known |
//! | `read` | the examples, by that plan |

mod cell;
mod dialect;
mod facts;
mod header;
mod infer;
mod label;
mod order;
mod parts;
mod read;
mod records;
mod separator;
#[cfg(test)]
mod tests;

use self::dialect::Dialect;
use self::header::Header;
use self::records::{FIELDS, RECORD_BYTES};
use crate::dataset::DatasetError;
use crate::dataset::columns::with_number;
use crate::dataset::raw::{Lines, Places};
use crate::spec::{Missing, TargetKind};

#[cfg(feature = "parquet")]
pub(in crate::dataset) use self::cell::is_missing_text;
pub(in crate::dataset) use self::infer::Plan;
#[cfg(feature = "parquet")]
pub(in crate::dataset) use self::label::LABELS;
pub(in crate::dataset) use self::label::Why;
pub(in crate::dataset) use self::read::Table;
pub(in crate::dataset) use self::records::Record;

/// What a user has said of the columns.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataset) struct Choices<'a> {
    /// Whether labels are read. If not, no column is guessed to be the label.
    pub(in crate::dataset) labels: bool,
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
            targets: TargetKind::Class,
            label: &[],
            missing: Missing::Error,
            ignore: None,
        }
    }
}

/// A file of a table: a text in memory, or rows of another format as the same texts.
#[derive(Debug)]
pub(in crate::dataset) struct TextFile {
    /// Its name, for sentences.
    name: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text { text: String, dialect: Dialect, header: Header },
    Rows(Box<dyn Rows>),
}

/// The rows of a file that is no text. Each is read again when it is needed again.
pub(in crate::dataset) trait Rows: std::fmt::Debug {
    /// The names of the columns.
    fn names(&self) -> &[String];

    /// Calls `take` with each row. Its line is [`line_of_row`]'s.
    fn each<'a>(
        &'a self,
        take: &mut dyn FnMut(&Record<'a>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError>;
}

/// The line that a row, from 0, has in a CSV file, whose first line names the columns.
#[cfg_attr(not(feature = "parquet"), expect(dead_code))]
pub(in crate::dataset) fn line_of_row(row: u64) -> u64 {
    row + FIRST_ROW
}

/// What helps if values of new examples are missing.
const DROP_OR_MEAN: &str = ", or `dataset.missing` set to \"drop\" or \"mean\"";

/// What helps if labels are missing, or if the state knows no mean.
const DROP: &str = ", or `dataset.missing` set to \"drop\"";

/// What helps if values of an example to predict are missing.
const FILL: &str = ", as each example to predict has its row: fill it in (a run with \
                    `dataset.missing` set to \"mean\" gives states that know a mean)";

/// The line of the first row.
const FIRST_ROW: u64 = 2;

impl TextFile {
    /// Of a text; `separator` is the one that a user has named.
    pub(in crate::dataset) fn new(name: String, text: String, separator: Option<u8>) -> Self {
        let (text, with_comments) = Dialect::of_text(text, separator);
        let header = Header::of(&text, with_comments);
        let (dialect, mut header) = match with_comments.without_comments(&text, header.columns) {
            Some(dialect) => (dialect, Header::of(&text, dialect)),
            None => (with_comments, header),
        };
        if dialect == with_comments && header.records == 0 {
            let names = dialect.names_in_comment(&text, header.columns);
            header.names = names.unwrap_or_default();
        }
        Self { name, content: Content::Text { text, dialect, header } }
    }

    /// Of a format with rows.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn of_rows(name: String, rows: Box<dyn Rows>) -> Self {
        Self { name, content: Content::Rows(rows) }
    }

    /// Names of the classes 0, 1, …, if the file has them.
    pub(in crate::dataset) fn classes(&self) -> Vec<String> {
        self.form().1.classes
    }

    /// How the file is divided, and what it says before its examples.
    fn form(&self) -> (Dialect, Header) {
        match &self.content {
            Content::Text { dialect, header, .. } => (*dialect, header.clone()),
            Content::Rows(rows) => {
                let names = rows.names().to_vec();
                let header = Header { columns: names.len(), names, ..Header::default() };
                (Dialect::of(b','), header)
            }
        }
    }

    /// Whether a line begins with `#`.
    fn has_comments(&self) -> bool {
        matches!(&self.content, Content::Text { text, .. } if text.lines().any(|line| line.starts_with('#')))
    }

    /// The fields of the first record of a text.
    fn first_record(&self, dialect: Dialect) -> Result<Vec<String>, DatasetError> {
        let Content::Text { text, .. } = &self.content else { return Ok(Vec::new()) };
        let mut record = Record::default();
        dialect.records(text.as_bytes()).next(&mut record);
        self.check(&record)?;
        Ok(record.fields().map(str::to_owned).collect())
    }

    /// Checks that a record ends where it seems to, and is not too long.
    fn check(&self, record: &Record<'_>) -> Result<(), DatasetError> {
        if let Some(line) = record.open_quote() {
            let expected = "another quote that ends the field: a field that begins with one ends \
                            with one, and a quote inside it is written twice";
            return Err(self.wrong(line, expected, "none"));
        }
        if record.is_cut() {
            let expected =
                format!("at most {FIELDS} fields and {RECORD_BYTES} bytes between two quotes");
            return Err(self.wrong(record.line(), expected, "more"));
        }
        Ok(())
    }

    /// The places of examples on these lines.
    fn places(&self, lines: Lines) -> Places {
        let row = |example| lines.get(example).saturating_sub(FIRST_ROW);
        match &self.content {
            Content::Rows(_) => Places::Rows((0..lines.len()).map(row).collect()),
            Content::Text { .. } => Places::Lines(lines),
        }
    }

    /// Calls `take` with each example, which has as many fields as the header says.
    fn examples<'a>(
        &'a self,
        dialect: Dialect,
        header: &Header,
        mut take: impl FnMut(&Record<'a>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError> {
        let text = match &self.content {
            Content::Text { text, .. } => text,
            Content::Rows(rows) => return rows.each(&mut take),
        };
        let (mut records, mut record) = (dialect.records(text.as_bytes()), Record::default());
        let mut of_header = header.records;
        while records.next(&mut record) {
            if of_header > 0 {
                of_header -= 1;
                continue;
            }
            // A file that was put together from several repeats its header.
            if header.has_texts && record.equals(&header.fields) {
                continue;
            }
            self.check(&record)?;
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
            place: match &self.content {
                Content::Text { .. } => format!("line {line}"),
                Content::Rows(_) if line < FIRST_ROW => "columns".to_owned(),
                Content::Rows(_) => format!("row {}", line - FIRST_ROW),
            },
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    fn no_target(&self, line: u64, at: usize, title: &str) -> DatasetError {
        let expected =
            format!("a target in {}, or `dataset.missing` set to \"drop\"", with_number(at, title));
        self.wrong(line, expected, "none")
    }

    /// The error for a missing value; `advice` says what a user may set.
    fn missing(&self, line: u64, place: String, advice: &str) -> DatasetError {
        self.wrong(line, format!("a value in {place}{advice}"), "none")
    }
}
