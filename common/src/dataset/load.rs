//! From what a source has to a dataset: classes, the test split, scales, and the line about it.

use std::path::Path;

use super::Dataset;
use super::error::{DatasetError, invalid};
use super::examples::{Examples, Features};
use super::labels::Classes;
use super::normalise::{Normalisation, largest};
use super::raw::{Raw, RawLabels, rows};
use super::schema::{Line, Schema};
use super::source::{self, Found};
use super::split::stratified;
use crate::spec::{DatasetSpec, SplitBy, TestExamples};

/// Features beyond this are far from 0 to 1.
const FAR: f32 = 10.0;

/// One split on its way.
struct Part {
    features: Features,
    labels: Vec<u32>,
}

/// Loads a spec's dataset. `base` is the folder of relative paths. `known` is the schema of the
/// data that a state was trained on: columns, classes and scales are those.
pub(super) fn load(
    spec: &DatasetSpec,
    base: &Path,
    known: Option<&Schema>,
) -> Result<(Dataset, Schema), DatasetError> {
    let found = source::read(spec, base, known)?.with_names();
    check_shapes(&found, known)?;
    let classes = classes(&found, spec, known)?;
    let shape = found.train.shape.clone();
    let width = found.train.width();
    let scale = spec.scale.or(known.map(|known| known.scale)).unwrap_or(found.scale);
    let Found { train, test, name, label, columns, notes, mut warnings, .. } = found;
    let count = spec.classes.or(known.map(|known| known.class_count));
    let part = |raw: Raw| {
        let labels = classes.apply(&raw, raw.len(), count)?;
        Ok::<_, DatasetError>(Part { features: raw.features, labels })
    };
    let train = part(train)?;
    // A test split of the source that the spec replaces does not count.
    let test = test.filter(|_| spec.test_examples.is_none()).map(part).transpose()?;
    let largest_label = |part: &Part| part.labels.iter().max().map_or(0, |label| label + 1);
    let all = train.labels.len() + test.as_ref().map_or(0, |test| test.labels.len());
    let (train, test, split) = split(train, test, width, spec)?;
    let class_count = match (classes.names.len(), count) {
        (0, None) => largest_label(&train).max(largest_label(&test)).max(1),
        (0, Some(count)) => count,
        (names, _) => names as u32,
    };
    let normalisation = match known {
        Some(known) => known.normalisation.clone(),
        None => Normalisation::of(&train.features, width, scale, spec.normalise),
    };
    if normalisation.is_none() && known.is_none() {
        warnings.extend(far(&train.features, width, scale));
    }
    let line = Line {
        name: &name,
        examples: all as u64,
        shape: &shape,
        label,
        names: &classes.names,
        classes: class_count,
        split,
        notes: &notes,
    };
    let schema = Schema {
        understood: line.text(),
        warnings,
        shape,
        scale,
        class_count,
        classes: classes.names,
        columns,
        normalisation,
    };
    let examples = |part: Part| {
        let (features, scale) = match &schema.normalisation {
            Some(scales) => (scales.apply(&part.features, scale), 1.0),
            None => (part.features, scale),
        };
        Examples::new(features, part.labels, width as u32, class_count, scale)
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

fn classes(
    found: &Found,
    spec: &DatasetSpec,
    known: Option<&Schema>,
) -> Result<Classes, DatasetError> {
    if let Some(known) = known {
        return Ok(Classes { names: known.classes.clone() });
    }
    // A split of the source that the spec replaces gives no classes.
    let test = found.test.as_ref().filter(|_| spec.test_examples.is_none());
    let splits: Vec<&Raw> = std::iter::once(&found.train).chain(test).collect();
    for split in &splits {
        if split.labels == RawLabels::None {
            return Err(DatasetError::Content {
                path: split.label_file.clone(),
                place: "byte 0".into(),
                expected: "labels of its examples".into(),
                found: "none".into(),
            });
        }
    }
    if !found.classes.is_empty() {
        return Ok(Classes { names: found.classes.clone() });
    }
    Classes::of(&splits, spec.classes)
}

/// The two splits, and what the line about the dataset says of them.
fn split(
    train: Part,
    test: Option<Part>,
    width: usize,
    spec: &DatasetSpec,
) -> Result<(Part, Part, String), DatasetError> {
    let all = train.labels.len();
    let count = match spec.test_examples {
        None => {
            let Some(test) = test else {
                let none = Part { features: train.features.none(), labels: Vec::new() };
                let text = "no test split (dataset.test_examples=0.2 holds one out)".to_owned();
                return Ok((train, none, text));
            };
            let text = format!("{all} to train and {} to test", test.labels.len());
            return Ok((train, test, text));
        }
        Some(TestExamples::Share(share)) => (all as f64 * share).round() as usize,
        Some(TestExamples::Count(count)) => {
            let count = usize::try_from(count).ok().filter(|count| *count <= all);
            count.ok_or_else(|| {
                let expected =
                    format!("`test_examples` of at most {all}, the number of training examples");
                invalid(expected, spec.test_examples.map_or(String::new(), |it| it.to_string()))
            })?
        }
    };
    let classes = train.labels.iter().max().map_or(1, |label| label + 1);
    let (held_out, how) = match spec.split {
        SplitBy::Last => ((all - count..all).collect(), "at the end"),
        SplitBy::Stratified => {
            (stratified(&train.labels, classes, count, spec.split_seed), "by class")
        }
    };
    let mut is_held_out = vec![false; all];
    held_out.iter().for_each(|example: &usize| is_held_out[*example] = true);
    let kept: Vec<usize> = (0..all).filter(|example| !is_held_out[*example]).collect();
    let text = format!("split {}/{} {how}", kept.len(), held_out.len());
    Ok((train.rows(width, &kept), train.rows(width, &held_out), text))
}

impl Part {
    fn rows(&self, width: usize, examples: &[usize]) -> Self {
        let features = match &self.features {
            Features::U8(values) => Features::U8(rows(values, width, examples)),
            Features::F32(values) => Features::F32(rows(values, width, examples)),
        };
        Self { features, labels: rows(&self.labels, 1, examples) }
    }
}

/// The warning for features that are far from 0 to 1.
fn far(features: &Features, width: usize, scale: f32) -> Option<String> {
    let largest = largest(features, width, scale);
    (largest > FAR).then(|| {
        format!(
            "features reach {largest}, far from 0 to 1, and most models learn badly from them: set \
             dataset.normalise to \"standard\" or \"minmax\", or dataset.scale to what they are to \
             be divided by"
        )
    })
}

#[cfg(test)]
mod tests;
