//! Applies `key=value` settings to the TOML of a spec.

use toml::{Table, Value};

use crate::limits;
use crate::spec::SpecError;

/// See [`RunSpec::set`](super::RunSpec::set).
pub(super) fn set(table: &mut Table, key: &str, value: &str) -> Result<(), SpecError> {
    let bytes = key.len() + value.len();
    if bytes > limits::SPEC_BYTES {
        return Err(SpecError::TooLong { found: bytes });
    }
    let parts = parts(key)?;
    let (last, tables) = parts.split_last().expect("a key has at least one part");
    let mut table = table;
    for part in tables {
        let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        let kind = entry.type_str();
        table = entry.as_table_mut().ok_or_else(|| {
            SpecError::field(
                key,
                format!("`{part}` to be a table"),
                format!("a value of type {kind}"),
            )
        })?;
    }
    if tables.is_empty() {
        match last.as_str() {
            "epochs" => table.remove("rounds"),
            "rounds" => table.remove("epochs"),
            _ => None,
        };
    }
    table.insert(last.clone(), read(value));
    Ok(())
}

/// A value as TOML, or as a string if it is not TOML.
fn read(text: &str) -> Value {
    let read = toml::from_str::<Table>(&format!("value = {text}"));
    match read.map(|table| table.into_iter().collect::<Vec<_>>()) {
        // More than one entry: the text contained a line break.
        Ok(mut entries) if entries.len() == 1 => entries.remove(0).1,
        _ => Value::String(text.into()),
    }
}

/// The parts of a dotted key, read as TOML reads it.
fn parts(key: &str) -> Result<Vec<String>, SpecError> {
    let error = || {
        let expected = "a key such as `replicas` or `parameters.learning_rate`";
        SpecError::field("--set", expected, format!("{key:?}"))
    };
    if key.contains(char::is_control) {
        return Err(error());
    }
    let mut value = Value::Table(toml::from_str(&format!("{key} = 0")).map_err(|_| error())?);
    let mut parts = Vec::new();
    while let Value::Table(table) = value {
        let mut entries = table.into_iter();
        let (Some((part, inner)), None) = (entries.next(), entries.next()) else {
            return Err(error());
        };
        parts.push(part);
        value = inner;
    }
    Ok(parts)
}
