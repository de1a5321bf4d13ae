//! [`Parameters`]: reads a model's parameters strictly, so that a wrong or
//! misspelt one is an error that names it.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::model::ModelError;

/// The parameters of a model, read one by one; [`Parameters::finish`] refuses
/// parameters that were not read, and gives all others with the values that they have.
///
/// ```
/// use samebit_common::model::{ModelError, Parameters};
///
/// fn read(table: &toml::Table) -> Result<(f64, usize), ModelError> {
///     let mut parameters = Parameters::new(table);
///     let rate = parameters.about("", "step of the weights").number("rate", 0.1, 0.0..=1.0)?;
///     let units = parameters.about("units", "of the layer").whole_number("units", 32, 1..=4096)?;
///     parameters.finish()?;
///     Ok((rate, units))
/// }
/// assert_eq!(read(&toml::Table::new()).unwrap(), (0.1, 32));
/// assert!(read(&"rate = 2".parse().unwrap()).is_err());
/// ```
#[derive(Debug)]
pub struct Parameters<'a> {
    table: &'a Table,
    known: Vec<Parameter>,
    /// What was asked for, with its value or its default.
    read: Table,
    /// The unit and the meaning of what is read next.
    next: (&'static str, &'static str),
}

/// What a model says of one of its parameters: `models NAME` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its default, as TOML.
    pub default: String,
    /// The values that it may have, in words.
    pub range: String,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// What it is, in a few words; empty where the model does not say.
    pub about: &'static str,
}

impl<'a> Parameters<'a> {
    /// Starts reading this table.
    pub fn new(table: &'a Table) -> Self {
        Self { table, known: Vec::new(), read: Table::new(), next: ("", "") }
    }

    /// Says which unit the parameter that is read next has (empty for none), and what it
    /// is, in a few words.
    pub fn about(&mut self, unit: &'static str, about: &'static str) -> &mut Self {
        self.next = (unit, about);
        self
    }

    /// A number in this range.
    pub fn number(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> Result<f64, ModelError> {
        let range_text = format!("a number from {} to {}", range.start(), range.end());
        let Some(value) = self.get(name, default, &range_text) else {
            return Ok(default);
        };
        let number = match value {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => f64::NAN,
        };
        if range.contains(&number) {
            return Ok(number);
        }
        Err(wrong(name, range_text, value))
    }

    /// A whole number in this range.
    pub fn whole_number(
        &mut self,
        name: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ModelError> {
        let range_text = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(value) = self.get(name, default as i64, &range_text) else {
            return Ok(default);
        };
        let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| wrong(name, range_text, value))
    }

    /// At most `most` whole numbers in this range.
    pub fn whole_numbers(
        &mut self,
        name: &'static str,
        default: &[usize],
        range: RangeInclusive<usize>,
        most: usize,
    ) -> Result<Vec<usize>, ModelError> {
        let (first, last) = (range.start(), range.end());
        let range_text = format!("at most {most} whole numbers from {first} to {last}");
        let values: Vec<Value> = default.iter().map(|number| (*number as i64).into()).collect();
        let Some(value) = self.get(name, values, &range_text) else {
            return Ok(default.to_vec());
        };
        let whole_number = |value: &Value| {
            let number = usize::try_from(value.as_integer()?).ok()?;
            range.contains(&number).then_some(number)
        };
        let numbers: Option<Vec<usize>> =
            value.as_array().and_then(|values| values.iter().map(whole_number).collect());
        numbers
            .filter(|numbers| numbers.len() <= most)
            .ok_or_else(|| wrong(name, range_text, value))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(name, default, "true or false") else {
            return Ok(default);
        };
        value.as_bool().ok_or_else(|| wrong(name, "true or false".into(), value))
    }

    /// One of these words; the first one by default.
    pub fn choice(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<&'static str, ModelError> {
        let range_text = list(words.iter().copied());
        let Some(value) = self.get(name, words[0], &range_text) else {
            return Ok(words[0]);
        };
        let found = words.iter().find(|word| value.as_str() == Some(word));
        found.copied().ok_or_else(|| wrong(name, range_text, value))
    }

    /// Refuses parameters that the model has not read. Gives all that it has read, with the
    /// defaults of those that the table lacks: what
    /// [`Model::parameters`](crate::model::Model::parameters) returns.
    pub fn finish(self) -> Result<Table, ModelError> {
        let is_known = |key: &str| self.known.iter().any(|known| known.name == key);
        match self.table.keys().find(|key| !is_known(key)) {
            None => Ok(self.read),
            Some(key) => {
                let parameter = key.clone();
                Err(ModelError::UnknownParameter { parameter, known: self.known })
            }
        }
    }

    /// What the table has, if anything; `default` is what there is otherwise.
    fn get(
        &mut self,
        name: &'static str,
        default: impl Into<Value>,
        range: &str,
    ) -> Option<&'a Value> {
        let (unit, about) = std::mem::take(&mut self.next);
        let (value, default) = (self.table.get(name), default.into());
        let text = default.to_string();
        let text = text.strip_suffix(".0").unwrap_or(&text);
        let known = Parameter { name, default: text.into(), range: range.into(), unit, about };
        self.known.push(known);
        self.read.insert(name.into(), value.cloned().unwrap_or(default));
        value
    }
}

/// What an error says is expected in place of an unknown name.
pub(super) fn names(known: &[Parameter]) -> String {
    match known {
        [] => "no parameters".into(),
        known => format!("one of {}", list(known.iter().map(|known| known.name))),
    }
}

/// Words as a list within a sentence.
fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn wrong(parameter: &str, expected: String, found: &Value) -> ModelError {
    ModelError::Parameter { parameter: parameter.into(), expected, found: found.to_string() }
}
