//! The ranges of a spec's fields.

use crate::limits;
use crate::spec::{BLANK, DatasetSpec, RunSpec, SpecError, TAB, TargetKind, TestExamples};

/// Limit of bytes in a dataset's source, which may contain a path (Linux's own limit for
/// paths).
const SOURCE_BYTES: usize = 4096;

/// Largest integer of TOML.
const INTEGER_MAX: u64 = i64::MAX as u64;

/// Checks all of a spec.
pub(super) fn spec(spec: &RunSpec) -> Result<(), SpecError> {
    name("model", &spec.model, limits::NAME_BYTES)?;
    range("seed", spec.seed, 0, INTEGER_MAX)?;
    range("replicas", spec.replicas, 1, limits::MAX_REPLICAS)?;
    range("batch_size", spec.batch_size, 1, u32::MAX)?;
    range("update_interval", spec.update_interval, 1, u32::MAX)?;
    let round = [spec.replicas, spec.update_interval, spec.batch_size]
        .into_iter()
        .try_fold(1u64, |product, factor| product.checked_mul(factor.into()))
        .filter(|examples| *examples <= INTEGER_MAX);
    if round.is_none() {
        let expected = "replicas × update_interval × batch_size to be below 2^63";
        let found = format!("{} × {} × {}", spec.replicas, spec.update_interval, spec.batch_size);
        return Err(SpecError::field("batch_size", expected, found));
    }
    duration(spec)?;
    if spec.predict && spec.update_weights {
        return Err(SpecError::field("predict", "false in a run with `update_weights`", true));
    }
    if spec.predict && spec.evaluation.labelling {
        return Err(SpecError::field(
            "evaluation.labelling",
            "false in a run with `predict`",
            true,
        ));
    }
    range("audit", spec.audit, 0.0, 1.0)?;
    dataset(&spec.dataset)?;
    for (key, value) in &spec.parameters {
        finite(&format!("parameters.{key}"), value)?;
    }
    range("merge (number of tensors)", spec.merge.len(), 0, limits::TENSORS)?;
    for tensor in spec.merge.keys() {
        name("merge (name of a tensor)", tensor, limits::NAME_BYTES)?;
    }
    range("evaluation.shard_size", spec.evaluation.shard_size, 1, u32::MAX)?;
    if spec.evaluation.labelling && spec.dataset.targets != TargetKind::Class {
        let expected = "false, as units get their labels from classes and `dataset.targets` is \
                        not \"class\"";
        return Err(SpecError::field("evaluation.labelling", expected, "true"));
    }

    // A peer that gets the spec as text must be able to parse it.
    let text = spec.to_toml();
    if text.len() > limits::SPEC_BYTES {
        return Err(SpecError::TooLong { found: text.len() });
    }
    Ok(())
}

/// How long the run trains: one of `epochs` and `rounds`.
fn duration(spec: &RunSpec) -> Result<(), SpecError> {
    if let Some(epochs) = spec.epochs {
        range("epochs", epochs, 1, u32::MAX)?;
    }
    if let Some(rounds) = spec.rounds {
        range("rounds", rounds, 1, INTEGER_MAX)?;
    }
    let expected = "exactly one of `epochs` and `rounds`";
    match (spec.epochs, spec.rounds) {
        (None, None) if spec.update_weights => Err(SpecError::field("epochs", expected, "neither")),
        (Some(epochs), Some(rounds)) => {
            let found = format!("epochs = {epochs} and rounds = {rounds}");
            Err(SpecError::field("rounds", expected, found))
        }
        _ => Ok(()),
    }
}

/// Checks the dataset's fields; the source itself is checked when it is loaded.
fn dataset(dataset: &DatasetSpec) -> Result<(), SpecError> {
    name("dataset.source", &dataset.source, SOURCE_BYTES)?;
    targets(dataset)?;
    if let Some(scale) = dataset.scale
        && !(scale.is_finite() && scale > 0.0)
    {
        return Err(SpecError::field("dataset.scale", "a finite number above 0", scale));
    }
    match dataset.test_examples {
        Some(TestExamples::Count(count)) => {
            range("dataset.test_examples", count, 0, limits::EXAMPLES)?;
        }
        Some(TestExamples::Share(share)) if !(0.0..1.0).contains(&share) => {
            let expected = "a count, or a share from 0 and below 1";
            return Err(SpecError::field("dataset.test_examples", expected, share));
        }
        _ => {}
    }
    range("dataset.split_seed", dataset.split_seed, 0, INTEGER_MAX)?;
    if let Some(source) = &dataset.test_source {
        name("dataset.test_source", source, SOURCE_BYTES)?;
    }
    for column in dataset.ignore.iter().flatten() {
        name("dataset.ignore (name of a column)", column, limits::NAME_BYTES)?;
    }
    if let Some(separator) = &dataset.separator
        && separator != TAB
        && separator != BLANK
        && (separator.len() != 1 || separator.contains(['\"', '\n', '\r', '#']))
    {
        let expected = "one ASCII character: a comma, a semicolon, …, or \"tab\" or \"blank\"";
        return Err(SpecError::field("dataset.separator", expected, format!("{separator:?}")));
    }
    range("dataset.shuffle_window", dataset.shuffle_window, 1, limits::SHUFFLE_WINDOW)?;
    Ok(())
}

/// Checks what the targets are: classes and a label only where they mean something.
fn targets(dataset: &DatasetSpec) -> Result<(), SpecError> {
    if let Some(classes) = dataset.classes {
        range("dataset.classes", classes, 1, limits::CLASSES)?;
        if dataset.targets != TargetKind::Class {
            let expected = "no number of classes, as `dataset.targets` is not \"class\"";
            return Err(SpecError::field("dataset.classes", expected, classes));
        }
    }
    let Some(label) = &dataset.label else { return Ok(()) };
    let columns = label.names();
    let (least, most) = match dataset.targets {
        TargetKind::None => {
            let expected = "no column, as `dataset.targets` is \"none\" (`dataset.ignore` leaves \
                            columns out)";
            return Err(SpecError::field("dataset.label", expected, format!("{columns:?}")));
        }
        TargetKind::Class => (1, 1),
        TargetKind::Vector => (1, limits::TARGET_NUMBERS as usize),
    };
    if columns.len() < least || columns.len() > most {
        let expected = match most {
            1 => "one column (several are targets: set `dataset.targets` to \"vector\")".to_owned(),
            _ => format!("{least} to {most} columns"),
        };
        return Err(SpecError::field("dataset.label", expected, columns.len()));
    }
    columns.iter().try_for_each(|column| name("dataset.label", column, limits::NAME_BYTES))
}

fn range<T: PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), SpecError> {
    // NaN is in no range.
    if !(least <= value && value <= most) {
        return Err(SpecError::field(field, format!("{least} to {most}"), value));
    }
    Ok(())
}

fn name(field: &str, text: &str, most: usize) -> Result<(), SpecError> {
    if text.is_empty() || text.len() > most {
        return Err(SpecError::field(field, format!("1 to {most} bytes"), text.len()));
    }
    if text.contains(char::is_control) {
        return Err(SpecError::field(field, "no control characters", format!("{text:?}")));
    }
    Ok(())
}

/// A model's parameters may be anything except NaN and infinity, which would make training
/// fail. TOML itself limits the depth of nesting.
fn finite(path: &str, value: &toml::Value) -> Result<(), SpecError> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            Err(SpecError::field(path, "a finite number", number))
        }
        toml::Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| finite(&format!("{path}[{at}]"), value)),
        toml::Value::Table(table) => {
            table.iter().try_for_each(|(key, value)| finite(&format!("{path}.{key}"), value))
        }
        _ => Ok(()),
    }
}
