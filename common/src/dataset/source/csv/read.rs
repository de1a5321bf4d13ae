//! The examples of files whose columns are known.

use super::cell::{Cell, Point, is_missing_text};
use super::infer::Plan;
use super::order::Order;
use super::records::Record;
use super::{Choices, DROP, DROP_OR_MEAN, FILL, Missing, TextFile};
use crate::dataset::DatasetError;
use crate::dataset::columns::{Column, Role, with_number};
use crate::dataset::features::{FeatureColumn, TableFeatures, TextColumn};
use crate::dataset::raw::{Lines, Places, Raw, RawLabels, Texts};
use crate::dataset::sentence::beginning;
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
    /// What may be wrong, one sentence each, without its end.
    pub(in crate::dataset) warnings: Vec<String>,
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
    /// What points in the numbers of each column stand for.
    points: Vec<Points>,
    /// The numbers of the present example.
    numbers: Vec<f32>,
    /// Its texts: their places among those of their columns.
    texts: Vec<Option<u16>>,
}

/// What points in the numbers of a column stand for, where commas may be decimal.
#[derive(Clone, Default)]
struct Points {
    /// Whether there are numbers such as `1,5`, in which a point would separate thousands.
    are_of_thousands: bool,
    /// Whether there are numbers such as `1.5`, whose point stands before the fraction.
    are_of_fractions: bool,
    /// The line and the text of the first number such as `1.234`, which may be 1234 or less than 2.
    unclear: Option<Box<(u64, String)>>,
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
            points: vec![Points::default(); plan.columns.len()],
            numbers: Vec::new(),
            texts: Vec::new(),
        };
        let mut has_labels = choices.labels && plan.label.is_some();
        let mut warnings = Vec::new();
        for file in files {
            let order = Order::of(file, plan)?;
            reader.lines.begin_file(&file.name);
            let mut columns = plan.columns.iter().zip(&order.places);
            has_labels &= columns.all(|(column, place)| !column.is_target() || place.is_some());
            file.examples(order.dialect, &order.header, |record| {
                reader.take(file, &order, record)
            })?;
            reader.check_points(file, &order)?;
            warnings.extend(order.warning(file, plan));
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
        Ok(Self { raw, dropped, warnings })
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

impl Reader<'_> {
    /// What helps if a value of a column is missing.
    fn advice(&self, column: &Column) -> &'static str {
        match (self.plan.is_known, self.takes_labels) {
            (true, false) => FILL,
            (false, _) if column.role != Role::Label => DROP_OR_MEAN,
            _ => DROP,
        }
    }

    /// Checks that no column of a file has numbers such as `1.234` of which nothing else in it says
    /// whether the point separates thousands.
    fn check_points(&mut self, file: &TextFile, order: &Order) -> Result<(), DatasetError> {
        let points =
            std::mem::replace(&mut self.points, vec![Points::default(); order.places.len()]);
        for (at, points) in points.into_iter().enumerate() {
            let is_clear = points.are_of_fractions && !points.are_of_thousands;
            let (Some(place), Some(unclear), false) = (order.places[at], points.unclear, is_clear)
            else {
                continue;
            };
            let (line, field) = *unclear;
            let expected = format!(
                "numbers without points between thousands in {}, as others have commas for points",
                with_number(place, &self.plan.columns[at].title(place))
            );
            let found = format!("{field:?}, which may be less than 1000");
            return Err(file.wrong(line, expected, found));
        }
        Ok(())
    }

    fn take(
        &mut self,
        file: &TextFile,
        order: &Order,
        record: &Record<'_>,
    ) -> Result<(), DatasetError> {
        let notation = order.dialect.notation();
        self.numbers.clear();
        self.texts.clear();
        let (mut label, before) = (None, self.targets.len());
        for (at, column) in self.plan.columns.iter().enumerate() {
            let Some(place) = order.places[at] else { continue };
            let field = record.field(place);
            let is_number = matches!(column.role, Role::Number { .. } | Role::Target);
            if notation.decimal_commas && is_number {
                self.points[at].take(record, field);
            }
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
                let place = with_number(place, &column.title(place));
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

impl Points {
    fn take(&mut self, record: &Record<'_>, field: &str) {
        match Point::of(field) {
            Point::Thousands => self.are_of_thousands = true,
            Point::Fraction => self.are_of_fractions = true,
            Point::Unclear => {
                self.unclear.get_or_insert_with(|| Box::new((record.line(), field.to_owned())));
            }
            Point::None => {}
        }
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
    let expected = format!("a finite number in {}", with_number(place, &title));
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
        with_number(place, &column.title(place)),
        listed.join(", ")
    );
    file.wrong(record.line(), expected, format!("{:?}", beginning(field)))
}
