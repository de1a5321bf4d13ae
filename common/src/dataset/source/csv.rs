//! CSV files: one example per line, its features and then its label, separated by commas.
//! The first line may be a header, which is a line without any number.

use super::Part;
use super::file::{SPLIT_BYTES, SourceFile};
use crate::dataset::{DatasetError, Features};
use crate::limits;

/// Reads a file to its end.
pub(super) fn read(mut file: SourceFile<'_>, label_bound: u32) -> Result<Part, DatasetError> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let (mut line, mut width) = (Vec::new(), None);
    while file.line(&mut line)? {
        let text = text(&file, &line)?;
        if text.trim().is_empty() || (file.lines() == 1 && is_header(text)) {
            continue;
        }
        let fields = text.split(',').count();
        let columns = *width.get_or_insert(fields);
        let most = limits::FEATURES as usize + 1;
        if fields != columns || !(2..=most).contains(&fields) {
            let expected = match labels.len() {
                0 => format!("2 to {most} fields: features, then a label"),
                _ => format!("{columns} fields, as in the lines before"),
            };
            return Err(file.wrong_line(expected, fields));
        }
        for (at, field) in text.split(',').map(str::trim).enumerate() {
            if at + 1 < columns {
                features.push(feature(&file, at, field)?);
            } else {
                labels.push(label(&file, at, field, label_bound)?);
            }
        }
        if (features.len() + labels.len()) as u64 > SPLIT_BYTES / 4 {
            return Err(file.wrong_line(format!("at most {SPLIT_BYTES} bytes of values"), "more"));
        }
    }
    let Some(columns) = width else {
        return Err(file.wrong_line("examples", "the end of the file"));
    };
    Ok(Part { features: Features::F32(features), labels, width: columns as u32 - 1 })
}

/// A line as text, without the byte-order mark that some editors add.
fn text<'a>(file: &SourceFile<'_>, line: &'a [u8]) -> Result<&'a str, DatasetError> {
    let text = std::str::from_utf8(line);
    let text = text.map_err(|error| file.wrong_line("text in UTF-8", error))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn is_header(line: &str) -> bool {
    line.split(',').all(|field| field.trim().parse::<f32>().is_err())
}

fn feature(file: &SourceFile<'_>, at: usize, field: &str) -> Result<f32, DatasetError> {
    match field.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(wrong_field(file, at, "a finite number", field)),
    }
}

/// A label, which other programs may have written as `3.0` or `3e0`.
fn label(
    file: &SourceFile<'_>,
    at: usize,
    field: &str,
    label_bound: u32,
) -> Result<u32, DatasetError> {
    match field.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && (0.0..f64::from(label_bound)).contains(&value) => {
            Ok(value as u32)
        }
        _ => {
            let expected = format!("a label (a whole number from 0, below {label_bound})");
            Err(wrong_field(file, at, &expected, field))
        }
    }
}

fn wrong_field(file: &SourceFile<'_>, at: usize, expected: &str, field: &str) -> DatasetError {
    let found: String = field.chars().take(40).collect();
    file.wrong_line(format!("{expected} in column {}", at + 1), format!("{found:?}"))
}
