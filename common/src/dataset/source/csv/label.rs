//! Which column is the label, or which ones are the target.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::{Choices, TargetKind, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role, with_number};

/// Names of columns that are taken for the label, the first ones preferred.
pub(in crate::dataset) const LABELS: [&str; 5] = ["label", "class", "target", "y", "species"];

/// Names of a first column that may number the examples. An empty one is pandas' or R's.
const INDEXES: [&str; 5] = ["", "unnamed: 0", "index", "id", "row"];

/// What helps if a column has more values than a label.
const PREDICTED: &str = " (for numbers to predict, --set dataset.targets=vector)";

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

/// The columns while it is decided what each is.
pub(super) struct Draft<'a> {
    pub(super) names: Vec<String>,
    pub(super) facts: Vec<Facts<'a>>,
    /// Columns that a user leaves out.
    pub(super) ignored: BTreeSet<usize>,
}

/// The column of a name, or of a number: `column 5`, and `5` if no column has a name.
pub(super) fn by_name_or_number(names: &[String], name: &str) -> Option<usize> {
    let named = names.iter().position(|it| it == name && !name.is_empty());
    let has_names = names.iter().any(|name| !name.is_empty());
    let number = name.strip_prefix("column ").or((!has_names).then_some(name));
    named.or_else(|| {
        let place = number?.parse::<usize>().ok()?.checked_sub(1)?;
        (place < names.len()).then_some(place)
    })
}

impl<'a> Draft<'a> {
    /// Of columns with their names, and what a user has said of them.
    pub(super) fn of(
        file: &TextFile,
        (names, facts): (Vec<String>, Vec<Facts<'a>>),
        choices: &Choices<'_>,
    ) -> Result<Self, DatasetError> {
        let mut draft = Self { names, facts, ignored: BTreeSet::new() };
        let place = |name: &String| {
            let place = draft.place_of(name, 0);
            place.ok_or_else(|| draft.unknown(file, "dataset.ignore", name))
        };
        let ignored = choices.ignore.unwrap_or_default().iter().map(place);
        let ignored = ignored.collect::<Result<_, _>>()?;
        draft.ignored = ignored;
        Ok(draft)
    }

    /// The column of a name or a number, or of `first` and `last`.
    fn place_of(&self, name: &str, first: usize) -> Option<usize> {
        by_name_or_number(&self.names, name).or_else(|| match name {
            "first" => Some(first),
            "last" => Some(self.last()),
            _ => None,
        })
    }

    /// The last column that has anything.
    fn last(&self) -> usize {
        let is_it = |at: &usize| !self.facts[*at].is_empty() && !self.ignored.contains(at);
        let last = (0..self.facts.len()).rev().find(is_it);
        last.unwrap_or(self.facts.len().saturating_sub(1))
    }

    /// The first column that has anything but the numbers of the examples.
    fn first(&self) -> usize {
        let is_it = |at: &usize| {
            let facts = &self.facts[*at];
            !facts.is_empty() && !self.is_index(*at) && !self.ignored.contains(at)
        };
        (0..self.facts.len()).find(is_it).unwrap_or(0)
    }

    /// Whether a column is the first one, and numbers or names the examples; or the second one behind
    /// such a column without a name.
    pub(super) fn is_index(&self, at: usize) -> bool {
        let (Some(name), Some(facts), 0 | 1) = (self.names.get(at), self.facts.get(at), at) else {
            return false;
        };
        if at == 1 && (name.is_empty() || !self.names[0].is_empty() || !self.is_index(0)) {
            return false;
        }
        // R's files have names of rows under no name, where the other columns have one.
        let has_header = self.names.iter().any(|name| !name.is_empty());
        let are_rows = has_header && name.is_empty() && facts.are_names_of_examples();
        let is_named_so = INDEXES.iter().any(|it| name.eq_ignore_ascii_case(it));
        is_named_so && (facts.are_numbers_of_examples() || are_rows)
    }

    /// The columns of the label or of the target, ascending, and why they are those.
    pub(super) fn targets(
        &self,
        file: &TextFile,
        choices: &Choices<'_>,
    ) -> Result<(Vec<usize>, Why), DatasetError> {
        let place = |name: &String| {
            let place = self.place_of(name, self.first());
            place.ok_or_else(|| self.unknown(file, "dataset.label", name))
        };
        let mut chosen = choices.label.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        chosen.sort_unstable();
        chosen.dedup();
        if let Some(at) = chosen.iter().find(|at| self.ignored.contains(at)) {
            let expected = "columns in `dataset.ignore` that are not in `dataset.label`, too";
            return Err(file.wrong(1, expected, with_number(*at, &self.title(*at))));
        }
        match choices.targets {
            TargetKind::None => Ok((Vec::new(), Why::Chosen)),
            _ if !chosen.is_empty() => Ok((chosen, Why::Chosen)),
            _ if !choices.labels => Ok((Vec::new(), Why::Chosen)),
            TargetKind::Class => self.label(file).map(|(at, why)| (vec![at], why)),
            TargetKind::Vector => self.number(file).map(|(at, why)| (vec![at], why)),
        }
    }

    /// Another column that is named as labels are, if the label is so.
    pub(super) fn other_named(&self, (at, why): (usize, Why)) -> Option<String> {
        let is_other = |other: &usize| {
            let name = self.names[*other].trim();
            *other != at
                && !self.ignored.contains(other)
                && LABELS.iter().any(|label| name.eq_ignore_ascii_case(label))
        };
        let other = (0..self.names.len()).find(is_other).filter(|_| why == Why::Name)?;
        let title = self.title(other);
        Some(format!(
            "{title} may be a label, too, and is a feature: dataset.ignore leaves it out, \
             dataset.label names the label"
        ))
    }

    /// A column for a sentence.
    fn title(&self, at: usize) -> String {
        Column { name: self.names[at].clone(), role: Role::Label }.title(at)
    }

    /// A column that is named as labels are.
    fn named(&self) -> Option<usize> {
        LABELS.iter().find_map(|label| {
            let is_it = |(at, name): (usize, &String)| {
                name.trim().eq_ignore_ascii_case(label) && !self.ignored.contains(&at)
            };
            self.names.iter().enumerate().position(is_it)
        })
    }

    /// The column of a number that a model may learn to predict.
    fn number(&self, file: &TextFile) -> Result<(usize, Why), DatasetError> {
        let last = self.last();
        let (at, why) = self.named().map_or((last, Why::Last), |at| (at, Why::Name));
        if self.facts[at].is_text() {
            let title = self.title(at);
            let expected = "a column of numbers to predict: name it by `dataset.label`, as in \
                            --set dataset.label=NAME";
            return Err(file.wrong(1, expected, format!("texts in {title}")));
        }
        Ok((at, why))
    }

    fn label(&self, file: &TextFile) -> Result<(usize, Why), DatasetError> {
        let may_be = |at: usize| self.facts[at].may_be_label();
        let (first, last) = (self.first(), self.last());
        match self.named() {
            Some(at) if may_be(at) => Ok((at, Why::Name)),
            Some(at) => Err(self.no_label(file, &[at])),
            None if may_be(last) && may_be(first) && first != last => Ok((last, Why::LastOfTwo)),
            None if may_be(last) => Ok((last, Why::Last)),
            None if may_be(first) => Ok((first, Why::First)),
            None => Err(self.no_label(file, &[last, first])),
        }
    }

    /// The warning about a label that a user chose, and that would not have been taken for one.
    pub(super) fn doubt(&self, (at, why): (usize, Why)) -> Option<String> {
        let facts = self.facts.get(at).filter(|_| why == Why::Chosen)?;
        let title = self.title(at);
        let (classes, examples) = facts.classes()?;
        (!facts.may_be_label()).then(|| {
            let hint = if facts.is_text() || classes < 2 { "" } else { PREDICTED };
            format!("the label {title} has {classes} different values in {examples} examples{hint}")
        })
    }

    /// The error if none of these columns may be the label.
    fn no_label(&self, file: &TextFile, columns: &[usize]) -> DatasetError {
        let found = columns.iter().map(|at| {
            let title = self.title(*at);
            match self.facts[*at].classes() {
                Some((1, examples)) => format!("{title} with one value in {examples} examples"),
                Some((values, examples)) => {
                    format!("{title} with {values} different values in {examples} examples")
                }
                None => format!("{title} with too many different values"),
            }
        });
        let found = found.collect::<Vec<_>>().join(", and ");
        let hint = if columns.iter().any(|at| !self.facts[*at].is_text()) { PREDICTED } else { "" };
        let expected = format!(
            "a column of labels, of two or more classes with five examples each on average: name \
             it by `dataset.label`, as in --set dataset.label=NAME{hint}"
        );
        file.wrong(1, expected, found)
    }

    pub(super) fn unknown(&self, file: &TextFile, field: &str, name: &str) -> DatasetError {
        let mut names: Vec<String> =
            self.names.iter().filter(|it| !it.is_empty()).cloned().collect();
        let more = names.len().saturating_sub(20);
        names.truncate(20);
        let known = match (names.is_empty(), more) {
            (true, _) => format!(
                "\"first\", \"last\" or the number of a column, from 1 to {}, as the file has no \
                 header",
                self.names.len()
            ),
            (_, 0) => format!("\"first\", \"last\" or one of {}", names.join(", ")),
            _ => format!("\"first\", \"last\" or one of {} and {more} more", names.join(", ")),
        };
        file.wrong(1, format!("`{field}` to be {known}"), format!("{name:?}"))
    }
}
