//! Labels as their source has them, and the classes that they become.

use std::collections::BTreeMap;

use super::error::DatasetError;
use super::raw::{Places, Raw, RawLabels};
use crate::limits;

/// Bytes of a class's name that are kept.
const NAME_BYTES: usize = 128;

/// Digits of whole numbers that every f64 represents.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Classes by their names, in order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classes {
    /// Their names; empty if the labels are the numbers of the classes.
    pub(super) names: Vec<String>,
}

/// A label while classes are made of them.
#[derive(Clone, Debug, PartialEq)]
enum Label {
    Number(f64),
    Text(String),
}

impl Classes {
    /// Of the labels of all splits. Whole numbers from 0 without a gap are classes already, and so
    /// are all whole numbers from 0 if the number of classes is given. Other labels are sorted,
    /// numbers by their value and texts by their bytes, and become the classes 0, 1, ….
    pub(super) fn of(splits: &[&Raw], count: Option<u32>) -> Result<Self, DatasetError> {
        let mut numbers = BTreeMap::new();
        let mut texts = BTreeMap::new();
        for split in splits {
            for label in labels(&split.labels) {
                match label {
                    Label::Number(value) => numbers.insert(ordered(value), value).is_none(),
                    Label::Text(text) => texts.insert(text, ()).is_none(),
                };
                if numbers.len() + texts.len() > limits::CLASSES as usize {
                    let expected = format!("at most {} different labels", limits::CLASSES);
                    return Err(wrong(split, 0, expected, "more".into()));
                }
            }
        }
        let is_class = |value: &f64| value.fract() == 0.0 && *value >= 0.0 && *value < WHOLE;
        let whole = texts.is_empty() && numbers.values().all(is_class);
        let last = numbers.values().next_back().copied().unwrap_or(0.0);
        if whole && (count.is_some() || last as usize + 1 == numbers.len() || numbers.is_empty()) {
            return Ok(Self::default());
        }
        let numbers = numbers.values().map(|value| number(*value));
        Ok(Self { names: numbers.chain(texts.into_keys().map(|text| name(&text))).collect() })
    }

    /// The classes of a split's labels, and how many classes there are. Without labels, all are of
    /// class 0.
    pub(super) fn apply(
        &self,
        raw: &Raw,
        examples: usize,
        count: Option<u32>,
    ) -> Result<Vec<u32>, DatasetError> {
        if raw.labels == RawLabels::None {
            return Ok(vec![0; examples]);
        }
        let bound = match (self.names.len(), count) {
            (0, count) => count.unwrap_or(limits::CLASSES),
            (names, _) => names as u32,
        };
        let by_name: BTreeMap<&str, u32> =
            self.names.iter().zip(0..).map(|(name, class)| (name.as_str(), class)).collect();
        let class = |(at, label): (usize, Label)| {
            let text = match &label {
                Label::Number(value) => number(*value),
                Label::Text(text) => name(text),
            };
            let class = if self.names.is_empty() {
                text.parse().ok().filter(|class| *class < bound)
            } else {
                by_name.get(text.as_str()).copied()
            };
            class.ok_or_else(|| wrong(raw, at, self.expected(bound), format!("{text:?}")))
        };
        labels(&raw.labels).enumerate().map(class).collect()
    }

    fn expected(&self, bound: u32) -> String {
        if self.names.is_empty() {
            return format!("a label (a whole number from 0, below {bound})");
        }
        format!("a label that is known: {}", listed(&self.names, 10))
    }
}

/// The first names, and that there are more.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let first = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{first}, … ({} in all)", names.len()) } else { first }
}

/// All labels. Texts that are numbers, as in a column of a table, are numbers if all are.
fn labels(raw: &RawLabels) -> Box<dyn Iterator<Item = Label> + '_> {
    match raw {
        RawLabels::None => Box::new(std::iter::empty()),
        RawLabels::Numbers(numbers) => Box::new(numbers.iter().map(|it| Label::Number(*it))),
        RawLabels::Texts(texts) => Box::new(texts.iter().map(|text| Label::Text(text.clone()))),
    }
}

/// The texts of a column as numbers, if all are finite numbers.
pub(super) fn as_numbers(labels: RawLabels) -> RawLabels {
    let RawLabels::Texts(texts) = &labels else { return labels };
    let number = |text: &String| text.parse::<f64>().ok().filter(|value| value.is_finite());
    match texts.iter().map(number).collect() {
        Some(numbers) => RawLabels::Numbers(numbers),
        None => labels,
    }
}

/// A number that is in the order of the values.
fn ordered(value: f64) -> u64 {
    // +0 and -0 are one label.
    let bits = (value + 0.0).to_bits();
    if value < 0.0 { !bits } else { bits | (1 << 63) }
}

/// The text of a number; +0 and -0 have one.
fn number(value: f64) -> String {
    (value + 0.0).to_string()
}

fn name(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn wrong(raw: &Raw, at: usize, expected: String, found: String) -> DatasetError {
    let place = match &raw.places {
        Places::Lines(lines) => format!("line {}", lines.get(at).copied().unwrap_or(1)),
        Places::Rows(rows) => format!("row {}", rows.get(at).copied().unwrap_or(0)),
        Places::Bytes { start, size } => format!("byte {}", start + size * at as u64),
    };
    DatasetError::Content { path: raw.label_file.clone(), place, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Features;

    fn raw(labels: RawLabels) -> Raw {
        Raw {
            features: Features::U8(Vec::new()),
            shape: vec![1],
            labels,
            label_file: "y.npy".into(),
            places: Places::Bytes { start: 128, size: 8 },
        }
    }

    fn classes(labels: RawLabels, count: Option<u32>) -> (String, Vec<u32>) {
        let raw = raw(as_numbers(labels));
        let classes = Classes::of(&[&raw], count).unwrap();
        let found = classes.apply(&raw, 0, count).unwrap();
        (classes.names.join(" "), found)
    }

    fn numbers(values: &[f64]) -> RawLabels {
        RawLabels::Numbers(values.to_vec())
    }

    fn texts(values: &str) -> RawLabels {
        RawLabels::Texts(values.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn whole_numbers_from_zero_are_classes_and_others_are_mapped() {
        let as_they_are = String::new;
        assert_eq!(classes(numbers(&[2.0, 0.0, 1.0]), None), (as_they_are(), vec![2, 0, 1]));
        assert_eq!(classes(numbers(&[4.0, 0.0]), Some(5)), (as_they_are(), vec![4, 0]));
        assert_eq!(classes(numbers(&[4.0, 0.0]), None), ("0 4".into(), vec![1, 0]));
        assert_eq!(classes(numbers(&[1.0, -1.0]), None), ("-1 1".into(), vec![1, 0]));
        assert_eq!(classes(numbers(&[3.0, 1.0, 2.0]), None), ("1 2 3".into(), vec![2, 0, 1]));
        assert_eq!(classes(numbers(&[0.5, -0.0, 0.0]), None), ("0 0.5".into(), vec![1, 0, 0]));
        assert_eq!(classes(numbers(&[10.0, 9.0, 11.0]), None), ("9 10 11".into(), vec![1, 0, 2]));
        assert_eq!(classes(texts("1 0 2.0"), None), (as_they_are(), vec![1, 0, 2]));
        assert_eq!(classes(texts("b a b"), None), ("a b".into(), vec![1, 0, 1]));
        assert_eq!(classes(texts("True False"), None), ("False True".into(), vec![1, 0]));
        assert_eq!(classes(texts("1 x"), None), ("1 x".into(), vec![0, 1]));
        assert_eq!(classes(RawLabels::None, None), (as_they_are(), vec![]));
    }

    #[test]
    fn labels_that_are_not_known_have_a_place() {
        let error = |names: &[&str], labels, count| {
            let classes = Classes { names: names.iter().map(|it| (*it).to_owned()).collect() };
            classes.apply(&raw(labels), 0, count).unwrap_err().to_string()
        };
        assert_eq!(
            error(&["a", "b"], texts("a c"), None),
            "y.npy, byte 136: expected a label that is known: a, b, found \"c\""
        );
        assert_eq!(
            error(&[], numbers(&[0.0, 1.0, 2.0]), Some(2)),
            "y.npy, byte 144: expected a label (a whole number from 0, below 2), found \"2\""
        );
    }
}
