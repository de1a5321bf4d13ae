//! The names that arrays of features and labels may have, as files of a folder or as members
//! of an archive. An array of features and one of labels with names from different lines of
//! the table are never mixed. Arrays of other names, as `x_val`, are not read.

use super::Reading;
use crate::spec::TargetKind;

/// Names of the arrays of a dataset.
struct Names {
    features: &'static str,
    labels: &'static str,
    test_features: &'static str,
    test_labels: &'static str,
}

/// All known names, the preferred ones first.
///
/// | features       | labels         | test features   | test labels   |
/// |----------------|----------------|-----------------|---------------|
/// | train_features | train_labels   | test_features   | test_labels   |
/// | x_train        | y_train        | x_test          | y_test        |
/// | X_train        | y_train        | X_test          | y_test        |
/// | X_train        | Y_train        | X_test          | Y_test        |
/// | train_images   | train_labels   | test_images     | test_labels   |
/// | train_data     | train_labels   | test_data       | test_labels   |
/// | train_x        | train_y        | test_x          | test_y        |
/// | train_X        | train_y        | test_X          | test_y        |
/// | trainX         | trainY         | testX           | testY         |
/// | features       | labels         | test_features   | test_labels   |
/// | train_features | train_targets  | test_features   | test_targets  |
/// | features       | targets        | test_features   | test_targets  |
/// | features       | label          | test_features   | test_label    |
/// | X              | y              | X_test          | y_test        |
/// | x              | y              | x_test          | y_test        |
/// | X              | Y              | X_test          | Y_test        |
/// | data           | target         | test_data       | test_target   |
/// | data           | labels         | test_data       | test_labels   |
/// | data           | label          | test_data       | test_label    |
/// | images         | labels         | test_images     | test_labels   |
/// | image          | label          | test_image      | test_label    |
const NAMES: [Names; 21] = [
    names("train_features", "train_labels", "test_features", "test_labels"),
    names("x_train", "y_train", "x_test", "y_test"),
    names("X_train", "y_train", "X_test", "y_test"),
    names("X_train", "Y_train", "X_test", "Y_test"),
    names("train_images", "train_labels", "test_images", "test_labels"),
    names("train_data", "train_labels", "test_data", "test_labels"),
    names("train_x", "train_y", "test_x", "test_y"),
    names("train_X", "train_y", "test_X", "test_y"),
    names("trainX", "trainY", "testX", "testY"),
    names("features", "labels", "test_features", "test_labels"),
    names("train_features", "train_targets", "test_features", "test_targets"),
    names("features", "targets", "test_features", "test_targets"),
    names("features", "label", "test_features", "test_label"),
    names("X", "y", "X_test", "y_test"),
    names("x", "y", "x_test", "y_test"),
    names("X", "Y", "X_test", "Y_test"),
    names("data", "target", "test_data", "test_target"),
    names("data", "labels", "test_data", "test_labels"),
    names("data", "label", "test_data", "test_label"),
    names("images", "labels", "test_images", "test_labels"),
    names("image", "label", "test_image", "test_label"),
];

const fn names(
    features: &'static str,
    labels: &'static str,
    test_features: &'static str,
    test_labels: &'static str,
) -> Names {
    Names { features, labels, test_features, test_labels }
}

/// The name of an array of features, and of the labels if there are any.
pub(super) type Pair = (&'static str, Option<&'static str>);

/// The arrays to load.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) train: Pair,
    pub(super) test: Option<Pair>,
}

/// Why none can be chosen: what was expected, and a remark about what was found.
#[derive(Debug, PartialEq)]
pub(super) struct NoChoice {
    pub(super) expected: String,
    pub(super) remark: String,
}

/// Whether this is a name of labels.
pub(super) fn is_labels(name: &str) -> bool {
    NAMES.iter().any(|names| names.labels == name || names.test_labels == name)
}

/// Whether an array of this name may be read: labels are passed over if there are no targets.
fn may_be(name: &str, targets: TargetKind) -> bool {
    targets != TargetKind::None || !is_labels(name)
}

/// Chooses arrays among those which `has` knows.
pub(super) fn choose(reading: Reading, has: impl Fn(&str) -> bool) -> Result<Chosen, NoChoice> {
    let has = |name: &str| may_be(name, reading.targets) && has(name);
    let chosen = chosen(has);
    match test_alone(has).filter(|_| chosen.is_err() && !reading.to_train) {
        Some(train) => Ok(Chosen { train, test: None }),
        None => chosen,
    }
}

/// The arrays of a test split that is all there is.
fn test_alone(has: impl Fn(&str) -> bool) -> Option<Pair> {
    let has_training = NAMES.iter().any(|names| has(names.features));
    let labeled = NAMES.iter().any(|names| has(names.test_labels));
    let fits = |names: &&Names| has(names.test_features) && labeled == has(names.test_labels);
    let names = NAMES.iter().find(fits).filter(|_| !has_training)?;
    Some((names.test_features, labeled.then_some(names.test_labels)))
}

fn chosen(has: impl Fn(&str) -> bool) -> Result<Chosen, NoChoice> {
    let labeled = NAMES.iter().any(|names| has(names.labels) || has(names.test_labels));
    let complete = |names: &&Names| has(names.features) && has(names.labels);
    let alone = |names: &&Names| !labeled && has(names.features);
    let Some(names) = NAMES.iter().find(complete).or_else(|| NAMES.iter().find(alone)) else {
        return Err(nothing_fits(&has));
    };
    let label = |name| has(name).then_some(name);
    let test = match (has(names.test_features), has(names.test_labels)) {
        (true, labels) if labels || !labeled => {
            Some((names.test_features, label(names.test_labels)))
        }
        (true, _) => return Err(half(names.test_features, names.test_labels)),
        // Another line may have features for these labels: they are then left alone with it.
        (false, true) if !other_features(names.test_labels, &has) => {
            return Err(half(names.test_labels, names.test_features));
        }
        (false, _) => match orphan(&has) {
            Some(other) => return Err(stray(names, other)),
            None => None,
        },
    };
    Ok(Chosen { train: (names.features, label(names.labels)), test })
}

/// Whether test features are there that belong to these test labels.
fn other_features(test_labels: &str, has: impl Fn(&str) -> bool) -> bool {
    NAMES.iter().any(|names| names.test_labels == test_labels && has(names.test_features))
}

/// Test features without the features for training that belong to them.
fn orphan(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let tests = NAMES.iter().map(|names| names.test_features).filter(|name| has(name));
    let mut orphans = tests.filter(|test| {
        let mut owners = NAMES.iter().filter(|names| names.test_features == *test);
        !owners.any(|names| has(names.features))
    });
    orphans.next()
}

fn stray(names: &Names, other: &str) -> NoChoice {
    let (features, test) = (names.features, names.test_features);
    let expected = format!("{test} as the test split of {features}");
    NoChoice { expected, remark: format!("rename or remove {other}") }
}

fn half(name: &str, lacks: &str) -> NoChoice {
    NoChoice {
        expected: format!("{lacks} beside {name}"),
        remark: format!("add it, or rename or remove {name}"),
    }
}

fn nothing_fits(has: impl Fn(&str) -> bool) -> NoChoice {
    let halves = NAMES.iter().map(|names| (names.features, names.labels));
    if let Some((features, labels)) = halves.clone().find(|(features, _)| has(features)) {
        return half(features, labels);
    }
    let pairs: Vec<String> =
        halves.map(|(features, labels)| format!("{features}/{labels}")).collect();
    NoChoice {
        expected: format!("features and labels under one of the names {}", pairs.join(", ")),
        remark: "rename the arrays".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Chosen, NoChoice> {
        choose(Reading { targets: TargetKind::Class, to_train: true }, |name| names.contains(&name))
    }

    #[test]
    fn a_test_split_alone_is_data_that_nothing_is_trained_on() {
        let cases: [(&[&str], Option<Pair>); 5] = [
            (&["x_test", "y_test"], Some(("x_test", Some("y_test")))),
            (&["X_test"], Some(("X_test", None))),
            (&["test_images", "test_labels"], Some(("test_images", Some("test_labels")))),
            (&["x_test", "test_labels"], None),
            (&["x_train", "x_test", "y_test"], None),
        ];
        for (names, train) in cases {
            assert!(chosen(names).is_err(), "{names:?}");
            let reading = Reading { targets: TargetKind::Class, to_train: false };
            let found = choose(reading, |name| names.contains(&name)).ok();
            assert_eq!(found, train.map(|train| Chosen { train, test: None }), "{names:?}");
        }
    }

    #[test]
    fn pairs_of_one_line() {
        let cases: [(&[&str], Pair, Option<Pair>); 7] = [
            (&["X", "y"], ("X", Some("y")), None),
            (&["X"], ("X", None), None),
            (&["data", "labels"], ("data", Some("labels")), None),
            (
                &["X_train", "y_train", "X_test", "y_test", "X_val", "y_val"],
                ("X_train", Some("y_train")),
                Some(("X_test", Some("y_test"))),
            ),
            (
                &["train_images", "train_labels", "test_images", "test_labels"],
                ("train_images", Some("train_labels")),
                Some(("test_images", Some("test_labels"))),
            ),
            // The first line of the table, and its test split only.
            (
                &["X_train", "y_train", "X_test", "y_test", "train_features", "train_labels"],
                ("train_features", Some("train_labels")),
                None,
            ),
            (&["x_train", "x_test"], ("x_train", None), Some(("x_test", None))),
        ];
        for (names, train, test) in cases {
            assert_eq!(chosen(names), Ok(Chosen { train, test }), "{names:?}");
        }
    }

    #[test]
    fn errors_say_what_is_missing() {
        let cases: [(&[&str], &str, &str); 7] = [
            (&["X_train", "labels"], "y_train beside X_train", "rename or remove X_train"),
            (&["train_features", "y_train"], "train_labels beside train_features", "add it"),
            (&["x_train", "y_train", "x_test"], "y_test beside x_test", "remove x_test"),
            (&["x_train", "y_train", "y_test"], "x_test beside y_test", "remove y_test"),
            (&["x_train", "y_train", "test_images"], "x_test as the test split", "test_images"),
            (&["arr_0", "arr_1"], "names train_features/train_labels, x_train/y_train", "rename"),
            (&["y_train"], "features and labels", "rename"),
        ];
        for (names, expected, remark) in cases {
            let error = chosen(names).unwrap_err();
            assert!(error.expected.contains(expected), "{names:?}: {error:?}");
            assert!(error.remark.contains(remark), "{names:?}: {error:?}");
        }
    }

    #[test]
    fn the_first_lines_win() {
        let mut lines: Vec<_> = NAMES.iter().map(|n| (n.features, n.labels)).collect();
        lines.dedup();
        assert_eq!(lines.len(), NAMES.len());
    }
}
