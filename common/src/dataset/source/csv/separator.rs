//! The separator of a text: the one that it names, or the one that fits it best.

use super::cell::{Cell, Notation};
use super::records::{Record, Records, without_blanks_before_quotes};

/// Bytes of a text that are looked at.
const SAMPLE_BYTES: usize = 256 << 10;

/// Records that are looked at.
const SAMPLE_RECORDS: usize = 200;

/// Separators that are recognised, the first ones preferred if several fit.
const SEPARATORS: [u8; 5] = *b"\t;|, ";

/// How the first line names the separator, as Excel writes and reads it.
const NAMED: &str = "sep=";

/// How well a separator fits: the larger, the better, from the first number on.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Fit {
    /// The share of the first records that have as many fields as most, at least two.
    regular: f64,
    /// The share of their fields that are numbers.
    numbers: f64,
    /// As many fields as most have; 0 for blanks, which texts have, too.
    columns: usize,
}

/// The separator that fits a text from its byte `start` on; a comma if none does.
pub(super) fn found(text: &str, start: usize) -> u8 {
    let mut best: Option<(Fit, u8)> = None;
    for separator in SEPARATORS {
        let fit = Fit::of(text, start, separator);
        if fit.regular > 0.0 && best.is_none_or(|(best, _)| fit > best) {
            best = Some((fit, separator));
        }
    }
    best.map_or(b',', |(_, separator)| separator)
}

impl Fit {
    fn of(text: &str, start: usize, separator: u8) -> Self {
        let mut ends = (0..=text.len().min(SAMPLE_BYTES)).rev();
        let cut = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let cleaned = without_blanks_before_quotes(&text[..cut], separator);
        let sample = cleaned.as_deref().unwrap_or(&text[..cut]).as_bytes();
        let mut lengths = Vec::new();
        let (mut numbers, mut fields) = (0, 0);
        let notation = Notation { decimal_commas: separator != b',' };
        let is_number = |field: &&str| matches!(notation.cell(field), Cell::Number(_));
        let mut records = Records::new(sample, start, separator, true);
        let mut record = Record::default();
        while lengths.len() < SAMPLE_RECORDS && records.next(&mut record) {
            lengths.push(record.len());
            numbers += record.fields().filter(is_number).count();
            fields += record.len();
        }
        // The last record of a sample may be cut.
        if cut < text.len() && lengths.len() < SAMPLE_RECORDS && lengths.len() > 1 {
            lengths.pop();
        }
        lengths.sort_unstable();
        let runs = lengths.chunk_by(|a, b| a == b).filter(|run| run[0] > 1);
        let most = runs.max_by_key(|run| run.len());
        Self {
            regular: most.map_or(0.0, |run| run.len() as f64 / lengths.len() as f64),
            numbers: numbers as f64 / f64::from(fields.max(1) as u32),
            columns: most.filter(|_| separator != b' ').map_or(0, |run| run[0]),
        }
    }
}

/// The bytes of a first line such as `sep=;`, and the separator in it.
pub(super) fn named_separator(text: &str) -> Option<(usize, u8)> {
    let line = text.split_inclusive('\n').next()?;
    let content = line.trim_end_matches(['\n', '\r']).trim_matches('"').as_bytes();
    match content.split_at_checked(NAMED.len()) {
        Some((name, [separator])) if name.eq_ignore_ascii_case(NAMED.as_bytes()) => {
            Some((line.len(), *separator))
        }
        _ => None,
    }
}
