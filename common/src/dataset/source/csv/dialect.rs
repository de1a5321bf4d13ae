//! How a text is divided into records and fields: the separator, the lines that are no records, and
//! how numbers are written.

use std::collections::BTreeSet;

use super::cell::{Cell, Notation, Point};
use super::label::LABELS;
use super::records::{COMMENT, Record, Records, with_line_feeds, without_blanks_before_quotes};
use super::separator::{found, named_separator};

/// Records that are looked at to tell names in a comment from a record.
const SAMPLE_RECORDS: usize = 500;

/// What separates the fields of a record. Blanks count as one, however many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Dialect {
    separator: u8,
    /// Bytes before the first line that may be a record.
    start: usize,
    /// Whether lines that begin with `#` are no records.
    has_comments: bool,
    notation: Notation,
}

/// A line of a text that begins with `#`.
struct Comment<'a> {
    /// Its first byte in the text.
    start: usize,
    line: &'a str,
}

impl Dialect {
    /// Of a separator, with comments.
    pub(in crate::dataset) fn of(separator: u8) -> Self {
        let notation = Notation { decimal_commas: false };
        Self { separator, start: 0, has_comments: true, notation }
    }

    /// Of a text, and the text in the form that its records are read from; `separator` is the one
    /// that a user has named.
    pub(in crate::dataset) fn of_text(text: String, separator: Option<u8>) -> (String, Self) {
        let text = with_line_feeds(text);
        let named = named_separator(&text);
        let start = named.map_or(0, |(start, _)| start);
        let separator = separator.or(named.map(|(_, separator)| separator));
        let separator = separator.unwrap_or_else(|| found(&text, start));
        let text = without_blanks_before_quotes(&text, separator).unwrap_or(text);
        let dialect = Self { start, ..Self::of(separator) };
        let decimal_commas = dialect.has_decimal_commas(&text);
        (text, Self { notation: Notation { decimal_commas }, ..dialect })
    }

    /// The same with decimal commas if other files of the table have them, and commas do not separate
    /// here.
    pub(in crate::dataset) fn with_decimal_commas(self, have_others: bool) -> Self {
        let is_so = self.notation.decimal_commas || have_others && self.separator != b',';
        Self { notation: Notation { decimal_commas: is_so }, ..self }
    }

    /// How numbers are written.
    pub(in crate::dataset) fn notation(self) -> Notation {
        self.notation
    }

    /// Whether a text has numbers with a comma for the point. `1,234` may be one of them, or one
    /// thousand or more: where a semicolon separates, it is one of them unless other numbers have a
    /// point, and elsewhere this alone does not tell. Where commas separate, those between quotes are
    /// points unless other numbers have one.
    fn has_decimal_commas(self, text: &str) -> bool {
        // Commas that separate are in no field without quotes.
        if !text.contains(',') || self.separator == b',' && !text.contains('"') {
            return false;
        }
        let commas = Notation { decimal_commas: true };
        let (mut is_clear, mut has_unclear, mut has_points) = (false, false, false);
        let (mut records, mut record) = (self.records(text.as_bytes()), Record::default());
        while records.next(&mut record) {
            for field in record.fields() {
                if field.contains(',') && matches!(commas.cell(field), Cell::Number(_)) {
                    is_clear |= !may_be_thousands(field);
                    has_unclear = true;
                }
                has_points |= field.contains('.')
                    && Point::of(field) == Point::Fraction
                    && field.parse::<f64>().is_ok();
            }
            if is_clear && (self.separator != b',' || has_points) {
                break;
            }
        }
        match self.separator {
            b',' => is_clear && !has_points,
            b';' => is_clear || has_unclear && !has_points,
            _ => is_clear,
        }
    }

    /// The same for a text of so many columns, without comments if a line that begins with `#` has
    /// as many fields: it is a record, such as that of a color. Before the first record, it may also
    /// have the names of the columns.
    pub(in crate::dataset) fn without_comments(self, text: &str, columns: usize) -> Option<Self> {
        let is_record =
            |line: &str| !line[1..].starts_with([' ', '\t']) && self.fields(line).len() == columns;
        let (comments, end) = self.leading_comments(text);
        let rest = text.get(end..).unwrap_or_default();
        let mut others = rest.match_indices("\n#").map(|(at, _)| &rest[at + 1..]);
        let has_record = others.any(|rest| is_record(rest.lines().next().unwrap_or_default()));
        let records = comments.iter().rev().take_while(|comment| is_record(comment.line));
        let records: Vec<&Comment<'_>> = records.collect();
        let are_names =
            records.len() == 1 && self.names_of(text, records[0].line, columns).is_some();
        let is_without = columns > 1 && (has_record || !records.is_empty() && !are_names);
        let start = records.last().map_or(end, |first| first.start);
        is_without.then_some(Self { has_comments: false, start, ..self })
    }

    /// The names of so many columns in a comment right before the first record.
    pub(in crate::dataset) fn names_in_comment(
        self,
        text: &str,
        columns: usize,
    ) -> Option<Vec<String>> {
        let (comments, _) = self.leading_comments(text);
        let last = comments.last().filter(|_| columns > 1)?;
        let has_label = |names: &Vec<String>| {
            names.iter().any(|name| LABELS.iter().any(|label| name.eq_ignore_ascii_case(label)))
        };
        // Another comment may follow, such as one of units.
        let names = |comment: &Comment<'_>| self.names_of(text, comment.line, columns);
        comments.iter().filter_map(names).find(has_label).or_else(|| names(last))
    }

    /// The fields behind the `#` of a comment, if all are different texts, and none is a text that a
    /// record has in the same column.
    fn names_of(self, text: &str, comment: &str, columns: usize) -> Option<Vec<String>> {
        let mut names = self.fields(comment);
        // The mark alone may stand for a name.
        let is_alone = names.first().is_some_and(|first| first == "#");
        if is_alone && names.len() > columns {
            names.remove(0);
        } else if let Some(first) = names.first_mut().filter(|_| !is_alone) {
            *first = first.trim_start_matches(['#', ' ', '\t']).to_owned();
        }
        let is_text = |name: &String| self.notation.cell(name) == Cell::Other;
        let different = names.iter().collect::<BTreeSet<_>>().len();
        if names.len() != columns || different != columns || !names.iter().all(is_text) {
            return None;
        }
        let (mut records, mut record) = (self.records(text.as_bytes()), Record::default());
        let mut rest = std::iter::from_fn(|| {
            records
                .next(&mut record)
                .then(|| names.iter().zip(record.fields()).any(|(a, b)| a == b))
        });
        (!rest.by_ref().take(SAMPLE_RECORDS).any(|has_one| has_one)).then_some(names)
    }

    /// The comments right before the first record, without any line between, and the first byte
    /// behind them.
    fn leading_comments(self, text: &str) -> (Vec<Comment<'_>>, usize) {
        let (mut comments, mut at) = (Vec::new(), self.start);
        for line in text.get(at..).unwrap_or_default().split_inclusive('\n') {
            let content = line.trim_end_matches(['\n', '\r']);
            if content.starts_with(char::from(COMMENT)) {
                comments.push(Comment { start: at, line: content });
            } else if content.trim().is_empty() {
                comments.clear();
            } else {
                break;
            }
            at += line.len();
        }
        (comments, at)
    }

    /// The fields of a line.
    fn fields(self, line: &str) -> Vec<String> {
        let mut record = Record::default();
        let line_alone = Self { start: 0, has_comments: false, ..self };
        line_alone.records(line.as_bytes()).next(&mut record);
        record.fields().map(str::to_owned).collect()
    }

    /// The records of a text, without comments, empty lines, and records at the end whose fields are
    /// all empty.
    pub(in crate::dataset) fn records(self, text: &[u8]) -> Records<'_> {
        Records::new(text, self.start, self.separator, self.has_comments)
    }
}

/// Whether a comma may separate the thousands of a number, as in `1,234`.
fn may_be_thousands(field: &str) -> bool {
    let (before, after) = field.split_once(',').unwrap_or((field, ""));
    let whole = before.trim_start_matches(['+', '-']);
    let is_group = (1..=3).contains(&whole.len()) && !whole.starts_with('0');
    is_group && !whole.contains('.') && after.len() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        let (text, dialect) = Dialect::of_text(text.into(), None);
        let mut records = dialect.records(text.as_bytes());
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.next(&mut record) {
            all.push(record.fields().map(str::to_owned).collect());
        }
        all
    }

    #[test]
    fn separators_are_found() {
        let rows = [["1.5", "2", "a"], ["3", "4", "b"]];
        for text in [
            "1.5,2,a\n3,4,b\n",
            "1.5;2;a\r\n3;4;b\r\n",
            "1.5\t2\ta\n3\t4\tb",
            "  1.5  2   a\n\n3 4 b  \n",
            "1.5|2|a\n3|4|b\n",
            "# made by hand, with commas\n\"1.5\",\"2\",\"a\"\n\"3\", 4 ,\"b\"\n,,\n   \n",
        ] {
            assert_eq!(fields(text), rows, "{text:?}");
        }
        // Between others, a record without anything is one.
        assert_eq!(fields("1,2\n,\n3,4\n,\n"), [["1", "2"], ["", ""], ["3", "4"]]);
        assert_eq!(fields("1,5;2,5;a\n3,5;4,5;b\n"), [["1,5", "2,5", "a"], ["3,5", "4,5", "b"]]);
        assert_eq!(fields("\"x, y\",1\n\"z\"\"w\",2\n"), [["x, y", "1"], ["z\"w", "2"]]);
        assert_eq!(fields("one\ntwo\n"), [["one"], ["two"]]);
        assert!(fields("").is_empty() && fields("\n\n# only this\n").is_empty());
    }

    #[test]
    fn lines_are_counted_from_one() {
        let (text, dialect) = Dialect::of_text("a,b\r\r1,2\r".into(), None);
        let mut records = dialect.records(text.as_bytes());
        let mut record = Record::default();
        let mut lines = Vec::new();
        while records.next(&mut record) {
            lines.push(record.line());
        }
        assert_eq!(lines, [1, 3]);
    }
}
