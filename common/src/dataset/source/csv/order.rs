//! Where a file has columns that are known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::TextFile;
use super::cell::{Cell, Notation, is_missing_text};
use super::dialect::Dialect;
use super::header::{CERTAIN, Header};
use super::infer::Plan;
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role};

/// Where a file has the columns of a plan.
pub(super) struct Order {
    pub(super) dialect: Dialect,
    pub(super) header: Header,
    /// The place in the file of each column, `None` if the file does not have it.
    pub(super) places: Vec<Option<usize>>,
    /// Whether the file names its columns, be it in a comment.
    has_names: bool,
}

impl Order {
    pub(super) fn of(file: &TextFile, plan: &Plan) -> Result<Self, DatasetError> {
        let (dialect, header) = file.form();
        let dialect = dialect.with_decimal_commas(plan.decimal_commas);
        let has_names = plan.columns.iter().any(|column| !column.name.is_empty());
        let first = file.first_record(dialect)?;
        let names_columns = !header.names.is_empty();
        if are_names_in_another_order(&first, plan) {
            let expected = "the numbers that name the columns in the order of the training examples, \
                            or an example of other numbers";
            return Err(file.wrong(1, expected, first.join(", ")));
        }
        let without = |columns| Header { columns, ..Header::default() };
        let names = plan.columns.iter().map(|column| &column.name);
        let has_all_names = header.records > 0 && header.names.iter().eq(names);
        let header = if has_names && has_all_names {
            header
        } else if has_names && are_names(&first, plan) {
            header.of_names(first)
        } else if first.is_empty() || has_names && are_names(&header.names, plan) {
            header
        } else if header.records > 0 && !header.has_texts {
            // It counts the columns, as in training.
            header
        } else if is_example(&first, dialect.notation(), plan) {
            without(first.len())
        } else if header.records > 0
            && (has_names
                || !header.classes.is_empty()
                || are_certainly_names(&first, dialect.notation(), plan))
        {
            header
        } else {
            // If it is no example, an error says which of its fields is none.
            without(header.columns)
        };
        let places = if has_names && !header.names.is_empty() {
            by_name(file, plan, &header)?
        } else {
            by_place(file, plan, header.columns)?
        };
        Ok(Self { dialect, header, places, has_names: names_columns })
    }

    /// The warning about names that the training examples did not have.
    pub(super) fn warning(&self, file: &TextFile, plan: &Plan) -> Option<String> {
        let are_named = plan.columns.iter().any(|column| !column.name.is_empty());
        (plan.is_known && !are_named && self.has_names).then(|| {
            format!(
                "{} names its columns, which the training examples did not: they are taken by their \
                 places",
                file.name
            )
        })
    }
}

/// Whether the names of all columns with features are among these fields. Names that are numbers are
/// in their order: otherwise they may be an example.
fn are_names(fields: &[String], plan: &Plan) -> bool {
    let features = plan.columns.iter().filter(|column| column.width() > 0);
    let names: Vec<&str> =
        features.map(|column| column.name.as_str()).filter(|name| !name.is_empty()).collect();
    let is_text = |field: &&String| !field.is_empty() && field.parse::<f64>().is_err();
    let has_text = |field: &String| is_text(&field) && names_of(plan).any(|name| name == field);
    if names.iter().all(|name| name.parse::<f64>().is_ok()) && !fields.iter().any(has_text) {
        let mut fields = fields.iter();
        return !names.is_empty() && names.iter().all(|name| fields.any(|field| field == name));
    }
    let fields: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
    names.iter().all(|name| fields.contains(name))
}

/// Whether the fields are the names of all columns with features, which are numbers, in another order:
/// an example may have the same numbers.
fn are_names_in_another_order(fields: &[String], plan: &Plan) -> bool {
    let features = plan.columns.iter().filter(|column| column.width() > 0);
    let names: Vec<&str> = features.map(|column| column.name.as_str()).collect();
    let are_numbers = names.iter().all(|name| name.parse::<f64>().is_ok());
    let is_there = |name: &&str| fields.iter().any(|field| field == name);
    let is_of_them = |field: &String| names_of(plan).any(|name| name == field);
    names.len() > 1
        && are_numbers
        && names.iter().all(is_there)
        && fields.iter().all(is_of_them)
        && !are_names(fields, plan)
}

fn names_of(plan: &Plan) -> impl Iterator<Item = &String> {
    plan.columns.iter().map(|column| &column.name)
}

/// Whether the fields name columns that have no names: there are texts in all columns of numbers.
fn are_certainly_names(fields: &[String], notation: Notation, plan: &Plan) -> bool {
    let Some(places) = places_of(plan, fields.len()) else { return true };
    let columns = plan.columns.iter().zip(places);
    let numbers = columns.filter(|(column, _)| matches!(column.role, Role::Number { .. }));
    let fields: Vec<&String> = numbers.filter_map(|(_, place)| fields.get(place?)).collect();
    fields.len() >= CERTAIN && fields.iter().all(|field| notation.cell(field) == Cell::Other)
}

/// Whether each field is a value that its column may have.
fn is_example(fields: &[String], notation: Notation, plan: &Plan) -> bool {
    let Some(places) = places_of(plan, fields.len()) else { return false };
    plan.columns.iter().zip(places).all(|(column, place)| {
        let Some(field) = place.map(|place| fields[place].as_str()) else { return true };
        match &column.role {
            Role::Number { .. } | Role::Target => notation.cell(field) != Cell::Other,
            Role::Categories { values, .. } => {
                is_missing_text(field) || values.iter().any(|value| value == field)
            }
            Role::Label | Role::Ignored => true,
        }
    })
}

/// The columns of a file with a header: in any order, and perhaps with others.
fn by_name(
    file: &TextFile,
    plan: &Plan,
    header: &Header,
) -> Result<Vec<Option<usize>>, DatasetError> {
    // Columns of one name, or without one, are told by their order.
    let mut of_name = BTreeMap::<&str, VecDeque<usize>>::new();
    for (at, name) in header.names.iter().enumerate().take(header.columns) {
        of_name.entry(name).or_default().push_back(at);
    }
    let mut place = |(at, column): (usize, &Column)| {
        let named = of_name.get_mut(column.name.as_str()).and_then(VecDeque::pop_front);
        if named.is_none() && column.width() > 0 {
            let expected = format!("a column {}, as in the training examples", column.title(at));
            return Err(file.wrong(1, expected, "no such name in the header"));
        }
        Ok(named)
    };
    plan.columns.iter().enumerate().map(&mut place).collect()
}

/// The columns of a file without a header: all, or all but the label, or the features only.
fn by_place(
    file: &TextFile,
    plan: &Plan,
    columns: usize,
) -> Result<Vec<Option<usize>>, DatasetError> {
    places_of(plan, columns).ok_or_else(|| {
        let expected = format!(
            "{} columns, as the training examples have, all of them or all but the label, or only \
             those of features (a header tells which ones are there)",
            plan.columns.len()
        );
        file.wrong(1, expected, columns)
    })
}

/// The places of a plan's columns among so many: all, or all but the label, or the features only. None
/// if they may as well be all but those that are left out.
fn places_of(plan: &Plan, columns: usize) -> Option<Vec<Option<usize>>> {
    let number = |is_there: &dyn Fn(&Column) -> bool| {
        let mut next = 0;
        let place = |column: &Column| {
            is_there(column).then(|| {
                next += 1;
                next - 1
            })
        };
        plan.columns.iter().map(place).collect::<Vec<_>>()
    };
    let all_columns = |_: &Column| true;
    let without_label = |column: &Column| !column.is_target();
    let features = |column: &Column| column.width() > 0;
    let kinds = [&all_columns as &dyn Fn(&Column) -> bool, &without_label, &features];
    let mut places = kinds.into_iter().map(number);
    let has_all = |places: &Vec<Option<usize>>| places.iter().flatten().count() == columns;
    let found = places.find(has_all)?;
    let with_features_and_label = number(&|column| column.width() > 0 || column.is_target());
    let is_clear = found.iter().all(Option::is_some)
        || found == with_features_and_label
        || !has_all(&with_features_and_label);
    is_clear.then_some(found)
}
