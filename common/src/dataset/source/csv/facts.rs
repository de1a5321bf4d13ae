//! What is known of each column once all records were looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::cell::{Cell, Notation, is_missing_text, looks_like_number, small};
use super::records::Record;
use crate::dataset::features::is_byte;
use crate::dataset::sentence::beginning;
use crate::limits;

/// Distinct texts that are counted of a column that may be the label.
const CLASSES: usize = limits::CLASSES as usize;

/// Distinct texts of one column that may be features.
pub(super) const CATEGORIES: usize = 256;

/// A column as its records have it. Small, as there may be many.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) numbers: u64,
    pub(super) others: u64,
    pub(super) missing: u64,
    /// The sum of its numbers, in order.
    sum: f64,
    /// The first field that is no number, and its line.
    pub(super) first_other: Option<Box<(u64, String)>>,
    /// The line of the first field that is missing as a number, and as a text.
    pub(super) first_missing: Option<NonZeroU64>,
    pub(super) first_missing_text: Option<NonZeroU64>,
    /// Its different texts, if they are counted.
    pub(super) texts: Option<Box<Texts<'a>>>,
    /// Whether a number is not a whole one from 0 to 255.
    pub(super) exceeds_bytes: bool,
    /// The files of the first field that is no number, and of the first that is missing as a number and
    /// as a text, from 1; 0 for none yet.
    file_of_other: u16,
    file_of_missing: u16,
    file_of_missing_text: u16,
}

/// The different texts of a column.
#[derive(Clone, Debug)]
pub(super) struct Texts<'a> {
    /// How often each occurs; empty if there are too many.
    pub(super) counts: BTreeMap<Cow<'a, str>, u64>,
    /// How many different ones are counted.
    pub(super) limit: usize,
    /// Whether there are more.
    pub(super) are_diverse: bool,
    /// Whether none was found twice, as far as they are counted.
    are_different: bool,
    /// Whether each field so far is a whole number.
    are_whole: bool,
    /// Whether each number of a file is above the one before, and that one.
    are_ascending: bool,
    before: Option<u64>,
    counter: Counter,
}

/// Whether each value so far of a file was the one before plus one, and that value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counter {
    Fresh,
    At(u64),
    Broken,
}

impl<'a> Facts<'a> {
    /// A column that may be the label.
    pub(super) fn of_candidate() -> Self {
        Self { texts: Some(Box::new(Texts::new(CLASSES))), ..Self::default() }
    }

    /// A column that has texts.
    pub(super) fn of_texts() -> Self {
        Self { texts: Some(Box::new(Texts::new(CATEGORIES))), ..Self::default() }
    }

    /// Takes a record's field of this column.
    #[inline]
    pub(super) fn take(&mut self, record: &Record<'a>, at: usize, notation: Notation) {
        match small(record.bytes(at)) {
            // Most fields of images.
            Some(number) if self.texts.is_none() => self.take_number(number.into()),
            _ => self.take_other(record, at, notation),
        }
    }

    #[inline]
    fn take_number(&mut self, value: f32) {
        self.numbers += 1;
        self.sum += f64::from(value);
        self.exceeds_bytes |= !is_byte(value);
    }

    fn take_other(&mut self, record: &Record<'a>, at: usize, notation: Notation) {
        let field = record.field(at);
        let line = NonZeroU64::new(record.line());
        match notation.cell(field) {
            Cell::Number(value) => self.take_number(value),
            Cell::Missing => {
                self.missing += 1;
                self.first_missing = self.first_missing.or(line);
            }
            Cell::Other => {
                self.others += 1;
                self.first_other
                    .get_or_insert_with(|| Box::new((record.line(), beginning(field).into())));
                self.texts.get_or_insert_with(|| Box::new(Texts::new(CATEGORIES)));
            }
        }
        if is_missing_text(field) {
            self.first_missing_text = self.first_missing_text.or(line);
        } else if let Some(texts) = &mut self.texts {
            texts.take(record, at);
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

    /// Whether the fields number the examples: they count from 0 or 1, or are different whole
    /// numbers, as those of shuffled examples.
    pub(super) fn are_numbers_of_examples(&self) -> bool {
        let is_full = self.others + self.missing == 0 && self.numbers > 1;
        self.texts.as_ref().filter(|_| is_full).is_some_and(|texts| {
            let are_different = texts.are_different || texts.are_ascending;
            texts.counter == Counter::Fresh || (texts.are_whole && are_different)
        })
    }

    /// Notes that a file has been read, by its number from 0.
    pub(super) fn end_file(&mut self, number: usize) {
        if let Some(texts) = &mut self.texts {
            texts.before = None;
            // The next file may count from the beginning.
            texts.counter = match texts.counter {
                Counter::At(last) if last > 1 => Counter::Fresh,
                _ => Counter::Broken,
            };
        }
        let number = u16::try_from(number + 1).unwrap_or(u16::MAX);
        for (is_there, file) in [
            (self.first_other.is_some(), &mut self.file_of_other),
            (self.first_missing.is_some(), &mut self.file_of_missing),
            (self.first_missing_text.is_some(), &mut self.file_of_missing_text),
        ] {
            if is_there && *file == 0 {
                *file = number;
            }
        }
    }

    /// The number of the file with the first field that is no number.
    pub(super) fn file_of_other(&self) -> usize {
        usize::from(self.file_of_other).saturating_sub(1)
    }

    /// The number of the file with the first field that is missing.
    pub(super) fn file_of_missing(&self) -> usize {
        usize::from(self.file_of_missing).saturating_sub(1)
    }

    /// The same of the first field that is missing as a text.
    pub(super) fn file_of_missing_text(&self) -> usize {
        usize::from(self.file_of_missing_text).saturating_sub(1)
    }

    /// Whether it has texts of which hardly any occurs twice.
    pub(super) fn are_names_of_examples(&self) -> bool {
        let fields = self.numbers + self.others;
        let are_different =
            |texts: &Texts<'_>| texts.are_diverse || texts.counts.len() as u64 * 10 >= fields * 9;
        self.is_text() && self.texts.as_deref().is_some_and(are_different)
    }

    /// Whether all its values are numbers.
    pub(super) fn are_numbers(&self) -> bool {
        self.numbers > 0 && self.others == 0
    }

    /// Whether it may be the label without being named so: at least two classes, which have at
    /// least five examples each on average.
    pub(super) fn may_be_label(&self) -> bool {
        self.classes().is_some_and(|(classes, examples)| classes >= 2 && classes * 5 <= examples)
    }

    /// The classes, and the examples that have one, if the texts were counted.
    pub(super) fn classes(&self) -> Option<(u64, u64)> {
        let texts = self.texts.as_ref().filter(|texts| !texts.are_diverse)?;
        Some((texts.counts.len() as u64, texts.counts.values().sum()))
    }

    /// Whether there are no more different texts than may become features.
    pub(super) fn fit_as_features(&self) -> bool {
        self.classes().is_some_and(|(texts, _)| texts as usize <= CATEGORIES)
    }

    /// Whether a column of texts has too many different ones to be features.
    pub(super) fn has_too_many_texts(&self) -> bool {
        let Some(texts) = &self.texts else { return false };
        let (count, fields) = (texts.counts.len(), self.numbers + self.others);
        !self.fit_as_features() || (count as u64 * 2 > fields && count > 10)
    }

    /// The first text of a column of texts that all look like numbers.
    pub(super) fn number_like(&self) -> Option<&str> {
        let (_, first) = self.first_other.as_deref()?;
        let texts = self.texts.iter().flat_map(|texts| texts.counts.keys());
        let all = std::iter::once(first.as_str()).chain(texts.map(Cow::as_ref));
        all.into_iter().all(looks_like_number).then_some(first)
    }

    /// The mean of its numbers.
    pub(super) fn mean(&self) -> f32 {
        if self.numbers == 0 { 0.0 } else { (self.sum / self.numbers as f64) as f32 }
    }
}

impl<'a> Texts<'a> {
    fn new(limit: usize) -> Self {
        Self {
            counts: BTreeMap::new(),
            limit,
            are_diverse: false,
            are_different: true,
            are_whole: true,
            are_ascending: true,
            before: None,
            counter: Counter::Fresh,
        }
    }

    fn take(&mut self, record: &Record<'a>, at: usize) {
        let field = record.field(at);
        let number = field.parse::<u64>();
        self.are_whole &= number.is_ok();
        if let Ok(number) = number {
            self.are_ascending &= self.before.is_none_or(|before| before < number);
            self.before = Some(number);
        }
        self.counter = match (self.counter, number) {
            (Counter::Fresh, Ok(value @ 0..=1)) => Counter::At(value),
            (Counter::At(before), Ok(value)) if before.checked_add(1) == Some(value) => {
                Counter::At(value)
            }
            _ => Counter::Broken,
        };
        if self.are_diverse {
            return;
        }
        if let Some(count) = self.counts.get_mut(field) {
            *count += 1;
            self.are_different = false;
        } else if self.counts.len() < self.limit {
            self.counts.insert(record.kept(at), 1);
        } else {
            self.are_diverse = true;
            self.counts.clear();
        }
    }
}
