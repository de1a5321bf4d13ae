//! Arrays in memory, as a program has them that loads its data itself.

use std::path::PathBuf;
use std::sync::Arc;

use super::Found;
use super::array::not_finite;
use crate::dataset::error::{DatasetError, invalid};
use crate::dataset::features::Features;
use crate::dataset::raw::{Places, Raw, RawLabels};
use crate::limits;
use crate::spec::{DatasetSpec, TargetKind};

/// Where the examples of a dataset come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The source that the spec names. Relative paths are those of this folder.
    Files(PathBuf),
    /// Arrays, whatever the spec names.
    Arrays(Arc<Arrays>),
}

/// A dataset in memory.
#[derive(Clone, Debug)]
pub struct Arrays {
    /// The training split.
    pub train: SplitArrays,
    /// The test split, if there is one.
    pub test: Option<SplitArrays>,
}

/// One split in memory.
#[derive(Clone, Debug)]
pub struct SplitArrays {
    /// The name of the features in errors.
    pub name: String,
    /// The features, `[examples, features]`, row by row.
    pub features: Features,
    /// The shape of one example, as `[28, 28]`; at least one number.
    pub shape: Vec<u32>,
    /// The name of the targets in errors.
    pub target_name: String,
    /// The targets, one for each example.
    pub targets: ArrayTargets,
}

/// The targets of a split in memory.
#[derive(Clone, Debug)]
pub enum ArrayTargets {
    /// There are none.
    None,
    /// Labels that are numbers.
    Numbers(Vec<f64>),
    /// Labels that are texts.
    Texts(Vec<String>),
    /// Numbers that a model learns to predict, `[examples, width]`, row by row.
    Vectors {
        /// The numbers.
        values: Vec<f32>,
        /// How many there are for each example.
        width: u32,
    },
}

/// What arrays have, as a source.
pub(in crate::dataset) fn read(arrays: &Arrays, spec: &DatasetSpec) -> Result<Found, DatasetError> {
    if let Some(source) = &spec.test_source {
        let expected = "no `test_source`, as the examples are arrays: give the test examples as \
                        arrays, too";
        return Err(invalid(expected, source));
    }
    let mut train = raw(&arrays.train, spec.targets)?;
    let mut test = arrays.test.as_ref().map(|test| raw(test, spec.targets)).transpose()?;
    if let Some(test) = &mut test
        && test.features.element() != train.features.element()
    {
        // As of files: if one split is not of bytes, neither is the other.
        for raw in [&mut train, test] {
            let features = std::mem::replace(&mut raw.features, Features::F32(Vec::new()));
            raw.features = Features::F32(features.into_floats());
        }
    }
    Ok(Found::of_arrays(train, test, spec.source.clone()))
}

/// Checks one split.
fn raw(split: &SplitArrays, kind: TargetKind) -> Result<Raw, DatasetError> {
    let SplitArrays { name, features, shape, target_name, targets } = split;
    let width = shape.iter().try_fold(1_u64, |all, axis| all.checked_mul(u64::from(*axis)));
    let width = width.filter(|width| (1..=u64::from(limits::FEATURES)).contains(width));
    let Some(width) = width.filter(|_| !shape.is_empty()) else {
        let expected = format!("{name}: examples of 1 to {} features", limits::FEATURES);
        return Err(invalid(expected, format!("examples of shape {shape:?}")));
    };
    let width = width as usize;
    let examples = features.len() / width;
    if examples == 0 || examples * width != features.len() {
        let expected = format!("{name}: examples of {width} features each");
        return Err(invalid(expected, format!("{} values", features.len())));
    }
    if let Some((at, value)) = features.first_not(width, f32::is_finite) {
        let place = format!("example {}, feature {}", at / width, at % width);
        return Err(wrong(name, place, not_finite(f64::from(value), "features")));
    }
    let labels = match targets {
        _ if kind == TargetKind::None => RawLabels::None,
        ArrayTargets::None => RawLabels::None,
        ArrayTargets::Texts(texts) => RawLabels::Texts(texts.iter().collect()),
        ArrayTargets::Numbers(values) => {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let found = not_finite(values[at], "labels");
                return Err(wrong(target_name, format!("example {at}"), found));
            }
            RawLabels::Numbers(values.clone())
        }
        ArrayTargets::Vectors { values, width } => {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let place = format!("example {}", at / (*width).max(1) as usize);
                return Err(wrong(
                    target_name,
                    place,
                    not_finite(f64::from(values[at]), "targets"),
                ));
            }
            RawLabels::Vectors { values: values.clone(), width: *width }
        }
    };
    let found = match targets {
        ArrayTargets::None => examples,
        ArrayTargets::Numbers(values) => values.len(),
        ArrayTargets::Texts(texts) => texts.len(),
        ArrayTargets::Vectors { values, width } => values.len() / (*width).max(1) as usize,
    };
    if found != examples {
        let expected = format!("{target_name}: {examples} of them, one for each example");
        return Err(invalid(expected, found));
    }
    Ok(Raw {
        features: features.clone(),
        shape: shape.clone(),
        labels,
        label_file: target_name.clone(),
        places: Places::Rows((0..examples as u64).collect()),
    })
}

/// The error for a value.
fn wrong(name: &str, place: String, found: String) -> DatasetError {
    DatasetError::Content { path: name.into(), place, expected: "a finite number".into(), found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, load_from};

    fn split(values: &[f32], targets: ArrayTargets) -> SplitArrays {
        SplitArrays {
            name: "examples".into(),
            features: Features::F32(values.to_vec()),
            shape: vec![2],
            target_name: "labels".into(),
            targets,
        }
    }

    fn load(spec: &DatasetSpec, train: SplitArrays) -> Result<Dataset, DatasetError> {
        let origin = Origin::Arrays(Arc::new(Arrays { train, test: None }));
        Ok(load_from(spec, &origin, None, true)?.0)
    }

    #[test]
    fn arrays_are_what_the_same_values_in_files_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "0.5,1.5,b\n2.5,3.5,a\n4.5,5.5,b\n6.5,7.5,a\n").unwrap();
        let mut spec = DatasetSpec::new(format!("csv:{}", path.display()));
        spec.test_examples = Some(crate::spec::TestExamples::Count(2));
        spec.normalise = crate::spec::Normalise::Standard;
        let named = DatasetSpec { label: Some("last".into()), ..spec.clone() };
        let of_file = Dataset::load(&named).unwrap();
        let labels = ["b", "a", "b", "a"].map(str::to_owned).to_vec();
        let values = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5];
        let of_arrays = load(&spec, split(&values, ArrayTargets::Texts(labels))).unwrap();
        assert_eq!(of_arrays, of_file);
    }

    #[test]
    fn splits_of_two_types_become_one() {
        let mut train = split(&[1.0, 2.0], ArrayTargets::Numbers(vec![0.0]));
        let test = Some(train.clone());
        train.features = Features::U8(vec![1, 2]);
        let origin = Origin::Arrays(Arc::new(Arrays { train, test }));
        let (loaded, _) = load_from(&DatasetSpec::new("arrays"), &origin, None, true).unwrap();
        assert_eq!(loaded.train.size().examples, 1);
        assert_eq!(loaded.train.manifest().digest(), loaded.test.manifest().digest());
    }

    #[test]
    fn errors_name_the_example() {
        let spec = DatasetSpec::new("arrays");
        let numbers = |values: &[f64]| ArrayTargets::Numbers(values.to_vec());
        for (values, targets, expected) in [
            (&[0.0, f32::NAN][..], numbers(&[0.0]), "examples, example 0, feature 1"),
            (&[0.0, 1.0], numbers(&[f64::INFINITY]), "labels, example 0"),
            (&[0.0, 1.0], numbers(&[0.0, 1.0]), "labels: 1 of them, one for each example"),
            (&[0.0, 1.0, 2.0], numbers(&[0.0]), "examples of 2 features each"),
            (&[], numbers(&[]), "found 0 values"),
        ] {
            let error = load(&spec, split(values, targets)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
