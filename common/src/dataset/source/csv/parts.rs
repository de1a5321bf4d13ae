//! The form of each of several new files, whose columns are those of the first one.

use std::collections::{BTreeMap, VecDeque};

use super::dialect::Dialect;
use super::header::Header;
use super::records::FIELDS;
use super::{Choices, TargetKind, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::sentence::listed;

/// Names of columns in an error.
const NAMES: usize = 10;

/// One file of several.
pub(super) struct Part<'a> {
    pub(super) file: &'a TextFile,
    pub(super) dialect: Dialect,
    pub(super) header: Header,
    /// Where it has the columns of the first file.
    pub(super) places: Vec<usize>,
}

/// Checks that there are columns, and that the header has as many.
fn check_header(file: &TextFile, header: &Header, targets: TargetKind) -> Result<(), DatasetError> {
    if header.columns >= FIELDS {
        let expected = format!("at most {FIELDS} columns");
        return Err(file.wrong(1, expected, "more"));
    }
    if header.columns == 0 {
        let found = if file.has_comments() {
            "lines that begin with # and no others: a header before them makes them examples"
        } else {
            "the end of the file"
        };
        return Err(file.wrong(1, "examples", found));
    }
    if header.columns == 1 && targets != TargetKind::None {
        let expected = "at least two columns: features and a label (`dataset.separator` says what \
                        separates them)";
        return Err(file.wrong(1, expected, "one"));
    }
    if !header.names.is_empty() && header.names.len() != header.columns {
        let expected = format!("{} names in the header, as the examples have", header.columns);
        return Err(file.wrong(1, expected, header.names.len()));
    }
    Ok(())
}

/// The form of each file, and where it has the columns of the first one.
pub(super) fn parts<'a>(
    files: &'a [TextFile],
    choices: &Choices<'_>,
) -> Result<Vec<Part<'a>>, DatasetError> {
    let mut parts: Vec<Part<'a>> = Vec::with_capacity(files.len());
    for file in files {
        let (dialect, header) = file.form();
        let fields = file.first_record(dialect)?;
        let Some(Part { header: of_first, file: first, .. }) = parts.first() else {
            check_header(file, &header, choices.targets)?;
            let places = (0..header.columns).collect();
            parts.push(Part { file, dialect, header, places });
            continue;
        };
        let header = if named_places(&of_first.names, &fields).is_some() {
            header.of_names(fields.clone())
        } else {
            header
        };
        let (header, places) = match named_places(&of_first.names, &header.names) {
            Some(places) => (header, places),
            // Without the names of the first file, it has no header.
            None => {
                if !of_first.names.is_empty() && header.records > 0 {
                    let expected = format!("the names of {}, in any order", first.name);
                    let found = format!("others: {}", listed(&header.names, NAMES));
                    return Err(file.wrong(1, expected, found));
                }
                let columns = fields.len().max(header.columns);
                (Header { columns, ..Header::default() }, (0..of_first.columns).collect())
            }
        };
        if header.columns != of_first.columns {
            let expected = format!("{} columns, as in {}", of_first.columns, first.name);
            return Err(file.wrong(1, expected, header.columns));
        }
        parts.push(Part { file, dialect, header, places });
    }
    let have_commas = parts.iter().any(|part| part.dialect.notation().decimal_commas);
    for part in &mut parts {
        part.dialect = part.dialect.with_decimal_commas(have_commas);
    }
    Ok(parts)
}

/// Where one header has the names of another; `None` if it lacks one, or there are none. Names that
/// occur several times are told by their order.
fn named_places(names: &[String], header: &[String]) -> Option<Vec<usize>> {
    if names.is_empty() {
        return None;
    }
    let mut of_name = BTreeMap::<&str, VecDeque<usize>>::new();
    for (at, name) in header.iter().enumerate() {
        of_name.entry(name).or_default().push_back(at);
    }
    names.iter().map(|name| of_name.get_mut(name.as_str())?.pop_front()).collect()
}
