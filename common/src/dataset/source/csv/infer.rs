//! What each column of new files is: their header, their types, the label.

use super::cell::Notation;
use super::dialect::Dialect;
use super::facts::Facts;
use super::header::Header;
use super::label::{Draft, LABELS, Why, is_index};
use super::{Choices, Missing, TargetKind, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role};

/// How a file is read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataset) struct Plan {
    pub(in crate::dataset) columns: Vec<Column>,
    /// The column of the label, or the first one of the target, if there is one, and why it is
    /// that one.
    pub(in crate::dataset) label: Option<(usize, Why)>,
    /// Names of the classes 0, 1, …, if the file has them.
    pub(in crate::dataset) classes: Vec<String>,
    /// What a reader should know of the columns, one sentence each, without its end.
    pub(in crate::dataset) notes: Vec<String>,
    /// What may be wrong, in the same form.
    pub(in crate::dataset) warnings: Vec<String>,
}

impl Plan {
    /// Of columns that are known from earlier files; `None` if there are none.
    pub(in crate::dataset) fn known(columns: &[Column]) -> Option<Self> {
        let label = columns.iter().position(Column::is_target);
        (!columns.is_empty()).then(|| Self {
            columns: columns.to_vec(),
            label: label.map(|at| (at, Why::Known)),
            classes: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Of new files, which have the same columns.
    pub(in crate::dataset) fn infer(
        files: &[TextFile],
        choices: &Choices<'_>,
    ) -> Result<Self, DatasetError> {
        let Some(file) = files.first() else {
            return Err(DatasetError::Source(String::new()));
        };
        let dialect = match choices.separator {
            Some(separator) => Dialect::of(separator),
            None => Dialect::sniff(&file.text),
        };
        let notation = Notation { decimal_commas: dialect.has_decimal_commas() };
        let header = Header::of(&file.text, dialect, notation);
        check_header(file, &header, choices.targets)?;
        let mut names = header.names.clone();
        names.resize(header.columns, String::new());
        let facts = facts(files, (dialect, notation), &header, choices.label)?;
        if facts.iter().all(|facts| facts.count() == 0) {
            return Err(file.wrong(1, "examples", "a header and nothing else"));
        }
        let draft = Draft { names, facts };
        let (targets, why) = draft.targets(file, choices)?;
        let label = targets.first().map(|at| (*at, why));
        let doubted = label.filter(|_| choices.targets == TargetKind::Class);
        let warnings = doubted.into_iter().filter_map(|label| draft.doubt(label)).collect();
        let mut plan = Self {
            columns: Vec::with_capacity(draft.facts.len()),
            label,
            classes: header.classes,
            notes: Vec::new(),
            warnings,
        };
        plan.take_columns(file, draft, &targets, choices)?;
        Ok(plan)
    }

    fn take_columns(
        &mut self,
        file: &TextFile,
        draft: Draft,
        targets: &[usize],
        choices: &Choices<'_>,
    ) -> Result<(), DatasetError> {
        for name in choices.ignore.unwrap_or_default() {
            if draft.place_of(name).is_none() {
                return Err(draft.unknown(file, "dataset.ignore", name));
            }
        }
        for (at, (name, facts)) in draft.names.iter().zip(&draft.facts).enumerate() {
            let role = match choices.ignore {
                _ if targets.contains(&at) => target(file, (at, name, facts), choices)?,
                Some(ignored) if ignored.iter().any(|it| draft.place_of(it) == Some(at)) => {
                    Role::Ignored
                }
                _ => self.role(file, (at, name, facts), choices)?,
            };
            self.columns.push(Column { name: name.clone(), role });
        }
        if self.columns.iter().all(|column| column.width() == 0) {
            let found = format!("{} columns, none of them with values", self.columns.len());
            return Err(file.wrong(1, "a column of features", found));
        }
        Ok(())
    }

    /// What a column is that is not the label.
    fn role(
        &mut self,
        file: &TextFile,
        (at, name, facts): (usize, &str, &Facts),
        choices: &Choices<'_>,
    ) -> Result<Role, DatasetError> {
        let title = Column { name: name.to_owned(), role: Role::Ignored }.title(at);
        if facts.is_empty() {
            if !name.is_empty() {
                self.notes.push(format!("{title} is empty and left out"));
            }
            return Ok(Role::Ignored);
        }
        if choices.ignore.is_none() && at == 0 && is_index(name, facts) {
            self.notes.push(format!("{title} counts the examples and is left out"));
            return Ok(Role::Ignored);
        }
        if !facts.is_text() {
            return number(file, (at, &title), facts, choices.missing);
        }
        if choices.ignore.is_none() && facts.has_too_many_texts() {
            let count = facts.texts.as_ref().map_or(0, |texts| texts.len());
            let many = if facts.is_diverse { "more than " } else { "" };
            self.notes.push(format!("{title} has {many}{count} different texts and is left out"));
            return Ok(Role::Ignored);
        }
        let role = categories(file, (at, &title), facts, choices.missing)?;
        if let Role::Categories { values, .. } = &role {
            self.notes.push(format!("{title} becomes {} features, one each text", values.len()));
        }
        Ok(role)
    }
}

/// A column for a sentence, by its number and, if it has one, its name.
pub(super) fn place(at: usize, title: &str) -> String {
    let number = format!("column {}", at + 1);
    if title == number { number } else { format!("{number} ({title})") }
}

/// Checks that there are columns, and that the header has as many.
fn check_header(file: &TextFile, header: &Header, targets: TargetKind) -> Result<(), DatasetError> {
    if header.columns == 0 {
        return Err(file.wrong(1, "examples", "the end of the file"));
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

/// What all records of the files have.
fn facts(
    files: &[TextFile],
    (dialect, notation): (Dialect, Notation),
    header: &Header,
    label: &[String],
) -> Result<Vec<Facts>, DatasetError> {
    let is_candidate = |at: usize| {
        let name = header.names.get(at).map_or("", String::as_str);
        let is_named = label.iter().any(|label| label == name);
        at == 0
            || at + 1 == header.columns
            || is_named
            || LABELS.iter().any(|it| name.eq_ignore_ascii_case(it))
    };
    let mut candidates: Vec<bool> = (0..header.columns).map(is_candidate).collect();
    loop {
        let start = |is_candidate: &bool| {
            if *is_candidate { Facts::of_candidate() } else { Facts::default() }
        };
        let mut all: Vec<Facts> = candidates.iter().map(start).collect();
        for file in files {
            file.examples(dialect, header, |record| {
                all.iter_mut().enumerate().for_each(|(at, it)| it.take(record, at, notation));
                Ok(())
            })?;
        }
        // The texts of a column that began with numbers were counted from its first text on.
        let mut is_complete = true;
        for (is_candidate, facts) in candidates.iter_mut().zip(&all) {
            if !*is_candidate && facts.is_text() && facts.numbers > 0 {
                (*is_candidate, is_complete) = (true, false);
            }
        }
        if is_complete {
            return Ok(all);
        }
    }
}

/// What a column is that is the label, or a number of the target.
fn target(
    file: &TextFile,
    (at, name, facts): (usize, &str, &Facts),
    choices: &Choices<'_>,
) -> Result<Role, DatasetError> {
    if choices.targets == TargetKind::Class {
        return Ok(Role::Label);
    }
    let title = Column { name: name.to_owned(), role: Role::Target }.title(at);
    if let Some((line, field)) = &facts.first_other {
        let expected = format!(
            "a finite number in {}, as `dataset.targets` is \"vector\" (for a class, set it to \
             \"class\")",
            place(at, &title)
        );
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match facts.first_missing {
        Some(line) if choices.missing != Missing::Drop => Err(file.no_target(line, at, &title)),
        _ => Ok(Role::Target),
    }
}

fn number(
    file: &TextFile,
    (at, title): (usize, &str),
    facts: &Facts,
    missing: Missing,
) -> Result<Role, DatasetError> {
    if let Some((line, field)) = &facts.first_other {
        let expected = format!("a finite number in {}, as on other lines", place(at, title));
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match (facts.first_missing, missing) {
        (Some(line), Missing::Error) => Err(file.missing(line, at, title)),
        (_, Missing::Mean) => Ok(Role::Number { missing: Some(facts.mean()) }),
        _ => Ok(Role::Number { missing: None }),
    }
}

fn categories(
    file: &TextFile,
    (at, title): (usize, &str),
    facts: &Facts,
    missing: Missing,
) -> Result<Role, DatasetError> {
    let texts = facts.texts.clone().unwrap_or_default();
    let all: u64 = texts.values().sum();
    let missing = match (facts.first_missing_text, missing) {
        (Some(line), Missing::Error) => return Err(file.missing(line, at, title)),
        (_, Missing::Mean) => {
            Some(texts.values().map(|count| (*count as f64 / all.max(1) as f64) as f32).collect())
        }
        _ => None,
    };
    Ok(Role::Categories { values: texts.into_keys().collect(), missing })
}
