//! [`Parameters`]: reads a model's parameters strictly, so that a wrong or
//! misspelt one is an error that names it.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::model::ModelError;

/// The parameters of a model, read one by one; [`Parameters::finish`] refuses
/// what was not asked for, and gives all of them with the values that they have.
#[derive(Debug)]
pub struct Parameters<'a> {
    table: &'a Table,
    /// What was asked for, with its value or its default.
    read: Vec<(&'static str, Value)>,
}

impl<'a> Parameters<'a> {
    /// Of this table, nothing read yet.
    pub fn new(table: &'a Table) -> Self {
        Self { table, read: Vec::new() }
    }

    /// A number of this range.
    pub fn number(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> Result<f64, ModelError> {
        let Some(value) = self.get(name, default) else { return Ok(default) };
        let number = match value {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => f64::NAN,
        };
        if range.contains(&number) {
            return Ok(number);
        }
        Err(wrong(name, format!("a number from {} to {}", range.start(), range.end()), value))
    }

    /// A whole number of this range.
    pub fn whole_number(
        &mut self,
        name: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ModelError> {
        let Some(value) = self.get(name, default as i64) else { return Ok(default) };
        let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            wrong(name, format!("a whole number from {first} to {last}"), value)
        })
    }

    /// Whole numbers of this range, at most `most` of them.
    pub fn whole_numbers(
        &mut self,
        name: &'static str,
        default: &[usize],
        range: RangeInclusive<usize>,
        most: usize,
    ) -> Result<Vec<usize>, ModelError> {
        let values: Vec<Value> = default.iter().map(|number| (*number as i64).into()).collect();
        let Some(value) = self.get(name, values) else { return Ok(default.to_vec()) };
        let whole_number = |value: &Value| {
            let number = usize::try_from(value.as_integer()?).ok()?;
            range.contains(&number).then_some(number)
        };
        let numbers: Option<Vec<usize>> =
            value.as_array().and_then(|values| values.iter().map(whole_number).collect());
        numbers.filter(|numbers| numbers.len() <= most).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            wrong(name, format!("at most {most} whole numbers from {first} to {last}"), value)
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(name, default) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(name, "true or false".into(), value))
    }

    /// One of these words; the first one by default.
    pub fn choice(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<&'static str, ModelError> {
        let Some(value) = self.get(name, words[0]) else { return Ok(words[0]) };
        let found = words.iter().find(|word| value.as_str() == Some(word));
        found.copied().ok_or_else(|| wrong(name, list(words), value))
    }

    /// Refuses parameters that the model has not asked for. Gives all that it has
    /// asked for, with the defaults of those that the table lacks: what
    /// [`Model::parameters`](crate::model::Model::parameters) is to say.
    pub fn finish(self) -> Result<Table, ModelError> {
        let known: Vec<&str> = self.read.iter().map(|(name, _)| *name).collect();
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(self.read.into_iter().map(|(name, value)| (name.into(), value)).collect()),
            Some(key) => Err(ModelError::Parameter {
                parameter: key.clone(),
                expected: match known.as_slice() {
                    [] => "no parameters".into(),
                    known => format!("one of {}", list(known)),
                },
                found: "a name that the model does not know".into(),
            }),
        }
    }

    /// What the table has, if anything; `default` is what there is otherwise.
    fn get(&mut self, name: &'static str, default: impl Into<Value>) -> Option<&'a Value> {
        let value = self.table.get(name);
        self.read.push((name, value.cloned().unwrap_or_else(|| default.into())));
        value
    }
}

/// Words as they stand in a sentence.
fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn wrong(parameter: &str, expected: String, found: &Value) -> ModelError {
    ModelError::Parameter { parameter: parameter.into(), expected, found: found.to_string() }
}
