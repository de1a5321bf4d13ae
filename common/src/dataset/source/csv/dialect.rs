//! How a text is divided into records and fields: the separator, and the lines that are no records.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::limits;

/// Bytes of a text that are looked at to find the separator.
const SAMPLE_BYTES: usize = 256 << 10;

/// Records that are looked at.
const SAMPLE_RECORDS: usize = 200;

/// Limit of the fields of a record: all features, and columns that are none.
pub(super) const FIELDS: usize = limits::FEATURES as usize + 1024;

/// Limit of the bytes of a record.
pub(super) const RECORD_BYTES: usize = 64 << 20;

/// Separators that are recognised, the first ones preferred if several fit.
const SEPARATORS: [u8; 5] = *b"\t;|, ";

/// First byte of a comment.
const COMMENT: u8 = b'#';

/// What separates the fields of a record. Blanks count as one, however many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Dialect {
    separator: u8,
    /// Whether lines that begin with `#` are no records, also behind the first record.
    has_comments: bool,
}

impl Dialect {
    /// Of a separator that a user has named.
    pub(in crate::dataset) fn of(separator: u8) -> Self {
        Self { separator, has_comments: true }
    }

    /// The one that gives most records of a text the same number of fields, at least two.
    pub(in crate::dataset) fn sniff(text: &str) -> Self {
        let mut best = (0.0, b',');
        for separator in SEPARATORS {
            let share = Self::of(separator).regularity(text);
            if share > best.0 + 1e-9 {
                best = (share, separator);
            }
        }
        Self::of(best.1)
    }

    /// The same, without comments if a line behind the first record begins with `#` and has as many
    /// fields as records have: it is one of them, such as that of a color.
    pub(in crate::dataset) fn with_comments_of(self, text: &str, columns: usize) -> Self {
        let first = text.lines().map(str::len).zip(text.lines());
        let mut at = 0;
        for (length, line) in first {
            if !line.is_empty() && !line.starts_with(char::from(COMMENT)) {
                break;
            }
            at += length + 1;
        }
        let rest = text.get(at..).unwrap_or_default();
        let without = Self { has_comments: false, ..self };
        let has_record = rest.match_indices("\n#").any(|(at, _)| {
            let line = rest[at + 1..].lines().next().unwrap_or_default();
            // A blank before it, so that it is not taken for a comment before the first record.
            let line = format!(" {line}");
            without.fields_of(&line) == columns
        });
        if columns > 1 && has_record { without } else { self }
    }

    /// The share of the first records that have as many fields as most; 0 if those have one.
    fn regularity(self, text: &str) -> f64 {
        let cut = text.len().min(SAMPLE_BYTES);
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

    /// Fields of the first record of a text.
    fn fields_of(self, text: &str) -> usize {
        let mut record = Record::default();
        if self.records(text.as_bytes()).next(&mut record) { record.len() } else { 0 }
    }

    /// The records of a text, without comments, empty lines, and records at the end whose fields are
    /// all empty.
    pub(in crate::dataset) fn records(self, text: &[u8]) -> Records<'_> {
        let reader = ReaderBuilder::new().delimiter(self.separator).build();
        let mut kinds = [Kind::Other; 256];
        kinds[usize::from(self.separator)] = Kind::Separator;
        for (byte, kind) in [(b'\n', Kind::End), (b'\r', Kind::Special), (b'"', Kind::Special)] {
            kinds[usize::from(byte)] = kind;
        }
        let are_blanks = self.separator == b' ';
        let is_filler =
            |byte: &u8| byte.is_ascii_whitespace() || *byte == self.separator || *byte == b'"';
        let end = text.iter().rposition(|byte| !is_filler(byte)).map_or(0, |at| at + 1);
        let (has_comments, reader) = (self.has_comments, Box::new(reader));
        let has_begun = false;
        Records { text, at: 0, end, line: 1, kinds, reader, are_blanks, has_comments, has_begun }
    }
}

/// What a byte means in a line without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Other,
    Separator,
    End,
    /// Something that only the parser of quotes knows.
    Special,
}

/// Reads the records of a text.
#[derive(Debug)]
pub(in crate::dataset) struct Records<'a> {
    text: &'a [u8],
    /// The next byte, and its line.
    at: usize,
    line: u64,
    /// The end of the last field that is not empty.
    end: usize,
    kinds: [Kind; 256],
    reader: Box<Reader>,
    are_blanks: bool,
    has_comments: bool,
    /// Whether a record was read.
    has_begun: bool,
}

/// One record. Its fields have no blanks around them.
#[derive(Clone, Debug, Default)]
pub(in crate::dataset) struct Record<'a> {
    /// Its line, if it has no quotes.
    plain: &'a [u8],
    /// Otherwise its fields without their quotes.
    unquoted: Vec<u8>,
    is_quoted: bool,
    /// Where the fields begin and end. If blanks separate them, only those that are not empty.
    fields: Vec<(u32, u32)>,
    /// Its line, from 1.
    line: u64,
    /// Whether it has more than [`FIELDS`] or [`RECORD_BYTES`], of which the rest is left out.
    is_cut: bool,
}

impl<'a> Records<'a> {
    /// Reads the next record; `false` at the end.
    pub(in crate::dataset) fn next(&mut self, record: &mut Record<'a>) -> bool {
        loop {
            self.skip();
            record.line = self.line;
            record.fields.clear();
            record.is_cut = false;
            if self.at >= self.text.len() {
                return false;
            }
            self.has_begun = true;
            if !self.plain(record) {
                self.quoted(record);
            }
            let is_row = record.fields.len() > 1 && self.at < self.end;
            if is_row || record.fields.iter().any(|(start, end)| start < end) {
                return true;
            }
        }
    }

    /// Goes past empty lines and comments.
    fn skip(&mut self) {
        loop {
            match self.text.get(self.at) {
                Some(b'\n') => (self.at, self.line) = (self.at + 1, self.line + 1),
                Some(b'\r') => self.at += 1,
                Some(&COMMENT) if self.has_comments || !self.has_begun => {
                    let end = self.text[self.at..].iter().position(|it| *it == b'\n');
                    self.at += end.unwrap_or(self.text.len() - self.at);
                }
                _ => return,
            }
        }
    }

    /// Reads a record that is a line without quotes; `false`, and nothing is read, if it is not.
    fn plain(&mut self, record: &mut Record<'a>) -> bool {
        let rest = &self.text[self.at..];
        record.is_quoted = false;
        record.plain = rest;
        let (mut start, mut end) = (0, rest.len());
        for (at, byte) in rest.iter().enumerate() {
            match self.kinds[usize::from(*byte)] {
                Kind::Other => continue,
                Kind::Separator => {
                    record.push(start, at, self.are_blanks);
                    start = at + 1;
                    continue;
                }
                Kind::End => end = at,
                Kind::Special if rest[at..].starts_with(b"\r\n") => end = at,
                Kind::Special => {
                    record.fields.clear();
                    record.is_cut = false;
                    return false;
                }
            }
            break;
        }
        record.push(start, end, self.are_blanks);
        // The end of the line is left for `skip`.
        self.at += end;
        true
    }

    /// Reads a record that may have quotes, and ends of lines in them.
    fn quoted(&mut self, record: &mut Record<'a>) {
        self.reader.reset();
        record.is_quoted = true;
        let (mut input, mut ends) = (&self.text[self.at..], [0; 256]);
        let (mut used, mut start) = (0, 0);
        loop {
            if used == record.unquoted.len() && used < RECORD_BYTES {
                record.unquoted.resize((2 * used).clamp(1024, RECORD_BYTES), 0);
            }
            let out = &mut record.unquoted[used..];
            let (result, read, written, fields) = self.reader.read_record(input, out, &mut ends);
            (input, used) = (&input[read..], used + written);
            for end in ends.iter().take(fields) {
                record.push(start, *end, false);
                start = *end;
            }
            if used == RECORD_BYTES {
                // The rest is read over what is there, and left out.
                (record.is_cut, used) = (true, 0);
            }
            if matches!(result, ReadRecordResult::Record | ReadRecordResult::End) {
                break;
            }
        }
        if self.are_blanks {
            record.fields.retain(|(start, end)| start < end);
        }
        let end = self.text.len() - input.len();
        self.line += self.text[self.at..end].iter().filter(|it| **it == b'\n').count() as u64;
        self.at = end;
    }
}

impl<'a> Record<'a> {
    /// Appends a field, without the blanks around it, and not if it is empty and to be left out.
    fn push(&mut self, mut start: usize, mut end: usize, leave_empty: bool) {
        if self.is_cut || end > RECORD_BYTES || self.fields.len() == FIELDS {
            self.is_cut = true;
            return;
        }
        let bytes = if self.is_quoted { &self.unquoted[..] } else { self.plain };
        while start < end && bytes[start].is_ascii_whitespace() {
            start += 1;
        }
        while start < end && bytes[end - 1].is_ascii_whitespace() {
            end -= 1;
        }
        if start < end || !leave_empty {
            self.fields.push((start as u32, end as u32));
        }
    }

    /// Begins a record without fields on a line.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn begin(&mut self, line: u64) {
        self.fields.clear();
        self.unquoted.clear();
        (self.line, self.is_quoted, self.is_cut) = (line, true, false);
    }

    /// Appends a text as a field.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn push_text(&mut self, field: &str) {
        let start = self.unquoted.len();
        self.unquoted.extend_from_slice(field.as_bytes());
        self.push(start, self.unquoted.len(), false);
    }

    /// Number of fields.
    pub(in crate::dataset) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Its line, from 1.
    pub(in crate::dataset) fn line(&self) -> u64 {
        self.line
    }

    /// Whether it is too long, and only its beginning is here.
    pub(in crate::dataset) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The bytes of a field; none past the last one.
    pub(in crate::dataset) fn bytes(&self, at: usize) -> &[u8] {
        let Some((start, end)) = self.fields.get(at) else { return &[] };
        let bytes = if self.is_quoted { &self.unquoted[..] } else { self.plain };
        &bytes[*start as usize..*end as usize]
    }

    /// A field; empty past the last one.
    pub(in crate::dataset) fn field(&self, at: usize) -> &str {
        // The text is UTF-8, and separators and quotes are ASCII, so fields are UTF-8, too.
        std::str::from_utf8(self.bytes(at)).unwrap_or_default()
    }

    /// A field, which stays where it is in the text, if it can.
    pub(in crate::dataset) fn kept(&self, at: usize) -> Cow<'a, str> {
        match self.fields.get(at) {
            Some((start, end)) if !self.is_quoted => {
                String::from_utf8_lossy(&self.plain[*start as usize..*end as usize])
            }
            _ => Cow::Owned(self.field(at).to_owned()),
        }
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
