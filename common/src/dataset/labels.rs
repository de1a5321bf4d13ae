//! Labels as their source has them, and the classes that they become.

use std::collections::BTreeMap;

use super::error::DatasetError;
use super::raw::{Places, Raw, RawLabels};
use super::sentence::{beginning, listed};
use super::targets::{TargetType, TargetValues};
use crate::limits;

/// Digits of whole numbers that every f64 represents.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Classes by their names, in order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classes {
    /// Their names; empty if the labels are the numbers of the classes.
    pub(super) names: Vec<String>,
}

impl Classes {
    /// Of the labels of all splits. Whole numbers from 0 without a gap are classes already, and so
    /// are all whole numbers from 0 if the number of classes is given. Other labels are sorted,
    /// numbers by their value and texts by their bytes, and become the classes 0, 1, ….
    pub(super) fn of(splits: &[&Raw], count: Option<u32>) -> Result<Self, DatasetError> {
        let mut numbers = BTreeMap::new();
        let mut texts = BTreeMap::new();
        for split in splits {
            match &split.labels {
                // Vectors are targets, and no labels.
                RawLabels::None | RawLabels::Vectors { .. } => {}
                RawLabels::Numbers(values) => {
                    for value in values {
                        numbers.insert(ordered(*value), *value);
                        check_count(split, numbers.len() + texts.len())?;
                    }
                }
                RawLabels::Texts(all) => {
                    match all.numbers() {
                        Some(values) => {
                            numbers.extend(values.iter().map(|value| (ordered(*value), *value)));
                        }
                        None => {
                            let names = all.names().iter();
                            texts.extend(names.map(|text| (text.clone(), ())));
                        }
                    }
                    check_count(split, numbers.len() + texts.len())?;
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
        Ok(Self { names: numbers.chain(texts.into_keys()).collect() })
    }

    /// The classes of a split's labels, and how many classes there are. Without labels, all are of
    /// class 0.
    pub(super) fn apply(
        &self,
        raw: &Raw,
        examples: usize,
        count: Option<u32>,
    ) -> Result<Vec<u32>, DatasetError> {
        let bound = match (self.names.len(), count) {
            (0, count) => count.unwrap_or(limits::CLASSES),
            (names, _) => names as u32,
        };
        let by_name: BTreeMap<&str, u32> =
            self.names.iter().zip(0..).map(|(name, class)| (name.as_str(), class)).collect();
        let class = |label: &str| {
            if self.names.is_empty() {
                // Without names, booleans are 0 and 1.
                let class = match label {
                    "False" => Some(0),
                    "True" => Some(1),
                    _ => label.parse().ok(),
                };
                class.filter(|class| *class < bound)
            } else {
                by_name.get(label).copied()
            }
        };
        let wrong = |at, label: &str| wrong(raw, at, self.expected(bound), format!("{label:?}"));
        match &raw.labels {
            RawLabels::None | RawLabels::Vectors { .. } => Ok(vec![0; examples]),
            RawLabels::Numbers(numbers) => {
                let mut known = BTreeMap::new();
                let class = |(at, value): (usize, &f64)| match known.get(&ordered(*value)) {
                    Some(class) => Ok(*class),
                    None => {
                        let label = number(*value);
                        let class = class(&label).ok_or_else(|| wrong(at, &label))?;
                        known.insert(ordered(*value), class);
                        Ok(class)
                    }
                };
                numbers.iter().enumerate().map(class).collect()
            }
            RawLabels::Texts(texts) => {
                let numbers = texts.numbers();
                let class = |(at, text): (usize, &String)| {
                    let label = match &numbers {
                        // Names of earlier files may be texts that look like numbers.
                        Some(values) if class(text).is_none() => number(values[at]),
                        _ => text.clone(),
                    };
                    class(&label).ok_or_else(|| wrong(texts.first(at), &label))
                };
                let classes: Vec<u32> =
                    texts.names().iter().enumerate().map(class).collect::<Result<_, _>>()?;
                Ok(texts.each(&classes))
            }
        }
    }

    /// A warning about two names that are one value, written in two ways.
    pub(super) fn alike(&self) -> Option<String> {
        let mut values = BTreeMap::new();
        let mut pairs = self.names.iter().map(|name| (values.insert(value(name), name), name));
        let pair = pairs.find_map(|(other, name)| Some((other?, name)))?;
        Some(format!(
            "the classes {:?} and {:?} differ only in how they are written, and are two: write them \
             in one way if they are one",
            beginning(pair.0),
            beginning(pair.1)
        ))
    }

    fn expected(&self, bound: u32) -> String {
        if self.names.is_empty() {
            return format!("a label (a whole number from 0, below {bound})");
        }
        format!("a label that is known: {}", listed(&self.names, 10))
    }
}

/// The numbers that a model learns to predict. `known` are those of earlier data: without targets,
/// all are 0.
pub(super) fn vectors(raw: &Raw, known: Option<TargetType>) -> Result<TargetValues, DatasetError> {
    let (values, width) = match (&raw.labels, known) {
        (RawLabels::Vectors { values, width }, _) => (values.clone(), *width),
        (RawLabels::Numbers(numbers), _) => (singles(raw, numbers, |at| at)?, 1),
        (RawLabels::Texts(texts), _) => match texts.numbers() {
            Some(values) => (texts.each(&singles(raw, &values, |at| texts.first(at))?), 1),
            None => {
                let expected = "numbers, as `dataset.targets` is \"vector\"";
                let mut names = texts.names().iter();
                let at = names.position(|text| text.parse::<f64>().is_err()).unwrap_or(0);
                let text = texts.names().get(at).map_or("", String::as_str);
                return Err(wrong(raw, texts.first(at), expected.into(), format!("{text:?}")));
            }
        },
        (RawLabels::None, Some(TargetType::Vector(width))) => {
            (vec![0.0; raw.len() * width as usize], width)
        }
        (RawLabels::None, _) => return Err(no_labels(raw)),
    };
    match known {
        Some(TargetType::Vector(known)) if known != width => {
            let expected = format!("targets of {known} numbers, as the other examples have");
            Err(wrong(raw, 0, expected, width.to_string()))
        }
        _ => Ok(TargetValues::Vectors { values, width }),
    }
}

/// Numbers in single precision; `example` is the first example of each.
fn singles(
    raw: &Raw,
    numbers: &[f64],
    example: impl Fn(usize) -> usize,
) -> Result<Vec<f32>, DatasetError> {
    let single = |(at, number): (usize, &f64)| {
        let value = *number as f32;
        let expected = "a target that a single-precision number can be";
        let error = || wrong(raw, example(at), expected.into(), number.to_string());
        value.is_finite().then_some(value).ok_or_else(error)
    };
    numbers.iter().enumerate().map(single).collect()
}

/// The error for a split without labels.
pub(super) fn no_labels(raw: &Raw) -> DatasetError {
    DatasetError::Content {
        path: raw.label_file.clone(),
        place: "byte 0".into(),
        expected: "labels of its examples (`coordinator predict` needs none; if the model learns \
                   without labels, set `dataset.targets` to \"none\"; a test split without labels \
                   is replaced by dataset.test_examples=0.2)"
            .into(),
        found: "none".into(),
    }
}

/// The error for a label that has no name, where the source names classes.
pub(super) fn no_name(raw: &Raw, at: usize, label: f64, names: usize) -> DatasetError {
    let expected = format!("a label from 0 to {}, as {names} classes have names", names - 1);
    wrong(raw, at, expected, number(label))
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

/// What a label says, however it is written: `1`, `01` and `1,0` are one number, `true` and `True`
/// one word.
fn value(label: &str) -> String {
    match label.trim().replace(',', ".").parse::<f64>() {
        Ok(value) if value.is_finite() => number(value),
        _ => label.trim().to_lowercase(),
    }
}

fn check_count(split: &Raw, found: usize) -> Result<(), DatasetError> {
    if found > limits::CLASSES as usize {
        let expected = format!("at most {} different labels", limits::CLASSES);
        return Err(wrong(split, 0, expected, "more".into()));
    }
    Ok(())
}

fn wrong(raw: &Raw, at: usize, expected: String, found: String) -> DatasetError {
    let mut path = raw.label_file.as_str();
    let place = match &raw.places {
        Places::Lines(lines) => {
            path = lines.file(at).unwrap_or(path);
            format!("line {}", lines.get(at))
        }
        Places::Rows(rows) => format!("row {}", rows.get(at).copied().unwrap_or(0)),
        Places::Bytes { start, size } => format!("byte {}", start + size * at as u64),
    };
    DatasetError::Content { path: path.to_owned(), place, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Features;
    use crate::dataset::raw::Texts;

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
        let raw = raw(labels);
        let classes = Classes::of(&[&raw], count).unwrap();
        let found = classes.apply(&raw, 0, count).unwrap();
        (classes.names.join(" "), found)
    }

    fn numbers(values: &[f64]) -> RawLabels {
        RawLabels::Numbers(values.to_vec())
    }

    fn texts(values: &str) -> RawLabels {
        RawLabels::Texts(values.split(' ').collect::<Texts>())
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
    fn labels_that_differ_stay_different() {
        let long = "x".repeat(300);
        let (names, found) = classes(texts(&format!("{long}a {long}b")), None);
        assert_eq!((names.len(), found), (603, vec![0, 1]));
        assert_eq!(classes(texts("001 1 002"), None), ("001 002 1".into(), vec![0, 2, 1]));
        let large = "9007199254740993 9007199254740992";
        assert_eq!(classes(texts(large), None).1, vec![1, 0]);
        // By the names of earlier files, also where all are numbers here.
        let known = |names: &str, found: &str| {
            let names = names.split(' ').map(str::to_owned).collect();
            Classes { names }.apply(&raw(texts(found)), 0, None).unwrap()
        };
        assert_eq!(known("01 02 x", "02 01"), [1, 0]);
        assert_eq!(known("1.0 2 x", "1.0 2"), [0, 1]);
        assert_eq!(known("-1 1 x", "1.0 -1"), [1, 0]);
    }

    #[test]
    fn names_of_one_value_are_told() {
        let alike = |names: &str| {
            let names = names.split(' ').map(str::to_owned).collect();
            Classes { names }.alike()
        };
        for (names, pair) in [
            ("1 01 2", "\"1\" and \"01\""),
            ("1 1,0 x", "\"1\" and \"1,0\""),
            ("no True true", "\"True\" and \"true\""),
        ] {
            let found = alike(names).unwrap_or_default();
            assert!(found.contains(&format!("the classes {pair} differ only")), "{found}");
        }
        assert_eq!(alike("1 2 one nan inf True False"), None);
    }

    #[test]
    fn booleans_are_classes_with_and_without_names() {
        assert_eq!(classes(texts("True False True"), None), ("False True".into(), vec![1, 0, 1]));
        let without = Classes::default().apply(&raw(texts("True False")), 0, Some(2));
        assert_eq!(without.unwrap(), [1, 0]);
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
