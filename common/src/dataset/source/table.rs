//! Tables in files.

use std::path::Path;

use super::csv::{Choices, Plan, Table, TextFile, Why};
use super::file::{SPLIT_BYTES, SourceFile};
use super::text::{Encoding, decode};
use super::{Found, Kind, paths, within};
use crate::dataset::DatasetError;
use crate::dataset::error::invalid;
use crate::dataset::features::Features;
use crate::dataset::raw::Raw;
use crate::dataset::schema::Schema;
use crate::dataset::sentence::{counted, listed};
use crate::spec::{BLANK, DatasetSpec, LabelColumns, Missing, TAB};

/// UCI "Optical Recognition of Handwritten Digits": see `digits.md` beside it.
const DIGITS: &[u8] = include_bytes!("../digits.csv.gz");

/// Every fifth example of `digits` is a test example. The file is sorted by writer, so a
/// split by position would test on other writers than it trained on.
const DIGITS_TEST_EVERY: usize = 5;

/// Columns of targets in the line about a dataset.
const LISTED: usize = 5;

/// A table in files, and what is to be said of them.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) name: String,
    pub(super) train: Vec<TextFile>,
    pub(super) test: Option<Vec<TextFile>>,
    pub(super) notes: Vec<String>,
}

/// Reads all text files of a table, and those of its test split.
pub(super) fn read(
    spec: &DatasetSpec,
    path: &str,
    base: &Path,
    known: Option<&Schema>,
    labels: bool,
) -> Result<Found, DatasetError> {
    let mut notes = Vec::new();
    let separator = spec.separator.as_deref().and_then(|text| match text {
        TAB => Some(b'\t'),
        BLANK => Some(b' '),
        text => text.bytes().next(),
    });
    let train = open(path, base, separator, &mut notes)?;
    let test =
        match spec.test_source.as_deref().map(|source| super::kind(source, base)).transpose()? {
            None => None,
            Some((Kind::Csv, path)) => Some(open(path, base, separator, &mut notes)?),
            Some(_) => return Err(other_kind(spec)),
        };
    examples(
        Tables { name: path.to_owned(), train, test, notes },
        spec,
        spec.label.as_ref().map(LabelColumns::names).unwrap_or_default(),
        (known, labels),
    )
}

/// The error for a test source of another kind than the source.
pub(super) fn other_kind(spec: &DatasetSpec) -> DatasetError {
    let source = spec.test_source.as_deref().unwrap_or_default();
    invalid("`dataset.test_source` of the kind of `dataset.source`", format!("{source:?}"))
}

/// Reads the examples of a table. `label` has the columns of the label or the target, if they are
/// known.
pub(super) fn examples(
    tables: Tables,
    spec: &DatasetSpec,
    label: &[String],
    (known, labels): (Option<&Schema>, bool),
) -> Result<Found, DatasetError> {
    let choices = Choices {
        labels,
        targets: crate::dataset::schema::target_kind(spec, known),
        label,
        // There is a prediction for each example.
        missing: if labels || spec.missing != Missing::Drop {
            spec.missing
        } else {
            Missing::Error
        },
        ignore: spec.ignore.as_deref(),
    };
    let Tables { name, train, test, mut notes } = tables;
    let mut plan = match known.and_then(|it| Plan::known(&it.columns, it.decimal_commas)) {
        Some(mut plan) => {
            plan.classes = train.first().map_or_else(Vec::new, TextFile::classes);
            plan
        }
        None => Plan::infer(&train, &choices)?,
    };
    let table = Table::read(&train, &plan, &choices)?;
    // Their text takes as much memory as the files.
    drop(train);
    plan.examples = 0;
    let mut dropped = table.dropped;
    plan.warnings.extend(table.warnings);
    let test = match test {
        None => None,
        Some(test) => {
            let table = Table::read(&test, &plan, &choices)?;
            dropped += table.dropped;
            plan.warnings.extend(table.warnings);
            Some(table.raw)
        }
    };
    notes.extend(plan.notes.iter().cloned());
    if dropped > 0 {
        notes.push(format!("left out: {} with missing values", counted(dropped, "example")));
    }
    let label = plan.label.filter(|_| labels).map(|label| label_text(&plan, label));
    Ok(Found {
        train: table.raw,
        test,
        scale: 1.0,
        name,
        label,
        classes: plan.classes,
        columns: plan.columns,
        decimal_commas: plan.decimal_commas,
        notes,
        warnings: plan.warnings,
    })
}

/// The files of a path or pattern, in memory.
fn open(
    path: &str,
    base: &Path,
    separator: Option<u8>,
    notes: &mut Vec<String>,
) -> Result<Vec<TextFile>, DatasetError> {
    let pattern = within(base, path);
    let files = match path {
        "-" => vec![pattern],
        _ => paths::files(&pattern.to_string_lossy())?,
    };
    let mut left = SPLIT_BYTES;
    let mut texts = Vec::with_capacity(files.len());
    for path in files {
        let mut file = SourceFile::open(&path)?;
        let bytes = file.rest(left, "text")?;
        left -= bytes.len() as u64;
        let (text, encoding) = decode(file.name(), bytes)?;
        if let Encoding::Latin1 { byte } = encoding {
            let name = file.name();
            notes.push(format!("{name} is no UTF-8 at byte {byte}, and is read as Latin-1"));
        }
        texts.push(TextFile::new(file.name().to_owned(), text, separator));
    }
    Ok(texts)
}

/// The label or target for the line about a dataset: its columns, and why they are those.
fn label_text(plan: &Plan, (at, why): (usize, Why)) -> (String, &'static str) {
    let why = match why {
        Why::Chosen | Why::Known => "",
        Why::Name => "by its name; ",
        Why::Last => "last column; ",
        Why::First => "first column; ",
        Why::LastOfTwo => {
            "last column, and the first could be it, too: --set dataset.label=first; "
        }
    };
    let columns = plan.columns.iter().enumerate().skip(at);
    let targets = columns.filter(|(_, column)| column.is_target());
    let titles: Vec<String> = targets.map(|(at, column)| column.title(at)).collect();
    (listed(&titles, LISTED), why)
}

/// The embedded digits.
pub(super) fn digits() -> Result<Found, DatasetError> {
    let mut file = SourceFile::new("digits".into(), DIGITS)?;
    let (text, _) = decode("digits", file.rest(SPLIT_BYTES, "text")?)?;
    let choices = Choices { label: &["last".to_owned()], ..Choices::default() };
    let files = [TextFile::new("digits".into(), text, None)];
    let plan = Plan::infer(&files, &choices)?;
    let all = Table::read(&files, &plan, &choices)?.raw;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for example in 0..all.len() {
        let is_test = example % DIGITS_TEST_EVERY == DIGITS_TEST_EVERY - 1;
        if is_test { test.push(example) } else { train.push(example) }
    }
    let part = |examples: &[usize]| Raw { shape: vec![8, 8], ..all.rows(examples) };
    debug_assert!(matches!(all.features, Features::U8(_)), "whole numbers from 0 to 16");
    Ok(Found {
        train: part(&train),
        test: Some(part(&test)),
        scale: 16.0,
        name: "digits".into(),
        label: None,
        classes: Vec::new(),
        columns: Vec::new(),
        decimal_commas: false,
        notes: Vec::new(),
        warnings: Vec::new(),
    })
}
