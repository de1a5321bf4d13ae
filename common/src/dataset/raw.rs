//! One split as its files have it, before labels become classes.

use std::collections::BTreeMap;

use super::features::Features;
use super::rows::rows;

/// Whole numbers below this are different in f64 if they are different: 2^53.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Labels as their source has them, one for each example.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RawLabels {
    /// The source has none.
    None,
    /// Finite numbers: whole ones of any integer type up to 2^53, floats, and booleans as 0 and 1.
    Numbers(Vec<f64>),
    /// Texts. They are numbers if all of a split are, as in a column of a table.
    Texts(Texts),
    /// Finite numbers that a model learns to predict, `[examples, width]`.
    Vectors { values: Vec<f32>, width: u32 },
}

/// Texts of which many are equal: each different one is in memory once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts {
    /// The different ones, in the order in which they came.
    names: Vec<String>,
    /// The place of each in `names`.
    places: BTreeMap<String, u32>,
    /// The place of each text.
    of: Vec<u32>,
}

impl Texts {
    /// No texts, with memory for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { of: Vec::with_capacity(count), ..Self::default() }
    }

    /// Appends a text.
    pub(super) fn push(&mut self, text: &str) {
        let place = self.places.get(text).copied().unwrap_or_else(|| {
            let place = self.names.len() as u32;
            self.names.push(text.to_owned());
            self.places.insert(text.to_owned(), place);
            place
        });
        self.of.push(place);
    }

    /// The different ones.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The numbers that the different ones are, if all are finite numbers. Codes such as `007` are
    /// none, and neither are whole numbers that f64 cannot tell apart.
    pub(super) fn numbers(&self) -> Option<Vec<f64>> {
        let is_code = |text: &str| {
            let digits = text.trim_start_matches(['+', '-']).as_bytes();
            matches!(digits, [b'0', b'0'..=b'9', ..])
        };
        let number = |text: &String| {
            let value = text.parse::<f64>().ok().filter(|value| value.abs() < LARGEST)?;
            (!is_code(text)).then_some(value)
        };
        self.names.iter().map(number).collect()
    }

    /// For each text, what its name stands for: `values` has as many values as there are names.
    pub(super) fn each<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.of.iter().map(|place| values[*place as usize]).collect()
    }

    /// The first text that has a name.
    pub(super) fn first(&self, name: usize) -> usize {
        self.of.iter().position(|place| *place as usize == name).unwrap_or(0)
    }

    fn rows(&self, examples: &[usize]) -> Self {
        Self { of: rows(&self.of, 1, examples), ..self.clone() }
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.push(text.as_ref()));
        all
    }
}

/// The line of each example: most are behind the line of the example before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lines {
    /// The first examples of lines without a gap, and their lines.
    runs: Vec<(usize, u64)>,
    count: usize,
    /// The first example and the name of each file.
    files: Vec<(usize, String)>,
}

impl Lines {
    /// The next lines are those of this file.
    pub(super) fn begin_file(&mut self, name: &str) {
        self.files.push((self.count, name.to_owned()));
    }

    /// The name of the file of an example, if it is known.
    pub(super) fn file(&self, example: usize) -> Option<&str> {
        let files = self.files.partition_point(|(first, _)| *first <= example);
        files.checked_sub(1).map(|file| self.files[file].1.as_str())
    }

    /// Appends a line.
    pub(super) fn push(&mut self, line: u64) {
        if self.get(self.count) != line || self.runs.is_empty() {
            self.runs.push((self.count, line));
        }
        self.count += 1;
    }

    /// The line of an example.
    pub(super) fn get(&self, example: usize) -> u64 {
        let run = self.runs.partition_point(|(first, _)| *first <= example);
        let Some((first, line)) = run.checked_sub(1).and_then(|run| self.runs.get(run)) else {
            return 1;
        };
        line + (example - first) as u64
    }

    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn rows(&self, examples: &[usize]) -> Self {
        let mut lines = Self::default();
        examples.iter().for_each(|example| lines.push(self.get(*example)));
        lines
    }
}

/// Where the label of an example stands in its file, for errors.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Places {
    /// The line of each example, from 1.
    Lines(Lines),
    /// The row of each example, from 0.
    Rows(Vec<u64>),
    /// The first label is at byte `start` of the unpacked file, the next `size` bytes later.
    Bytes { start: u64, size: u64 },
}

/// One split as its files have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) features: Features,
    /// The shape of one example, as `[28, 28]`; at least one number, all above 0.
    pub(super) shape: Vec<u32>,
    pub(super) labels: RawLabels,
    /// The file that has the labels (or the features, if there are no labels), as it is named in
    /// errors, and the place of each label in it.
    pub(super) label_file: String,
    pub(super) places: Places,
}

impl Raw {
    /// Features of one example.
    pub(super) fn width(&self) -> usize {
        self.shape.iter().map(|length| *length as usize).product()
    }

    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.features.len() / self.width().max(1)
    }

    /// Some of its examples, in this order.
    pub(super) fn rows(&self, examples: &[usize]) -> Self {
        let width = self.width();
        let features = self.features.rows(width, examples);
        let labels = match &self.labels {
            RawLabels::None => RawLabels::None,
            RawLabels::Numbers(labels) => RawLabels::Numbers(rows(labels, 1, examples)),
            RawLabels::Texts(labels) => RawLabels::Texts(labels.rows(examples)),
            RawLabels::Vectors { values, width } => RawLabels::Vectors {
                values: rows(values, *width as usize, examples),
                width: *width,
            },
        };
        let places = match &self.places {
            Places::Lines(lines) => Places::Lines(lines.rows(examples)),
            Places::Rows(all) => Places::Rows(rows(all, 1, examples)),
            bytes => bytes.clone(),
        };
        let (shape, label_file) = (self.shape.clone(), self.label_file.clone());
        Self { features, shape, labels, label_file, places }
    }
}
