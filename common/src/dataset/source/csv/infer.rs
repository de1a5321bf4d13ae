//! What each column of new files is: their header, their types, the label.

use super::cell::Notation;
use super::dialect::Dialect;
use super::facts::Facts;
use super::header::Header;
use super::{Choices, Missing, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role};

/// Names of columns that are taken for the label, the first ones preferred.
pub(in crate::dataset) const LABELS: [&str; 5] = ["label", "class", "target", "y", "species"];

/// Names of a first column that may count the examples. An empty one is pandas' or R's.
const INDEXES: [&str; 5] = ["", "unnamed: 0", "index", "id", "row"];

/// How a file is read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataset) struct Plan {
    pub(in crate::dataset) columns: Vec<Column>,
    /// The column of the label, if there is one, and why it is that one.
    pub(in crate::dataset) label: Option<(usize, Why)>,
    /// Names of the classes 0, 1, …, if the file has them.
    pub(in crate::dataset) classes: Vec<String>,
    /// What a reader should know of the columns, one sentence each, without its end.
    pub(in crate::dataset) notes: Vec<String>,
    /// What may be wrong, in the same form.
    pub(in crate::dataset) warnings: Vec<String>,
}

/// Why a column is the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) enum Why {
    /// A user said so.
    Chosen,
    /// It was the label of earlier files.
    Known,
    /// Its name.
    Name,
    /// It is the last one.
    Last,
    /// It is the last one, and the first could be the label, too.
    LastOfTwo,
    /// It is the first one, and the last cannot be the label.
    First,
}

/// A column while it is decided what it is.
struct Draft {
    names: Vec<String>,
    facts: Vec<Facts>,
}

impl Plan {
    /// Of columns that are known from earlier files; `None` if there are none.
    pub(in crate::dataset) fn known(columns: &[Column]) -> Option<Self> {
        let label = columns.iter().position(|column| column.role == Role::Label);
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
        let (dialect, header) = file.form(choices.separator);
        let notation = Notation { decimal_commas: dialect.has_decimal_commas() };
        check_header(file, &header)?;
        let mut names = header.names.clone();
        names.resize(header.columns, String::new());
        let facts = facts(files, (dialect, notation), &header, choices.label)?;
        if facts.iter().all(|facts| facts.count() == 0) {
            return Err(file.wrong(1, "examples", "a header and nothing else"));
        }
        let draft = Draft { names, facts };
        let label = draft.label(file, choices)?;
        let warnings = label.into_iter().filter_map(|label| draft.doubt(label)).collect();
        let mut plan = Self {
            columns: Vec::with_capacity(draft.facts.len()),
            label,
            classes: header.classes,
            notes: Vec::new(),
            warnings,
        };
        plan.take_columns(file, draft, choices)?;
        Ok(plan)
    }

    fn take_columns(
        &mut self,
        file: &TextFile,
        draft: Draft,
        choices: &Choices<'_>,
    ) -> Result<(), DatasetError> {
        for name in choices.ignore.unwrap_or_default() {
            if draft.place_of(name).is_none() {
                return Err(draft.unknown(file, "dataset.ignore", name));
            }
        }
        let label = self.label.map(|(at, _)| at);
        for (at, (name, facts)) in draft.names.iter().zip(&draft.facts).enumerate() {
            let role = match choices.ignore {
                _ if label == Some(at) => Role::Label,
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
fn check_header(file: &TextFile, header: &Header) -> Result<(), DatasetError> {
    if header.columns == 0 {
        return Err(file.wrong(1, "examples", "the end of the file"));
    }
    if header.columns == 1 {
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
    label: Option<&str>,
) -> Result<Vec<Facts>, DatasetError> {
    let is_candidate = |at: usize| {
        let name = header.names.get(at).map_or("", String::as_str);
        let is_named = label == Some(name);
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

fn is_index(name: &str, facts: &Facts) -> bool {
    // The row names of R's files are quoted numbers, or texts.
    let is_named_so = INDEXES.iter().any(|it| name.eq_ignore_ascii_case(it));
    is_named_so && (facts.is_counter() || (name.is_empty() && facts.is_text()))
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

impl Draft {
    /// The column of a name, or of `first` and `last`.
    fn place_of(&self, name: &str) -> Option<usize> {
        let named = self.names.iter().position(|it| it == name && !name.is_empty());
        named.or_else(|| match name {
            "first" => Some(0),
            "last" => Some(self.last()),
            _ => None,
        })
    }

    /// The last column that has anything.
    fn last(&self) -> usize {
        let last = self.facts.iter().rposition(|facts| !facts.is_empty());
        last.unwrap_or(self.facts.len().saturating_sub(1))
    }

    /// The first column that has anything but the numbers of the examples.
    fn first(&self) -> usize {
        let is_it = |at: &usize| {
            let facts = &self.facts[*at];
            !facts.is_empty() && !(*at == 0 && is_index(&self.names[0], facts))
        };
        (0..self.facts.len()).find(is_it).unwrap_or(0)
    }

    fn label(
        &self,
        file: &TextFile,
        choices: &Choices<'_>,
    ) -> Result<Option<(usize, Why)>, DatasetError> {
        if let Some(chosen) = choices.label {
            let place = self.place_of(chosen);
            let place = place.ok_or_else(|| self.unknown(file, "dataset.label", chosen))?;
            return Ok(Some((place, Why::Chosen)));
        }
        let may_be = |at: usize| self.facts[at].may_be_label();
        let named = LABELS.iter().find_map(|label| {
            self.names.iter().position(|name| name.trim().eq_ignore_ascii_case(label))
        });
        let (first, last) = (self.first(), self.last());
        match named {
            Some(at) if may_be(at) => Ok(Some((at, Why::Name))),
            Some(at) => Err(self.no_label(file, &[at])),
            None if may_be(last) && may_be(first) && first != last => {
                Ok(Some((last, Why::LastOfTwo)))
            }
            None if may_be(last) => Ok(Some((last, Why::Last))),
            None if may_be(first) => Ok(Some((first, Why::First))),
            None => Err(self.no_label(file, &[last, first])),
        }
    }

    /// The warning about a label that a user chose, and that would not have been taken for one.
    fn doubt(&self, (at, why): (usize, Why)) -> Option<String> {
        let facts = self.facts.get(at).filter(|_| why == Why::Chosen)?;
        let title = Column { name: self.names[at].clone(), role: Role::Label }.title(at);
        let (classes, examples) = facts.classes()?;
        (!facts.may_be_label()).then(|| {
            format!("the label {title} has {classes} different values in {examples} examples")
        })
    }

    /// The error if none of these columns may be the label.
    fn no_label(&self, file: &TextFile, columns: &[usize]) -> DatasetError {
        let found = columns.iter().map(|at| {
            let title = Column { name: self.names[*at].clone(), role: Role::Label }.title(*at);
            match self.facts[*at].classes() {
                Some((1, examples)) => format!("{title} with one value in {examples} examples"),
                Some((values, examples)) => {
                    format!("{title} with {values} different values in {examples} examples")
                }
                None => format!("{title} with too many different values"),
            }
        });
        let found = found.collect::<Vec<_>>().join(", and ");
        let expected = "a column of labels, of two or more classes with five examples each on \
                        average: name it by `dataset.label`, as in --set dataset.label=NAME";
        file.wrong(1, expected, found)
    }

    fn unknown(&self, file: &TextFile, field: &str, name: &str) -> DatasetError {
        let mut names: Vec<String> =
            self.names.iter().filter(|it| !it.is_empty()).cloned().collect();
        let more = names.len().saturating_sub(20);
        names.truncate(20);
        let known = match (names.is_empty(), more) {
            (true, _) => "\"first\" or \"last\", as the file has no header".to_owned(),
            (_, 0) => format!("\"first\", \"last\" or one of {}", names.join(", ")),
            _ => format!("\"first\", \"last\" or one of {} and {more} more", names.join(", ")),
        };
        file.wrong(1, format!("`{field}` to be {known}"), format!("{name:?}"))
    }
}
