//! How a text is divided into records and fields: the separator, and the lines that are no records.

use csv::{ByteRecord, ReaderBuilder};

/// Bytes of a text that are looked at to find the separator.
const SAMPLE_BYTES: usize = 256 << 10;

/// Records that are looked at.
const SAMPLE_RECORDS: usize = 200;

/// Separators that are recognised, the first ones preferred if several fit.
const SEPARATORS: [u8; 5] = *b"\t;|, ";

/// First byte of a comment.
const COMMENT: u8 = b'#';

/// What separates the fields of a record. Blanks count as one, however many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Dialect {
    separator: u8,
}

impl Dialect {
    /// Of a separator that a user has named.
    pub(in crate::dataset) fn of(separator: u8) -> Self {
        Self { separator }
    }

    /// The one that gives most records of a text the same number of fields, at least two.
    pub(in crate::dataset) fn sniff(text: &str) -> Self {
        let mut best = (0.0, b',');
        for separator in SEPARATORS {
            let share = Self { separator }.regularity(text);
            if share > best.0 + 1e-9 {
                best = (share, separator);
            }
        }
        Self { separator: best.1 }
    }

    /// The share of the first records that have as many fields as most; 0 if those have one.
    fn regularity(self, text: &str) -> f64 {
        let cut = text.as_bytes().len().min(SAMPLE_BYTES);
        let sample = &text.as_bytes()[..cut];
        let mut lengths = Vec::new();
        let mut records = self.records(sample);
        let mut record = Record::default();
        while lengths.len() < SAMPLE_RECORDS && records.next(&mut record) {
            lengths.push(record.len());
        }
        // The last record of a sample may be cut.
        if cut < text.len() && lengths.len() < SAMPLE_RECORDS && lengths.len() > 1 {
            lengths.pop();
        }
        lengths.sort_unstable();
        let runs = lengths.chunk_by(|a, b| a == b).filter(|run| run[0] > 1);
        let most = runs.map(<[usize]>::len).max().unwrap_or(0);
        most as f64 / lengths.len().max(1) as f64
    }

    /// Whether a number may have a comma for its point.
    pub(in crate::dataset) fn has_decimal_commas(self) -> bool {
        self.separator == b';'
    }

    /// The records of a text, without comments and without those whose fields are all empty.
    pub(in crate::dataset) fn records(self, text: &[u8]) -> Records<'_> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).comment(Some(COMMENT));
        builder.delimiter(self.separator);
        let reader = builder.from_reader(text);
        Records { reader, text, are_blanks: self.separator == b' ', counted: 0, line: 1 }
    }
}

/// Reads the records of a text.
#[derive(Debug)]
pub(in crate::dataset) struct Records<'a> {
    reader: csv::Reader<&'a [u8]>,
    text: &'a [u8],
    are_blanks: bool,
    /// The line at this byte.
    counted: usize,
    line: u64,
}

/// One record. Its fields have no blanks around them.
#[derive(Clone, Debug, Default)]
pub(in crate::dataset) struct Record {
    fields: ByteRecord,
    /// The fields that count: all, or those that are not empty if blanks separate them.
    places: Vec<usize>,
    /// Its line, from 1.
    line: u64,
}

impl Records<'_> {
    /// Reads the next record; `false` at the end.
    pub(in crate::dataset) fn next(&mut self, record: &mut Record) -> bool {
        loop {
            // A flexible reader of bytes from memory knows no errors.
            if !self.reader.read_byte_record(&mut record.fields).unwrap_or(false) {
                return false;
            }
            let start = record.fields.position().map_or(0, csv::Position::byte);
            record.line = self.line_of(start as usize);
            let count = record.fields.len();
            record.places.clear();
            let fields = &record.fields;
            let is_kept = |at: &usize| !self.are_blanks || !fields[*at].trim_ascii().is_empty();
            record.places.extend((0..count).filter(is_kept));
            if (0..record.len()).any(|at| !record.bytes(at).is_empty()) {
                return true;
            }
        }
    }
}

impl Records<'_> {
    /// The line of the record that begins at or after a byte, behind empty lines and comments.
    fn line_of(&mut self, byte: usize) -> u64 {
        let mut start = byte.min(self.text.len());
        loop {
            match self.text.get(start) {
                Some(b'\r' | b'\n') => start += 1,
                Some(&COMMENT) => {
                    let end = self.text[start..].iter().position(|it| *it == b'\n');
                    start += end.unwrap_or(self.text.len() - start);
                }
                _ => break,
            }
        }
        let passed = &self.text[self.counted.min(start)..start];
        self.line += passed.iter().filter(|it| **it == b'\n').count() as u64;
        self.counted = self.counted.max(start);
        self.line
    }
}

impl Record {
    /// Begins a record without fields on a line.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn begin(&mut self, line: u64) {
        self.fields.clear();
        self.places.clear();
        self.line = line;
    }

    /// Appends a field.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn push(&mut self, field: &str) {
        self.places.push(self.fields.len());
        self.fields.push_field(field.as_bytes());
    }

    /// Number of fields.
    pub(in crate::dataset) fn len(&self) -> usize {
        self.places.len()
    }

    /// Its line, from 1.
    pub(in crate::dataset) fn line(&self) -> u64 {
        self.line
    }

    fn bytes(&self, at: usize) -> &[u8] {
        self.fields[self.places[at]].trim_ascii()
    }

    /// A field; empty past the last one.
    pub(in crate::dataset) fn field(&self, at: usize) -> &str {
        if at >= self.len() {
            return "";
        }
        // The text is UTF-8, and separators and quotes are ASCII, so fields are UTF-8, too.
        std::str::from_utf8(self.bytes(at)).unwrap_or_default()
    }

    /// All fields.
    pub(in crate::dataset) fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|at| self.field(at))
    }

    /// Whether all fields equal these.
    pub(in crate::dataset) fn equals(&self, fields: &[String]) -> bool {
        self.len() == fields.len() && self.fields().zip(fields).all(|(a, b)| a == b)
    }
}

/// The text with line feeds as its only ends of lines, if it has carriage returns only, as old
/// programs wrote.
pub(in crate::dataset) fn with_line_feeds(text: String) -> String {
    if text.contains('\r') && !text.contains('\n') { text.replace('\r', "\n") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        let mut records = Dialect::sniff(text).records(text.as_bytes());
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
            "# made by hand, with commas\n\"1.5\",\"2\",\"a\"\n,,\n\"3\", 4 ,\"b\"\n   \n",
        ] {
            assert_eq!(fields(text), rows, "{text:?}");
        }
        assert_eq!(fields("1,5;2,5;a\n3,5;4,5;b\n"), [["1,5", "2,5", "a"], ["3,5", "4,5", "b"]]);
        assert_eq!(fields("\"x, y\",1\n\"z\"\"w\",2\n"), [["x, y", "1"], ["z\"w", "2"]]);
        assert_eq!(fields("one\ntwo\n"), [["one"], ["two"]]);
        assert!(fields("").is_empty() && fields("\n\n# only this\n").is_empty());
    }

    #[test]
    fn lines_are_counted_from_one() {
        let text = with_line_feeds("a,b\r\r1,2\r".into());
        let mut records = Dialect::sniff(&text).records(text.as_bytes());
        let mut record = Record::default();
        let mut lines = Vec::new();
        while records.next(&mut record) {
            lines.push(record.line());
        }
        assert_eq!(lines, [1, 3]);
    }
}
