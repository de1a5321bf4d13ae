//! The records of a text, and their fields.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::limits;

/// Limit of the fields of a record: all features, and columns that are none.
pub(super) const FIELDS: usize = limits::FEATURES as usize + 1024;

/// Limit of the bytes of a record.
pub(super) const RECORD_BYTES: usize = 64 << 20;

/// First byte of a comment.
pub(super) const COMMENT: u8 = b'#';

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
    separator: u8,
    has_comments: bool,
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
    /// The line of a quote that nothing ends.
    open_quote: Option<u64>,
}

impl<'a> Records<'a> {
    /// Of a text from its byte `start` on. Lines that begin with `#` are no records if it has
    /// comments.
    pub(super) fn new(text: &'a [u8], start: usize, separator: u8, has_comments: bool) -> Self {
        let reader = Box::new(ReaderBuilder::new().delimiter(separator).build());
        let mut kinds = [Kind::Other; 256];
        kinds[usize::from(separator)] = Kind::Separator;
        for (byte, kind) in [(b'\n', Kind::End), (b'\r', Kind::Special), (b'"', Kind::Special)] {
            kinds[usize::from(byte)] = kind;
        }
        let is_filler =
            |byte: &u8| byte.is_ascii_whitespace() || *byte == separator || *byte == b'"';
        let end = text.iter().rposition(|byte| !is_filler(byte)).map_or(0, |at| at + 1);
        let line = 1 + line_feeds(text.get(..start).unwrap_or_default());
        Self { text, at: start, line, end, kinds, reader, separator, has_comments }
    }

    /// Reads the next record; `false` at the end.
    pub(in crate::dataset) fn next(&mut self, record: &mut Record<'a>) -> bool {
        loop {
            self.skip();
            record.line = self.line;
            record.fields.clear();
            record.is_cut = false;
            record.open_quote = None;
            if self.at >= self.text.len() {
                return false;
            }
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
                Some(&COMMENT) if self.has_comments => {
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
        record.unquoted.clear();
        record.plain = rest;
        let are_blanks = self.are_blanks();
        let (mut start, mut end) = (0, rest.len());
        for (at, byte) in rest.iter().enumerate() {
            match self.kinds[usize::from(*byte)] {
                Kind::Other => continue,
                Kind::Separator => {
                    record.push(start, at, are_blanks);
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
        record.push(start, end, are_blanks);
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
        if !record.is_cut {
            // What was longer before is not copied with it.
            record.unquoted.truncate(used);
        }
        if self.are_blanks() {
            record.fields.retain(|(start, end)| start < end);
        }
        let end = self.text.len() - input.len();
        let read = &self.text[self.at..end];
        if end == self.text.len() || read.trim_ascii_end().contains(&b'\n') {
            let line = |at: usize| self.line + line_feeds(&read[..at]);
            record.open_quote = open_quote(read, self.separator).map(line);
        }
        self.line += line_feeds(read);
        self.at = end;
    }

    /// Whether blanks separate the fields.
    fn are_blanks(&self) -> bool {
        self.separator == b' '
    }
}

fn line_feeds(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The first quote of a record that begins a field and that nothing ends: there is no other one, or
/// it is on another line and the field goes on behind it.
fn open_quote(record: &[u8], separator: u8) -> Option<usize> {
    let is_end = |byte: &u8| *byte == separator || matches!(byte, b'\n' | b'\r');
    let mut at = 0;
    while at < record.len() {
        if record[at] == b'"' {
            let Some(length) = quoted_length(&record[at..]) else { return Some(at) };
            let next = record.get(at + length);
            let goes_on = next.is_some_and(|next| !is_end(next) && !matches!(next, b' ' | b'\t'));
            if goes_on && record[at..at + length].contains(&b'\n') {
                return Some(at);
            }
            at += length;
        }
        // To the next field.
        at += record[at..].iter().position(is_end)? + 1;
    }
    None
}

/// Bytes of what is between two quotes, and of these.
fn quoted_length(field: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += field.get(at..)?.iter().position(|byte| *byte == b'"')? + 1;
        if field.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
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
        self.open_quote = None;
    }

    /// Appends a text as a field.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    pub(in crate::dataset) fn push_text(&mut self, field: &str) {
        let start = self.unquoted.len();
        self.unquoted.extend_from_slice(field.as_bytes());
        self.push(start, self.unquoted.len(), false);
    }

    /// Bytes that a copy takes.
    pub(in crate::dataset) fn size(&self) -> usize {
        self.unquoted.len() + self.fields.len() * size_of::<(u32, u32)>()
    }

    /// Number of fields.
    pub(in crate::dataset) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Its line, from 1.
    pub(in crate::dataset) fn line(&self) -> u64 {
        self.line
    }

    /// The line of a quote in it that nothing ends: it may have taken other lines into its field.
    pub(in crate::dataset) fn open_quote(&self) -> Option<u64> {
        self.open_quote
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

/// The text without the blanks between a separator and a quote that begins a field, as in `"a", "b"`:
/// they are of no field. `None` if there are none.
pub(super) fn without_blanks_before_quotes(text: &str, separator: u8) -> Option<String> {
    if separator == b' ' || !text.contains('"') {
        return None;
    }
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t') && **byte != separator;
    let bytes = text.as_bytes();
    let mut kept: Option<Vec<u8>> = None;
    let (mut at, mut is_begin) = (0, true);
    while let Some(byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let blanks = if is_begin { rest.iter().take_while(is_blank).count() } else { 0 };
        if blanks > 0 && rest.get(blanks) == Some(&b'"') {
            kept.get_or_insert_with(|| bytes[..at].to_vec());
            at += blanks;
            continue;
        }
        let is_quoted = is_begin && *byte == b'"';
        let length = if is_quoted { quoted_length(rest).unwrap_or(rest.len()) } else { 1 };
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&rest[..length]);
        }
        is_begin = *byte == separator || *byte == b'\n';
        at += length;
    }
    // Only blanks are gone, so it is text.
    kept.and_then(|kept| String::from_utf8(kept).ok())
}
