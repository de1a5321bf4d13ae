//! Labels in arrays of numbers: one number for each example, or a one-hot row.

use super::array::{Bytes, Items, Labels, Layout, Wrong, not_finite};
use super::file::SPLIT_BYTES;
use super::numbers::Number;
use crate::dataset::DatasetError;
use crate::dataset::raw::{Places, RawLabels};
use crate::limits;

/// Whole numbers are exact in double precision below this (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The names of the classes of labels that are booleans.
const BOOLS: [&str; 2] = ["False", "True"];

/// Reads the labels of `examples` examples. `name` is the file's name in errors.
pub(super) fn numbers(
    file: &mut dyn Bytes,
    layout: &Layout,
    examples: u64,
    name: String,
) -> Result<Labels, DatasetError> {
    let rest = per_example(file, layout, examples)?;
    match rest {
        [] => columns(file, layout, examples, 1, name),
        [classes] => one_hot(file, layout, examples, *classes, name),
        _ => {
            let hint = "one label for each example is needed, or a one-hot row";
            Err(layout.wrong_shape(file, format!("shape [{examples}]"), hint))
        }
    }
}

/// Reads the numbers that a model learns to predict: all of an example's values.
pub(super) fn vectors(
    file: &mut dyn Bytes,
    layout: &Layout,
    examples: u64,
    name: String,
) -> Result<Labels, DatasetError> {
    let width = per_example(file, layout, examples)?
        .iter()
        .fold(1, |width: u64, length| width.saturating_mul(*length));
    if !(1..=u64::from(limits::TARGET_NUMBERS)).contains(&width) {
        let expected = format!("targets of 1 to {} numbers", limits::TARGET_NUMBERS);
        return Err(layout.wrong_shape(file, expected, ""));
    }
    let values = layout.features(file, name.clone())?.into_singles();
    let size = if layout.fortran { 1 } else { width } * layout.number.bytes();
    let places = Places::Bytes { start: layout.start, size };
    let labels = RawLabels::Vectors { values, width: width as u32 };
    Ok(Labels { labels, file: name, places })
}

/// The dimensions after that of the examples, without those of length 1 at the end.
pub(super) fn per_example<'a>(
    file: &dyn Bytes,
    layout: &'a Layout,
    examples: u64,
) -> Result<&'a [u64], DatasetError> {
    let [count, rest @ ..] = &layout.shape[..] else {
        return Err(layout.wrong_shape(file, format!("shape [{examples}]"), "a single number"));
    };
    if *count != examples {
        let expected = format!("{examples} labels, one for each example");
        let hint = "the first dimension of features and of labels is that of the examples";
        return Err(layout.wrong_shape(file, expected, hint));
    }
    let used = rest.iter().rposition(|length| *length != 1).map_or(0, |last| last + 1);
    Ok(&rest[..used])
}

/// Labels that are the first of `columns` numbers of each example, in row-major order.
pub(super) fn columns(
    file: &mut dyn Bytes,
    layout: &Layout,
    examples: u64,
    columns: u64,
    name: String,
) -> Result<Labels, DatasetError> {
    let size = columns * layout.number.bytes();
    let mut labels = Vec::new();
    let rows = Items { start: layout.start, size, count: examples, what: "labels" };
    rows.read(file, |at, chunk| {
        layout.check_bools(at, chunk)?;
        let values = layout.number.doubles(layout.order, chunk);
        for (index, value) in values.into_iter().step_by(columns as usize).enumerate() {
            labels.push(checked(layout.number, value, at + index as u64)?);
        }
        Ok(())
    })?;
    let places = Places::Bytes { start: layout.start, size };
    let labels = match layout.number {
        // As in a table.
        Number::Bool => {
            RawLabels::Texts(labels.iter().map(|label| BOOLS[usize::from(*label > 0.0)]).collect())
        }
        _ => RawLabels::Numbers(labels),
    };
    Ok(Labels { labels, file: name, places })
}

/// A label that is finite and exact.
fn checked(number: Number, value: f64, at: u64) -> Result<f64, Wrong> {
    if !value.is_finite() {
        let found = not_finite(value, "labels");
        return Err(Wrong { at, expected: "a label".into(), found });
    }
    if !number.is_float() && value.abs() >= EXACT {
        let expected = format!("a label between -{EXACT} and {EXACT}");
        let found = format!("{value}: number the classes from 0 on");
        return Err(Wrong { at, expected, found });
    }
    Ok(value)
}

/// Labels that are the place of the only 1 in each row; all else in the row is 0.
fn one_hot(
    file: &mut dyn Bytes,
    layout: &Layout,
    examples: u64,
    classes: u64,
    name: String,
) -> Result<Labels, DatasetError> {
    if !(1..=u64::from(limits::CLASSES)).contains(&classes) {
        let expected = format!("one-hot labels of 1 to {} classes", limits::CLASSES);
        return Err(layout.wrong_shape(file, expected, ""));
    }
    let expected = "one-hot labels: a single 1 in each row, and 0 elsewhere";
    let argmax = "save one label for each example instead, as labels.argmax(axis=1) makes them";
    if examples * classes * layout.number.bytes() > SPLIT_BYTES {
        let expected = format!("at most {SPLIT_BYTES} bytes of labels");
        return Err(layout.wrong_shape(file, expected, argmax));
    }
    // No label yet is -1. There are as many as examples, which have been read.
    let mut labels = vec![-1.0; examples as usize];
    layout.items(examples * classes, "one-hot labels").read(file, |at, chunk| {
        let values = layout.number.doubles(layout.order, chunk);
        for (index, value) in values.into_iter().enumerate().filter(|(_, value)| *value != 0.0) {
            let at = at + index as u64;
            let (row, column) = if layout.fortran {
                (at % examples, at / examples)
            } else {
                (at / classes, at % classes)
            };
            let label = &mut labels[row as usize];
            if value != 1.0 || *label != -1.0 {
                let second = if value == 1.0 { "a second " } else { "" };
                let found = format!("{second}{value} in row {row}: {argmax}");
                return Err(Wrong { at, expected: expected.into(), found });
            }
            *label = column as f64;
        }
        Ok(())
    })?;
    // Rows of Fortran order are not in one piece: the first of their values stands for them.
    let row_bytes = if layout.fortran { 1 } else { classes } * layout.number.bytes();
    if let Some(row) = labels.iter().position(|label| *label == -1.0) {
        let byte = layout.start + row as u64 * row_bytes;
        return Err(file.wrong_byte(byte, expected.into(), format!("no 1 in row {row}: {argmax}")));
    }
    let places = Places::Bytes { start: layout.start, size: row_bytes };
    Ok(Labels { labels: RawLabels::Numbers(labels), file: name, places })
}
