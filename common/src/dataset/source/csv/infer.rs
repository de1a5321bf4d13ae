//! What each column of new files is: their header, their types, the label.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::facts::{CATEGORIES, Facts};
use super::label::{Draft, LABELS, Why, by_name_or_number};
use super::parts::{Part, parts};
use super::{Choices, DROP_OR_MEAN, Missing, TargetKind, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role, with_number};
use crate::dataset::sentence::counted;

/// Notes in an error.
const NOTES: usize = 4;

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
    /// Whether the labels of new files are numbers: then a missing number is a missing label.
    pub(in crate::dataset) are_labels_numbers: bool,
    /// Whether numbers have a comma for the point.
    pub(in crate::dataset) decimal_commas: bool,
    /// Whether the columns are those of earlier files.
    pub(in crate::dataset) is_known: bool,
}

impl Plan {
    /// Of columns that are known from earlier files; `None` if there are none.
    pub(in crate::dataset) fn known(columns: &[Column], decimal_commas: bool) -> Option<Self> {
        let label = columns.iter().position(Column::is_target);
        (!columns.is_empty()).then(|| Self {
            columns: columns.to_vec(),
            label: label.map(|at| (at, Why::Known)),
            classes: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            are_bytes: None,
            examples: 0,
            are_labels_numbers: false,
            decimal_commas,
            is_known: true,
        })
    }

    /// Of new files, which have the same columns, if they have names in any order.
    pub(in crate::dataset) fn infer(
        files: &[TextFile],
        choices: &Choices<'_>,
    ) -> Result<Self, DatasetError> {
        let Some(file) = files.first() else {
            return Err(DatasetError::Source(String::new()));
        };
        let parts = parts(files, choices)?;
        let Some(Part { header, .. }) = parts.first() else {
            return Err(DatasetError::Source(String::new()));
        };
        let mut names = header.names.clone();
        names.resize(header.columns, String::new());
        let facts = facts(&parts, &names, choices)?;
        if facts.iter().all(|facts| facts.count() == 0) {
            return Err(file.wrong(1, "examples", "a header and nothing else"));
        }
        let draft = Draft::of(file, (names, facts), choices)?;
        let (targets, why) = draft.targets(file, choices)?;
        let label = targets.first().map(|at| (*at, why));
        let doubted = label.filter(|_| choices.targets == TargetKind::Class);
        let other = label.and_then(|label| draft.other_named(label));
        let warnings = doubted.into_iter().filter_map(|label| draft.doubt(label)).chain(other);
        let warnings = warnings.collect();
        let mut plan = Self {
            columns: Vec::with_capacity(draft.facts.len()),
            label,
            classes: header.classes.clone(),
            notes: notes(&parts),
            warnings,
            are_bytes: None,
            examples: draft.facts.iter().map(Facts::count).max().unwrap_or(0) as usize,
            are_labels_numbers: label.is_some_and(|(at, _)| draft.facts[at].are_numbers()),
            decimal_commas: parts.iter().any(|part| part.dialect.notation().decimal_commas),
            is_known: false,
        };
        plan.take_columns(files, draft, &targets, choices)?;
        Ok(plan)
    }

    fn take_columns(
        &mut self,
        files: &[TextFile],
        draft: Draft<'_>,
        targets: &[usize],
        choices: &Choices<'_>,
    ) -> Result<(), DatasetError> {
        let Some(file) = files.first() else { return Ok(()) };
        let mut are_bytes = true;
        for (at, (name, facts)) in draft.names.iter().zip(&draft.facts).enumerate() {
            let role = if targets.binary_search(&at).is_ok() {
                target(files, (at, name, facts), choices)?
            } else if draft.ignored.contains(&at) {
                Role::Ignored
            } else if choices.ignore.is_none() && draft.is_index(at) {
                let title = Column { name: name.clone(), role: Role::Ignored }.title(at);
                let does = if facts.is_text() { "names" } else { "numbers" };
                self.notes.push(format!("{title} {does} the examples and is left out"));
                Role::Ignored
            } else {
                self.role(files, (at, name, facts), choices)?
            };
            are_bytes &= !facts.exceeds_bytes || !matches!(role, Role::Number { .. });
            self.columns.push(Column { name: name.clone(), role });
        }
        // Of examples that are left out nothing is known.
        self.are_bytes = (choices.missing == Missing::Error).then_some(are_bytes);
        if self.columns.iter().all(|column| column.width() == 0) {
            let mut found = format!("none in {}", counted(self.columns.len() as u64, "column"));
            for note in self.notes.iter().chain(&self.warnings).take(NOTES) {
                found += &format!("; {note}");
            }
            return Err(file.wrong(1, "a column of features besides the label", found));
        }
        Ok(())
    }

    /// What a column is that is not the label.
    fn role(
        &mut self,
        files: &[TextFile],
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
        if !facts.is_text() {
            return number(files, (at, &title), facts, choices.missing);
        }
        self.warnings.extend(facts.number_like().map(|text| {
            format!(
                "{title} has texts that look like numbers, such as {text:?}, and is no number: \
                 write it as 1234.5, without other characters"
            )
        }));
        if choices.ignore.is_some() && !facts.fit_as_features() {
            let expected = format!(
                "at most {CATEGORIES} different texts in {}, or the column in `dataset.ignore`",
                with_number(at, &title)
            );
            return Err(files[0].wrong(1, expected, "more"));
        }
        if choices.ignore.is_none() && facts.has_too_many_texts() {
            let count = match &facts.texts {
                Some(texts) if texts.are_diverse => format!("more than {}", texts.limit),
                texts => texts.as_ref().map_or(0, |texts| texts.counts.len()).to_string(),
            };
            self.notes.push(format!("{title} has {count} different texts and is left out"));
            return Ok(Role::Ignored);
        }
        let role = categories(files, (at, &title), facts, choices.missing)?;
        if let Role::Categories { values, .. } = &role {
            self.notes.push(format!(
                "{title} becomes {}, one each text",
                counted(values.len() as u64, "feature")
            ));
        }
        Ok(role)
    }
}

/// What a reader should know of how the files are read.
fn notes(parts: &[Part<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(Part { header, .. }) = parts.first()
        && header.are_doubtful()
    {
        notes.push("the first line counts the columns and is no example".into());
    }
    if parts.iter().any(|part| part.dialect.notation().decimal_commas) {
        notes.push("numbers have decimal commas".into());
    }
    notes
}

/// Columns that may be the label.
fn candidates(names: &[String], choices: &Choices<'_>) -> BTreeSet<usize> {
    let place = |name: &String| by_name_or_number(names, name);
    let ignored: BTreeSet<usize> =
        choices.ignore.unwrap_or_default().iter().filter_map(place).collect();
    let kept: Vec<usize> = (0..names.len()).filter(|at| !ignored.contains(at)).collect();
    // The first one may number the examples, and the last one may be empty.
    let ends = kept.iter().take(2).chain(kept.iter().rev().take(2)).copied();
    let is_named = |at: &usize| LABELS.iter().any(|it| names[*at].trim().eq_ignore_ascii_case(it));
    let named = (0..names.len()).filter(is_named);
    ends.chain(named).chain(choices.label.iter().filter_map(place)).collect()
}

/// What all records of the files have.
fn facts<'a>(
    parts: &[Part<'a>],
    names: &[String],
    choices: &Choices<'_>,
) -> Result<Vec<Facts<'a>>, DatasetError> {
    let Some(Part { header, .. }) = parts.first() else { return Ok(Vec::new()) };
    let candidates = candidates(names, choices);
    let is_candidate = |at: usize| candidates.contains(&at);
    let mut with_texts = BTreeSet::new();
    loop {
        let start = |at: usize| match is_candidate(at) {
            true => Facts::of_candidate(),
            false if with_texts.contains(&at) => Facts::of_texts(),
            false => Facts::default(),
        };
        let mut all: Vec<Facts<'_>> = (0..header.columns).map(start).collect();
        for (number, Part { file, dialect, header, places }) in parts.iter().enumerate() {
            let notation = dialect.notation();
            file.examples(*dialect, header, |record| {
                let columns = all.iter_mut().zip(places);
                columns.for_each(|(it, at)| it.take(record, *at, notation));
                Ok(())
            })?;
            all.iter_mut().for_each(|facts| facts.end_file(number));
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
    files: &[TextFile],
    (at, name, facts): (usize, &str, &Facts<'_>),
    choices: &Choices<'_>,
) -> Result<Role, DatasetError> {
    if choices.targets == TargetKind::Class {
        return Ok(Role::Label);
    }
    let title = Column { name: name.to_owned(), role: Role::Target }.title(at);
    if let Some((line, field)) = facts.first_other.as_deref() {
        let file = &files[facts.file_of_other()];
        let expected = format!(
            "a finite number in {}, as `dataset.targets` is \"vector\" (for a class, set it to \
             \"class\")",
            with_number(at, &title)
        );
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match facts.first_missing {
        Some(line) if choices.missing != Missing::Drop => {
            let file = &files[facts.file_of_missing()];
            Err(file.no_target(line.get(), at, &title))
        }
        _ => Ok(Role::Target),
    }
}

fn number(
    files: &[TextFile],
    (at, title): (usize, &str),
    facts: &Facts<'_>,
    missing: Missing,
) -> Result<Role, DatasetError> {
    if let Some((line, field)) = facts.first_other.as_deref() {
        let file = &files[facts.file_of_other()];
        let expected = format!("a finite number in {}, as on other lines", with_number(at, title));
        return Err(file.wrong(*line, expected, format!("{field:?}")));
    }
    match (facts.first_missing, missing) {
        (Some(line), Missing::Error) => {
            let file = &files[facts.file_of_missing()];
            Err(file.missing(line.get(), with_number(at, title), DROP_OR_MEAN))
        }
        (_, Missing::Mean) => Ok(Role::Number { missing: Some(facts.mean()) }),
        _ => Ok(Role::Number { missing: None }),
    }
}

fn categories(
    files: &[TextFile],
    (at, title): (usize, &str),
    facts: &Facts<'_>,
    missing: Missing,
) -> Result<Role, DatasetError> {
    let texts = facts.texts.as_ref().map(|texts| texts.counts.clone()).unwrap_or_default();
    let all: u64 = texts.values().sum();
    let missing = match (facts.first_missing_text, missing) {
        (Some(line), Missing::Error) => {
            let file = &files[facts.file_of_missing_text()];
            return Err(file.missing(line.get(), with_number(at, title), DROP_OR_MEAN));
        }
        (_, Missing::Mean) => {
            Some(texts.values().map(|count| (*count as f64 / all.max(1) as f64) as f32).collect())
        }
        _ => None,
    };
    let values = texts.into_keys().map(Cow::into_owned).collect();
    Ok(Role::Categories { values, missing })
}
