//! What is known of each column once all records were looked at.

use std::collections::BTreeMap;

use super::cell::{Cell, Notation, is_missing_text};
use super::dialect::Record;

/// Distinct texts of a column that are counted.
pub(super) const DISTINCT: usize = 1 << 16;

/// Distinct texts of one column that may be features.
const CATEGORIES: usize = 256;

/// A column as its records have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) numbers: u64,
    pub(super) others: u64,
    pub(super) missing: u64,
    /// The first field that is no number, and its line.
    pub(super) first_other: Option<(u64, String)>,
    /// The line of the first field that is missing as a number, and as a text.
    pub(super) first_missing: Option<u64>,
    pub(super) first_missing_text: Option<u64>,
    /// The sum of its numbers, in order.
    sum: f64,
    /// How often each text occurs, if the column's texts are counted.
    pub(super) texts: Option<BTreeMap<String, u64>>,
    /// Whether more than [`DISTINCT`] texts were found.
    pub(super) is_diverse: bool,
    /// Whether each value so far was the one before plus one, and that value.
    counter: Counter,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Counter {
    #[default]
    Fresh,
    At(u64),
    Broken,
}

impl Facts {
    /// A column whose texts are counted from the beginning: it may be the label.
    pub(super) fn of_candidate() -> Self {
        Self { texts: Some(BTreeMap::new()), ..Self::default() }
    }

    /// Takes a record's field of this column.
    pub(super) fn take(&mut self, record: &Record, at: usize, notation: Notation) {
        let field = record.field(at);
        match notation.cell(field) {
            Cell::Number(value) => {
                self.numbers += 1;
                self.sum += f64::from(value);
            }
            Cell::Missing => {
                self.missing += 1;
                self.first_missing.get_or_insert(record.line());
            }
            Cell::Other => {
                self.others += 1;
                self.first_other.get_or_insert_with(|| (record.line(), beginning(field)));
                self.texts.get_or_insert_default();
            }
        }
        self.counter = match (self.counter, field.parse::<u64>()) {
            (Counter::Fresh, Ok(value @ 0..=1)) => Counter::At(value),
            (Counter::At(before), Ok(value)) if value == before + 1 => Counter::At(value),
            _ => Counter::Broken,
        };
        if is_missing_text(field) {
            self.first_missing_text.get_or_insert(record.line());
        } else if let Some(texts) = &mut self.texts {
            if let Some(count) = texts.get_mut(field) {
                *count += 1;
            } else if texts.len() < DISTINCT {
                texts.insert(field.to_owned(), 1);
            } else {
                self.is_diverse = true;
            }
        }
    }

    /// Number of fields.
    pub(super) fn count(&self) -> u64 {
        self.numbers + self.others + self.missing
    }

    /// Whether no field has anything.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers + self.others == 0
    }

    /// Whether most fields are no numbers.
    pub(super) fn is_text(&self) -> bool {
        self.others > self.numbers
    }

    /// Whether the fields count the examples, from 0 or 1.
    pub(super) fn is_counter(&self) -> bool {
        matches!(self.counter, Counter::At(last) if last > 1)
    }

    /// Whether it may be the label without being named so: at least two classes, which have at
    /// least five examples each on average.
    pub(super) fn may_be_label(&self) -> bool {
        self.classes().is_some_and(|(classes, examples)| classes >= 2 && classes * 5 <= examples)
    }

    /// The classes, and the examples that have one, if the texts were counted.
    pub(super) fn classes(&self) -> Option<(u64, u64)> {
        let texts = self.texts.as_ref().filter(|_| !self.is_diverse)?;
        Some((texts.len() as u64, texts.values().sum()))
    }

    /// Whether a column of texts has too many different ones to be features.
    pub(super) fn has_too_many_texts(&self) -> bool {
        let texts = self.texts.as_ref().map_or(0, BTreeMap::len);
        let fields = self.numbers + self.others;
        self.is_diverse || texts > CATEGORIES || (texts as u64 * 2 > fields && texts > 10)
    }

    /// The mean of its numbers.
    pub(super) fn mean(&self) -> f32 {
        if self.numbers == 0 { 0.0 } else { (self.sum / self.numbers as f64) as f32 }
    }
}

/// The beginning of a field, for a sentence.
pub(super) fn beginning(field: &str) -> String {
    field.chars().take(40).collect()
}
