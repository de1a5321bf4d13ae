//! What each column of new files is: their header, their types, the label.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::cell::Notation;
use super::dialect::{Dialect, FIELDS};
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
    /// Whether all features are known to be whole numbers from 0 to 255, or not to be.
    pub(in crate::dataset) are_bytes: Option<bool>,
    /// Number of examples, if it is known, so that memory is taken once.
    pub(in crate::dataset) examples: usize,
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
            are_bytes: None,
            examples: 0,
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
        let (dialect, header) = file.form(choices.separator);
        let notation = Notation { decimal_commas: dialect.has_decimal_commas() };
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
            are_bytes: None,
            examples: draft.facts.iter().map(Facts::count).max().unwrap_or(0) as usize,
        };
        plan.take_columns(file, draft, &targets, choices)?;
        Ok(plan)
    }

    fn take_columns(
        &mut self,
        file: &TextFile,
        draft: Draft<'_>,
        targets: &[usize],
        choices: &Choices<'_>,
    ) -> Result<(), DatasetError> {
        let mut ignored = BTreeSet::new();
        for name in choices.ignore.unwrap_or_default() {
            let place = draft.place_of(name);
            ignored.insert(place.ok_or_else(|| draft.unknown(file, "dataset.ignore", name))?);
        }
        let mut are_bytes = true;
        for (at, (name, facts)) in draft.names.iter().zip(&draft.facts).enumerate() {
            let role = if targets.contains(&at) {
                target(file, (at, name, facts), choices)?
            } else if ignored.contains(&at) {
                Role::Ignored
            } else {
                self.role(file, (at, name, facts), choices)?
            };
            are_bytes &= !facts.exceeds_bytes || !matches!(role, Role::Number { .. });
            self.columns.push(Column { name: name.clone(), role });
        }
        // Of examples that are left out nothing is known.
        self.are_bytes = (choices.missing == Missing::Error).then_some(are_bytes);
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
        (at, name, facts): (usize, &str, &Facts<'_>),
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
            self.notes.push(format!("{title} numbers the examples and is left out"));
            return Ok(Role::Ignored);
        }
        if !facts.is_text() {
            return number(file, (at, &title), facts, choices.missing);
        }
        if choices.ignore.is_none() && facts.has_too_many_texts() {
            let count = match &facts.texts {
                Some(texts) if texts.are_diverse => format!("more than {}", texts.limit),
                texts => texts.as_ref().map_or(0, |texts| texts.counts.len()).to_string(),
            };
            self.notes.push(format!("{title} has {count} different texts and is left out"));
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
    if header.columns >= FIELDS {
        let expected = format!("at most {FIELDS} columns");
        return Err(file.wrong(1, expected, "more"));
    }
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
fn facts<'a>(
    files: &'a [TextFile],
    (dialect, notation): (Dialect, Notation),
    header: &Header,
    label: &[String],
) -> Result<Vec<Facts<'a>>, DatasetError> {
    let is_candidate = |at: usize| {
        let name = header.names.get(at).map_or("", String::as_str);
        let is_named = label.iter().any(|label| label == name);
        // The first one may number the examples, and the last one may be empty.
        at <= 1
            || at + 2 >= header.columns
            || is_named
            || LABELS.iter().any(|it| name.eq_ignore_ascii_case(it))
    };
    let mut with_texts = BTreeSet::new();
    loop {
        let start = |at: usize| match is_candidate(at) {
            true => Facts::of_candidate(),
            false if with_texts.contains(&at) => Facts::of_texts(),
            false => Facts::default(),
        };
        let mut all: Vec<Facts<'_>> = (0..header.columns).map(start).collect();
        for file in files {
            file.examples(dialect, header, |record| {
                all.iter_mut().enumerate().for_each(|(at, it)| it.take(record, at, notation));
                Ok(())
            })?;
        }
        // The texts of a column that began with numbers were counted from its first text on.
        let before = with_texts.len();
        let began_late = |(at, facts): &(usize, &Facts<'_>)| {
            !is_candidate(*at) && facts.is_text() && facts.numbers > 0
        };
        with_texts.extend(all.iter().enumerate().filter(began_late).map(|(at, _)| at));
        if with_texts.len() == before {
            return Ok(all);
        }
    }
}

/// What a column is that is the label, or a number of the target.
fn target(
    file: &TextFile,
    (at, name, facts): (usize, &str, &Facts<'_>),
    choices: &Choices<'_>,
) -> Result<Role, DatasetError> {
    if choices.targets == TargetKind::Class {
        return Ok(Role::Label);
    }
    let title = Column { name: name.to_owned(), role: Role::Target }.title(at);
    if let Some((line, field)) = facts.first_other.as_deref() {
        let expected = format!(
            "a finite number in {}, as `dataset.targets` is \"vector\" (for a class, set it to \
             \"class\")",
            place(at, &title)
        );
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match facts.first_missing {
        Some(line) if choices.missing != Missing::Drop => {
            Err(file.no_target(line.get(), at, &title))
        }
        _ => Ok(Role::Target),
    }
}

fn number(
    file: &TextFile,
    (at, title): (usize, &str),
    facts: &Facts<'_>,
    missing: Missing,
) -> Result<Role, DatasetError> {
    if let Some((line, field)) = facts.first_other.as_deref() {
        let expected = format!("a finite number in {}, as on other lines", place(at, title));
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match (facts.first_missing, missing) {
        (Some(line), Missing::Error) => Err(file.missing(line.get(), at, title)),
        (_, Missing::Mean) => Ok(Role::Number { missing: Some(facts.mean()) }),
        _ => Ok(Role::Number { missing: None }),
    }
}

fn categories(
    file: &TextFile,
    (at, title): (usize, &str),
    facts: &Facts<'_>,
    missing: Missing,
) -> Result<Role, DatasetError> {
    let texts = facts.texts.as_ref().map(|texts| texts.counts.clone()).unwrap_or_default();
    let all: u64 = texts.values().sum();
    let missing = match (facts.first_missing_text, missing) {
        (Some(line), Missing::Error) => return Err(file.missing(line.get(), at, title)),
        (_, Missing::Mean) => {
            Some(texts.values().map(|count| (*count as f64 / all.max(1) as f64) as f32).collect())
        }
        _ => None,
    };
    let values = texts.into_keys().map(Cow::into_owned).collect();
    Ok(Role::Categories { values, missing })
}
