//! Rows of a table. A text stands in memory as its place among those of its column, not as the many
//! features that it becomes: those are made when an example is read.

use crate::dataset::manifest::FeatureType;
use crate::dataset::rows::{rows, take_rows};

/// Features of the rows of a table: numbers, and texts that become a feature for each value of their
/// column.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFeatures {
    columns: Vec<FeatureColumn>,
    /// The numbers, `[examples, columns of numbers]`.
    pub(super) numbers: Numbers,
    /// What each text is, `[examples, columns of texts]`: its place among the values of its column,
    /// or the number of values if it is missing.
    texts: Vec<u16>,
    /// Whether a text is missing, so that features are shares.
    has_shares: bool,
    examples: usize,
    /// Features of one example.
    width: usize,
    /// Columns of texts.
    text_columns: usize,
}

/// What a column of a table gives.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataset) enum FeatureColumn {
    /// One feature.
    Number,
    /// A feature for each of its values.
    Texts(TextColumn),
}

/// What the features of a column of texts are.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataset) struct TextColumn {
    /// Of the values that an example does not have.
    off: Vec<f32>,
    /// Of the value that it has.
    on: Vec<f32>,
    /// All features if the text is missing.
    missing: Option<Vec<f32>>,
}

/// Numbers: bytes as long as all are whole numbers from 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl TextColumn {
    /// Of so many values: 1 for the one that an example has, otherwise 0.
    pub(in crate::dataset) fn new(values: usize, missing: Option<&[f32]>) -> Self {
        Self {
            off: vec![0.0; values],
            on: vec![1.0; values],
            missing: missing.map(<[f32]>::to_vec),
        }
    }

    fn append(&self, text: usize, into: &mut Vec<f32>) {
        if let Some(missing) = self.missing.as_ref().filter(|_| text == self.on.len()) {
            return into.extend_from_slice(missing);
        }
        let first = into.len();
        into.extend_from_slice(&self.off);
        into[first + text] = self.on[text];
    }

    fn all(&self) -> impl Iterator<Item = f32> + '_ {
        self.off.iter().chain(&self.on).chain(self.missing.iter().flatten()).copied()
    }
}

impl TableFeatures {
    /// No rows, with memory for so many. Numbers that are known not to be bytes are never kept as such.
    pub(in crate::dataset) fn new(
        columns: Vec<FeatureColumn>,
        rows: usize,
        are_floats: bool,
    ) -> Self {
        let texts = columns.iter().filter_map(FeatureColumn::texts);
        let (texts, features) = (texts.clone().count(), texts.map(|it| it.on.len()).sum::<usize>());
        let numbers = rows * (columns.len() - texts);
        Self {
            numbers: if are_floats {
                Numbers::Floats(Vec::with_capacity(numbers))
            } else {
                Numbers::Bytes(Vec::with_capacity(numbers))
            },
            texts: Vec::with_capacity(rows * texts),
            has_shares: false,
            examples: 0,
            width: columns.len() - texts + features,
            text_columns: texts,
            columns,
        }
    }

    /// Appends a row: its numbers, and the places of its texts, `None` for one that is missing and
    /// for which shares stand.
    pub(in crate::dataset) fn push(&mut self, numbers: &[f32], texts: &[Option<u16>]) {
        self.numbers.push(numbers);
        let columns = self.columns.iter().filter_map(FeatureColumn::texts);
        self.texts.extend(texts.iter().zip(columns).map(|(text, column)| {
            self.has_shares |= text.is_none();
            text.unwrap_or(column.on.len() as u16)
        }));
        self.examples += 1;
    }

    /// Features of one example.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn has_texts(&self) -> bool {
        self.text_columns > 0
    }

    /// Number of rows.
    pub(super) fn examples(&self) -> usize {
        self.examples
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.examples * self.width
    }

    /// Bytes of all features in chunks.
    pub(in crate::dataset) fn bytes(&self) -> u64 {
        (self.len() * self.element().bytes()) as u64
    }

    pub(super) fn element(&self) -> FeatureType {
        match self.numbers {
            Numbers::Bytes(_) if !self.has_shares => FeatureType::U8,
            _ => FeatureType::F32,
        }
    }

    /// Appends the features of one example.
    pub(super) fn append(&self, example: usize, into: &mut Vec<f32>) {
        let (numbers, texts) = self.widths();
        let (mut number, mut text) = (example * numbers, example * texts);
        for column in &self.columns {
            match column {
                FeatureColumn::Number => {
                    into.push(self.numbers.get(number));
                    number += 1;
                }
                FeatureColumn::Texts(column) => {
                    column.append(self.texts[text].into(), into);
                    text += 1;
                }
            }
        }
    }

    /// Replaces each value by what `scaled` makes of the place of its feature and the value.
    pub(in crate::dataset) fn scale(mut self, scaled: impl Fn(usize, f32) -> f32) -> Self {
        let (mut feature, mut of_numbers) = (0, Vec::new());
        for column in &mut self.columns {
            let FeatureColumn::Texts(texts) = column else {
                of_numbers.push(feature);
                feature += 1;
                continue;
            };
            let all = [&mut texts.off, &mut texts.on].into_iter().chain(&mut texts.missing);
            for values in all {
                let values = values.iter_mut().enumerate();
                values.for_each(|(at, value)| *value = scaled(feature + at, *value));
            }
            feature += texts.on.len();
        }
        let mut numbers = self.numbers.into_floats();
        for row in numbers.chunks_exact_mut(of_numbers.len().max(1)) {
            row.iter_mut().zip(&of_numbers).for_each(|(it, feature)| *it = scaled(*feature, *it));
        }
        Self { numbers: Numbers::Floats(numbers), ..self }
    }

    pub(super) fn largest(&self) -> f32 {
        let texts = self.columns.iter().filter_map(FeatureColumn::texts).flat_map(TextColumn::all);
        let texts = texts.fold(0.0, |most: f32, value| most.max(value.abs()));
        if self.examples == 0 { 0.0 } else { self.numbers.largest().max(texts) }
    }

    /// Whether all values are right, also those that no example has.
    pub(super) fn are_all(&self, is_right: impl Fn(f32) -> bool) -> bool {
        let mut texts =
            self.columns.iter().filter_map(FeatureColumn::texts).flat_map(TextColumn::all);
        let numbers = match &self.numbers {
            Numbers::Bytes(_) => true,
            Numbers::Floats(values) => values.iter().all(|value| is_right(*value)),
        };
        numbers && texts.all(is_right)
    }

    /// Some rows, in this order.
    pub(super) fn rows(&self, examples: &[usize]) -> Self {
        let (numbers, texts) = self.widths();
        Self {
            columns: self.columns.clone(),
            numbers: match &self.numbers {
                Numbers::Bytes(values) => Numbers::Bytes(rows(values, numbers, examples)),
                Numbers::Floats(values) => Numbers::Floats(rows(values, numbers, examples)),
            },
            texts: rows(&self.texts, texts, examples),
            examples: examples.len(),
            ..*self
        }
    }

    /// Takes rows out, which are in ascending order.
    pub(super) fn take_rows(&mut self, examples: &[usize]) -> Self {
        let (numbers, texts) = self.widths();
        self.examples -= examples.len();
        Self {
            columns: self.columns.clone(),
            numbers: match &mut self.numbers {
                Numbers::Bytes(values) => Numbers::Bytes(take_rows(values, numbers, examples)),
                Numbers::Floats(values) => Numbers::Floats(take_rows(values, numbers, examples)),
            },
            texts: take_rows(&mut self.texts, texts, examples),
            examples: examples.len(),
            ..*self
        }
    }

    /// Number of columns of numbers, and of texts.
    fn widths(&self) -> (usize, usize) {
        (self.columns.len() - self.text_columns, self.text_columns)
    }
}

impl FeatureColumn {
    fn texts(&self) -> Option<&TextColumn> {
        match self {
            Self::Number => None,
            Self::Texts(texts) => Some(texts),
        }
    }
}

impl Numbers {
    fn push(&mut self, row: &[f32]) {
        if let Self::Bytes(values) = self {
            if row.iter().all(|value| is_byte(*value)) {
                return values.extend(row.iter().map(|value| *value as u8));
            }
            *self = Self::Floats(values.iter().map(|value| f32::from(*value)).collect());
        }
        if let Self::Floats(values) = self {
            values.extend_from_slice(row);
        }
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Self::Bytes(values) => values[at].into(),
            Self::Floats(values) => values[at],
        }
    }

    fn largest(&self) -> f32 {
        match self {
            Self::Bytes(values) => values.iter().fold(0, |most: u8, it| most.max(*it)).into(),
            Self::Floats(values) => values.iter().fold(0.0, |most: f32, it| most.max(it.abs())),
        }
    }

    fn into_floats(self) -> Vec<f32> {
        match self {
            Self::Bytes(values) => values.into_iter().map(f32::from).collect(),
            Self::Floats(values) => values,
        }
    }
}

/// Whether a byte can have this value.
#[inline]
pub(in crate::dataset) fn is_byte(value: f32) -> bool {
    f32::from(value as u8) == value
}
