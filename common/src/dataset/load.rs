//! From what a source has to a dataset: classes, the test split, scales, and the line about it.

use std::path::Path;

use super::Dataset;
use super::error::{DatasetError, invalid};
use super::examples::Examples;
use super::features::Features;
use super::labels::{self, Classes};
use super::normalise::Normalisation;
use super::raw::{Raw, RawLabels};
use super::rows::take_rows;
use super::schema::{Line, Schema, target_kind};
use super::sentence::listed;
use super::source::memory::Origin;
use super::source::{self, Found, memory};
use super::split::stratified;
use super::targets::{TargetType, TargetValues};
use crate::spec::{DatasetSpec, SplitBy, TargetKind, TestExamples};

/// Features and targets beyond this are far from 0 to 1.
const FAR: f32 = 10.0;

/// Whole numbers beyond this are rounded in single precision: 2^24.
const EXACT: f32 = 16_777_216.0;

/// Splits whose largest features differ by more than this factor are hardly of one scale.
const APART: f32 = 100.0;

/// Names of classes in an error.
const LISTED: usize = 5;

/// One split on its way.
struct Part {
    features: Features,
    targets: TargetValues,
}

/// [`load_from`] files. `base` is the folder of relative paths.
pub(super) fn load(
    spec: &DatasetSpec,
    base: &Path,
    known: Option<&Schema>,
    labels: bool,
) -> Result<(Dataset, Schema), DatasetError> {
    load_from(spec, &Origin::Files(base.to_owned()), known, labels)
}

/// Loads a spec's dataset from files, or from arrays in memory. `known` is the schema of the
/// data that a state was trained on: columns, classes and scales are those. Without `labels`, labels
/// are not read.
pub(super) fn load_from(
    spec: &DatasetSpec,
    origin: &Origin,
    known: Option<&Schema>,
    labels: bool,
) -> Result<(Dataset, Schema), DatasetError> {
    load_source(spec, origin, known, labels).map_err(|error| match error {
        // What is wrong with all of it has no place.
        DatasetError::Invalid { expected, found } => DatasetError::Content {
            path: spec.source.clone(),
            place: "all examples".into(),
            expected,
            found,
        },
        error => error,
    })
}

fn load_source(
    spec: &DatasetSpec,
    origin: &Origin,
    known: Option<&Schema>,
    labels: bool,
) -> Result<(Dataset, Schema), DatasetError> {
    let found = match origin {
        Origin::Files(base) => source::read(spec, base, known, labels)?,
        Origin::Arrays(arrays) => {
            if known.is_none() {
                source::refuse_columns(spec)?;
            }
            memory::read(arrays, spec)?
        }
    };
    let mut found = found.with_names()?;
    check_shapes(&found, known)?;
    // A test split of the source that the spec replaces does not count.
    found.test = found.test.filter(|_| spec.test_examples.is_none());
    if !labels {
        found.train.labels = RawLabels::None;
        found.test.iter_mut().for_each(|test| test.labels = RawLabels::None);
    }
    let (targets, classes) = targets(&found, spec, known, labels)?;
    let shape = found.train.shape.clone();
    let width = found.train.width();
    let scale = spec.scale.or(known.map(|known| known.scale)).unwrap_or(found.scale);
    let Found { train, test, name, label, columns, decimal_commas, notes, mut warnings, .. } =
        found;
    let all = train.len() + test.as_ref().map_or(0, Raw::len);
    let mut parts = std::iter::once(train).chain(test).zip(targets);
    let mut part =
        || parts.next().map(|(Raw { features, .. }, targets)| Part { features, targets });
    let (train, test) = (part(), part());
    let Some(train) = train else { return Err(invalid("examples", "none")) };
    let target_type = train.targets.target_type();
    let (train, test, split) =
        if labels { split(train, test, width, spec)? } else { to_predict(train, test) };
    let normalisation = match known {
        Some(known) => known.normalisation.clone(),
        None => Normalisation::of(&train.features, width, scale, spec.normalise),
    };
    if known.is_none() {
        let (of_train, of_test) = (train.features.largest(), test.features.largest());
        warnings.extend(coarse(of_train));
        if normalisation.is_none() {
            warnings.extend(far(of_train / scale));
            warnings.extend(apart(of_train / scale, of_test / scale));
        }
        warnings.extend(far_targets(&train.targets));
        warnings.extend(classes.alike());
    }
    let line = Line {
        name: &name,
        examples: all as u64,
        shape: &shape,
        label,
        names: &classes.names,
        targets: target_type,
        split,
        notes: &notes,
    };
    let schema = Schema {
        understood: line.text(),
        warnings,
        shape,
        scale,
        targets: target_type,
        classes: classes.names,
        columns,
        decimal_commas,
        normalisation,
        data: known.and_then(|known| known.data.clone()),
    };
    let examples = |part: Part| {
        let (features, scale) = match &schema.normalisation {
            Some(scales) => (scales.apply(part.features, scale), 1.0),
            None => (part.features, scale),
        };
        Examples::with_targets(features, part.targets, schema.shape.clone(), scale)
    };
    let dataset = Dataset { train: examples(train)?, test: examples(test)? };
    Ok((dataset, schema))
}

/// Both splits, and the state's data, have examples of one shape.
fn check_shapes(found: &Found, known: Option<&Schema>) -> Result<(), DatasetError> {
    let train = found.train.width();
    if let Some(test) = found.test.as_ref().filter(|test| test.width() != train) {
        let expected = format!("test examples of {train} features, as in the training split");
        return Err(invalid(expected, test.width()));
    }
    if let Some(known) = known.filter(|known| known.width() != train as u64) {
        let expected = format!("examples of {} features, as the state's data has", known.width());
        return Err(invalid(expected, train));
    }
    Ok(())
}

/// The targets of the training split and of the source's test split, and the names of classes.
fn targets(
    found: &Found,
    spec: &DatasetSpec,
    known: Option<&Schema>,
    labels: bool,
) -> Result<(Vec<TargetValues>, Classes), DatasetError> {
    let splits: Vec<&Raw> = std::iter::once(&found.train).chain(&found.test).collect();
    let kind = target_kind(spec, known);
    let unlabelled = splits.iter().find(|split| split.labels == RawLabels::None);
    if let Some(split) = unlabelled.filter(|_| labels && kind != TargetKind::None) {
        return Err(labels::no_labels(split));
    }
    match kind {
        TargetKind::None => Ok((vec![TargetValues::None; splits.len()], Classes::default())),
        TargetKind::Vector => {
            let mut known = known.map(|known| known.targets);
            let mut vectors = Vec::new();
            for split in splits {
                let targets = labels::vectors(split, known)?;
                known = Some(targets.target_type());
                vectors.push(targets);
            }
            Ok((vectors, Classes::default()))
        }
        TargetKind::Class => {
            let classes = match known {
                Some(known) => Classes { names: known.classes.clone() },
                None if !labels => Classes::default(),
                None => classes(found, &splits, spec)?,
            };
            let known = known.and_then(|known| match known.targets {
                TargetType::Classes(count) => Some(count),
                _ => None,
            });
            let given = spec.classes.or(known);
            let labels = splits.iter().map(|split| classes.apply(split, split.len(), given));
            let labels = labels.collect::<Result<Vec<_>, _>>()?;
            let largest = labels.iter().flatten().max().map_or(1, |label| label + 1);
            let count = match classes.names.len() {
                0 => given.unwrap_or(largest),
                names => names as u32,
            };
            let labels = labels.into_iter().map(|labels| TargetValues::Classes { labels, count });
            Ok((labels.collect(), classes))
        }
    }
}

fn classes(found: &Found, splits: &[&Raw], spec: &DatasetSpec) -> Result<Classes, DatasetError> {
    if !found.classes.is_empty() {
        return Ok(Classes { names: found.classes.clone() });
    }
    let classes = Classes::of(splits, spec.classes)?;
    match (spec.classes, classes.names.len()) {
        (Some(count), names) if names > 0 && names != count as usize => {
            let expected = format!(
                "`dataset.classes` left out, or {names}, as the labels are no numbers of classes \
                 but {}",
                listed(&classes.names, LISTED)
            );
            Err(invalid(expected, count))
        }
        _ => Ok(classes),
    }
}

/// The two splits, and what the line about the dataset says of them.
fn split(
    train: Part,
    test: Option<Part>,
    width: usize,
    spec: &DatasetSpec,
) -> Result<(Part, Part, String), DatasetError> {
    let all = train.features.len() / width.max(1);
    let count = match spec.test_examples {
        None => {
            let Some(test) = test else {
                let none = train.none();
                let text = "no test split (dataset.test_examples=0.2 holds one out)".to_owned();
                return Ok((train, none, text));
            };
            let tested = test.features.len() / width.max(1);
            let text = format!("{all} to train and {tested} to test");
            return Ok((train, test, text));
        }
        Some(TestExamples::Share(share)) => {
            let count = (all as f64 * share).round() as usize;
            if count == all && all > 0 {
                let expected = "a share in `test_examples` that leaves examples to train";
                return Err(invalid(expected, format!("{share} of {all}")));
            }
            count
        }
        Some(TestExamples::Count(count)) => {
            let count = usize::try_from(count).ok().filter(|count| *count <= all);
            count.ok_or_else(|| {
                let expected =
                    format!("`test_examples` of at most {all}, the number of training examples");
                invalid(expected, spec.test_examples.map_or(String::new(), |it| it.to_string()))
            })?
        }
    };
    let (held_out, how): (Vec<usize>, _) = match (spec.split, &train.targets) {
        (SplitBy::Last, _) => ((all - count..all).collect(), "at the end"),
        (SplitBy::Stratified, TargetValues::Classes { labels, count: classes }) => {
            (stratified(labels, *classes, count, spec.split_seed), "by class")
        }
        // As if all were of one class.
        (SplitBy::Stratified, _) => {
            (stratified(&vec![0; all], 1, count, spec.split_seed), "at random")
        }
    };
    let text = format!("split {}/{} {how}", all - held_out.len(), held_out.len());
    let (train, test) = train.without(width, &held_out);
    Ok((train, test, text))
}

/// Both splits as they are.
fn to_predict(train: Part, test: Option<Part>) -> (Part, Part, String) {
    let none = train.none();
    (train, test.unwrap_or(none), "labels are not read".into())
}

impl Part {
    /// No examples of the same kind.
    fn none(&self) -> Self {
        Self { features: self.features.none(), targets: self.targets.rows(&[]) }
    }

    /// The examples without some, which are in ascending order, and those. Needs memory for those
    /// only.
    fn without(mut self, width: usize, examples: &[usize]) -> (Self, Self) {
        let features = self.features.take_rows(width, examples);
        let targets = match &mut self.targets {
            TargetValues::None => TargetValues::None,
            TargetValues::Classes { labels, count } => {
                TargetValues::Classes { labels: take_rows(labels, 1, examples), count: *count }
            }
            TargetValues::Vectors { values, width } => TargetValues::Vectors {
                values: take_rows(values, *width as usize, examples),
                width: *width,
            },
        };
        (self, Self { features, targets })
    }
}

/// The warning for features that are far from 0 to 1.
fn far(largest: f32) -> Option<String> {
    (largest > FAR).then(|| {
        format!(
            "features reach {largest}, far from 0 to 1, and most models learn badly from them: set \
             dataset.normalise to \"standard\" or \"minmax\", or dataset.scale to what they are to \
             be divided by"
        )
    })
}

/// The warning for features that single precision may not tell apart.
fn coarse(largest: f32) -> Option<String> {
    (largest >= EXACT).then(|| {
        format!(
            "features reach {largest}, and single precision does not tell all numbers beyond {EXACT} \
             apart: subtract in the file what they have in common, as of times"
        )
    })
}

/// The warning for splits of which one seems to be scaled and the other is not, by their largest
/// features.
fn apart(train: f32, test: f32) -> Option<String> {
    let are_apart = train.min(test) > 0.0 && train.max(test) / train.min(test) > APART;
    are_apart.then(|| {
        format!(
            "features reach {train} in the training split and {test} in the test split: scale both \
             in the same way"
        )
    })
}

/// The warning for targets that are far from -1 to 1.
fn far_targets(targets: &TargetValues) -> Option<String> {
    let TargetValues::Vectors { values, .. } = targets else { return None };
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    (largest > FAR).then(|| {
        format!(
            "targets reach {largest}, far from -1 to 1, and are taken as they are: a model may \
             learn badly from them; divide them in the file, or set a smaller \
             parameters.learning_rate"
        )
    })
}

#[cfg(test)]
mod tests;
