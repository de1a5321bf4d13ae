//! The examples of files whose columns are known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cell::{Cell, Notation, is_missing_text};
use super::dialect::{Dialect, Record};
use super::facts::beginning;
use super::header::Header;
use super::infer::{self, Plan};
use super::{Choices, DROP, DROP_OR_MEAN, FILL, Missing, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role};
use crate::dataset::features::{FeatureColumn, TableFeatures, TextColumn};
use crate::dataset::raw::{Lines, Places, Raw, RawLabels, Texts};
use crate::dataset::source::file::SPLIT_BYTES;
use crate::limits;

/// Texts that an error lists.
const LISTED: usize = 10;

/// Examples of one file or several, as their columns say.
#[derive(Debug)]
pub(in crate::dataset) struct Table {
    pub(in crate::dataset) raw: Raw,
    /// Examples that were left out because a value is missing.
    pub(in crate::dataset) dropped: u64,
}

/// Where a file has the columns of a plan.
struct Order {
    dialect: Dialect,
    header: Header,
    /// The place in the file of each column, `None` if the file does not have it.
    places: Vec<Option<usize>>,
}

/// What is read so far.
struct Reader<'a> {
    plan: &'a Plan,
    missing: Missing,
    /// Whether labels are read.
    takes_labels: bool,
    features: TableFeatures,
    labels: Texts,
    /// The numbers of the targets.
    targets: Vec<f32>,
    lines: Lines,
    dropped: u64,
    /// The numbers of the present example.
    numbers: Vec<f32>,
    /// Its texts: their places among those of their columns.
    texts: Vec<Option<u16>>,
}

impl Table {
    /// Reads files by a plan, which may have come from other files.
    pub(in crate::dataset) fn read(
        files: &[TextFile],
        plan: &Plan,
        choices: &Choices<'_>,
    ) -> Result<Self, DatasetError> {
        let width: usize = plan.columns.iter().map(Column::width).sum();
        let first = files.first().map_or("", |file| file.name.as_str());
        if width > limits::FEATURES as usize {
            let expected = format!("at most {} features", limits::FEATURES);
            return Err(files.first().map_or(DatasetError::Source(String::new()), |file| {
                file.wrong(1, expected, width)
            }));
        }
        let mut reader = Reader {
            plan,
            missing: choices.missing,
            takes_labels: choices.labels,
            features: TableFeatures::new(
                plan.columns.iter().filter_map(feature_column).collect(),
                plan.examples,
                plan.are_bytes == Some(false),
            ),
            labels: Texts::with_capacity(plan.examples),
            targets: Vec::new(),
            lines: Lines::default(),
            dropped: 0,
            numbers: Vec::new(),
            texts: Vec::new(),
        };
        let mut has_labels = choices.labels && plan.label.is_some();
        for file in files {
            let order = Order::of(file, plan, choices)?;
            let mut columns = plan.columns.iter().zip(&order.places);
            has_labels &= columns.all(|(column, place)| !column.is_target() || place.is_some());
            file.examples(order.dialect, &order.header, |record| {
                reader.take(file, &order, record)
            })?;
        }
        if reader.lines.len() == 0 {
            let found = if reader.dropped > 0 { "examples that all miss a value" } else { "none" };
            return Err(files.first().map_or(DatasetError::Source(String::new()), |file| {
                file.wrong(1, "examples", found)
            }));
        }
        let Reader { features, labels, targets, lines, dropped, .. } = reader;
        let numbers = plan.columns.iter().filter(|column| column.role == Role::Target).count();
        let raw = Raw {
            features: features.into(),
            shape: vec![width as u32],
            labels: match numbers {
                _ if !has_labels => RawLabels::None,
                0 => RawLabels::Texts(labels),
                width => RawLabels::Vectors { values: targets, width: width as u32 },
            },
            label_file: first.to_owned(),
            places: files.first().map_or(Places::Rows(Vec::new()), |file| file.places(lines)),
        };
        Ok(Self { raw, dropped })
    }
}

/// The features that a column gives, if it gives any.
fn feature_column(column: &Column) -> Option<FeatureColumn> {
    match &column.role {
        Role::Number { .. } => Some(FeatureColumn::Number),
        Role::Categories { values, missing } => {
            let texts = TextColumn::new(values.len(), missing.as_deref());
            Some(FeatureColumn::Texts(texts))
        }
        Role::Label | Role::Target | Role::Ignored => None,
    }
}

impl Order {
    fn of(file: &TextFile, plan: &Plan, choices: &Choices<'_>) -> Result<Self, DatasetError> {
        let (dialect, mut header) = file.form(choices.separator);
        let has_names = plan.columns.iter().any(|column| !column.name.is_empty());
        // Only what has neither the names of the columns nor their values is told by its looks.
        let first = file.first_record(dialect);
        if has_names && are_names(&first, plan) {
            if header.names.is_empty() {
                let (columns, fields) = (first.len(), first.clone());
                header = Header { names: first, fields, columns, records: 1, ..header };
            }
        } else if is_example(&first, dialect, plan) {
            header = Header { columns: first.len(), ..Header::default() };
        }
        let places = if has_names && !header.names.is_empty() {
            by_name(file, plan, &header)?
        } else {
            by_place(file, plan, header.columns)?
        };
        Ok(Self { dialect, header, places })
    }
}

/// Whether the names of all columns with features are among these fields.
fn are_names(fields: &[String], plan: &Plan) -> bool {
    let fields: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
    let is_there = |name: &str| name.is_empty() || fields.contains(name);
    plan.columns.iter().filter(|column| column.width() > 0).all(|column| is_there(&column.name))
}

/// Whether each field is a value that its column may have.
fn is_example(fields: &[String], dialect: Dialect, plan: &Plan) -> bool {
    let notation = Notation { decimal_commas: dialect.has_decimal_commas() };
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
    // Columns of one name are told by their order.
    let mut of_name = BTreeMap::<&str, VecDeque<usize>>::new();
    for (at, name) in header.names.iter().enumerate() {
        of_name.entry(name).or_default().push_back(at);
    }
    let mut place = |(at, column): (usize, &Column)| {
        // Columns without a name are told by their place.
        let named = if column.name.is_empty() {
            Some(at)
        } else {
            of_name.get_mut(column.name.as_str()).and_then(VecDeque::pop_front)
        };
        if named.is_none() && column.width() > 0 {
            let expected = format!("a column {}, as in the training examples", column.title(at));
            return Err(file.wrong(1, expected, "no such name in the header"));
        }
        Ok(named.filter(|at| *at < header.columns))
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
            "{} columns, as the training examples have, with or without the label",
            plan.columns.len()
        );
        file.wrong(1, expected, columns)
    })
}

/// The places of a plan's columns among so many: all, or all but the label, or the features only.
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
    places.find(|places| places.iter().flatten().count() == columns)
}

impl Reader<'_> {
    /// What helps if a value of a column is missing.
    fn advice(&self, column: &Column) -> &'static str {
        match (self.plan.is_known, self.takes_labels) {
            (true, false) => FILL,
            (false, _) if column.role != Role::Label => DROP_OR_MEAN,
            _ => DROP,
        }
    }

    fn take(
        &mut self,
        file: &TextFile,
        order: &Order,
        record: &Record<'_>,
    ) -> Result<(), DatasetError> {
        let notation = Notation { decimal_commas: order.dialect.has_decimal_commas() };
        self.numbers.clear();
        self.texts.clear();
        let (mut label, before) = (None, self.targets.len());
        for (at, column) in self.plan.columns.iter().enumerate() {
            let Some(place) = order.places[at] else { continue };
            let field = record.field(place);
            let is_missing = match &column.role {
                Role::Number { missing } => {
                    !number(&mut self.numbers, notation.cell(field), *missing)
                        .map_err(|()| wrong_number(file, record, (place, column), field))?
                }
                Role::Categories { values, missing } => {
                    !text(&mut self.texts, field, values, missing.is_some())
                        .map_err(|()| wrong_text(file, record, (place, column), values, field))?
                }
                Role::Label if !self.takes_labels => false,
                Role::Label => {
                    label = Some(field);
                    let is_number = self.plan.are_labels_numbers;
                    is_missing_text(field) || is_number && notation.cell(field) == Cell::Missing
                }
                Role::Target => !number(&mut self.targets, notation.cell(field), None)
                    .map_err(|()| wrong_number(file, record, (place, column), field))?,
                Role::Ignored => false,
            };
            if is_missing && self.missing == Missing::Drop {
                self.dropped += 1;
                self.targets.truncate(before);
                return Ok(());
            }
            if is_missing && column.role == Role::Target {
                return Err(file.no_target(record.line(), place, &column.title(place)));
            }
            if is_missing {
                let place = infer::place(place, &column.title(place));
                return Err(file.missing(record.line(), place, self.advice(column)));
            }
        }
        if let Some(label) = label {
            self.labels.push(label);
        }
        self.lines.push(record.line());
        self.features.push(&self.numbers, &self.texts);
        if self.features.bytes() > SPLIT_BYTES || self.lines.len() as u64 > limits::EXAMPLES {
            let expected = format!(
                "at most {} examples and {SPLIT_BYTES} bytes of features",
                limits::EXAMPLES
            );
            return Err(file.wrong(record.line(), expected, "more"));
        }
        Ok(())
    }
}

/// Appends a number; `false` if it is missing and nothing stands for it.
fn number(row: &mut Vec<f32>, cell: Cell, missing: Option<f32>) -> Result<bool, ()> {
    let value = match cell {
        Cell::Number(value) => Some(value),
        Cell::Missing => missing,
        Cell::Other => return Err(()),
    };
    row.extend(value);
    Ok(value.is_some())
}

/// The same for a text that becomes several features.
fn text(
    texts: &mut Vec<Option<u16>>,
    field: &str,
    values: &[String],
    has_shares: bool,
) -> Result<bool, ()> {
    if is_missing_text(field) {
        texts.extend(has_shares.then_some(None));
        return Ok(has_shares);
    }
    let found = values.binary_search_by(|value| value.as_str().cmp(field)).map_err(|_| ())?;
    texts.push(Some(found as u16));
    Ok(true)
}

fn wrong_number(
    file: &TextFile,
    record: &Record<'_>,
    (place, column): (usize, &Column),
    field: &str,
) -> DatasetError {
    let title = column.title(place);
    let expected = format!("a finite number in {}", infer::place(place, &title));
    file.wrong(record.line(), expected, format!("{:?}", beginning(field)))
}

fn wrong_text(
    file: &TextFile,
    record: &Record<'_>,
    (place, column): (usize, &Column),
    values: &[String],
    field: &str,
) -> DatasetError {
    let listed = values.iter().take(LISTED).map(|value| beginning(value)).collect::<Vec<_>>();
    let more = if values.len() > LISTED { ", …" } else { "" };
    let expected = format!(
        "one of the texts of the training examples in {}: {}{more}",
        infer::place(place, &column.title(place)),
        listed.join(", ")
    );
    file.wrong(record.line(), expected, format!("{:?}", beginning(field)))
}
