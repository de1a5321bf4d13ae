//! [`Schema`]: what a client has understood of its files. It is kept with a run and its final
//! state, so that later files are read in the same way, and classes have their names.

use serde::{Deserialize, Serialize};

use super::columns::{Column, Role};
use super::error::{DatasetError, invalid};
use super::manifest::values;
use super::normalise::Normalisation;
use super::sentence::{counted, listed};
use super::targets::TargetType;
use crate::digest::Digest;
use crate::limits;
use crate::spec::{DatasetSpec, TargetKind};

/// Names of classes in the line about a dataset.
const LISTED: usize = 5;

/// What a dataset's values mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// A line that says what the files were taken for.
    pub understood: String,
    /// What may be wrong with them, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The shape of one example, as `[28, 28]`.
    pub shape: Vec<u32>,
    /// The divisor of feature values, before they are scaled by what the training examples have.
    pub scale: f32,
    /// What each example has as its target.
    pub targets: TargetType,
    /// Names of the classes 0, 1, …; empty if the labels are these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The columns of a table, in the order of its files; empty for other sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) columns: Vec<Column>,
    /// Whether the numbers of a table have a comma for the point.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) decimal_commas: bool,
    /// How features were scaled, by what the training examples have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) normalisation: Option<Normalisation>,
    /// What the examples are that a state was trained on; `None` before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataDigests>,
}

/// Digests of both splits ([`SplitManifest::digest`](super::SplitManifest::digest)): they tell a
/// run's data from other data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDigests {
    /// Of the training split.
    pub train: Digest,
    /// Of the test split.
    pub test: Digest,
}

impl Schema {
    /// The schema as JSON. Equal schemas make equal texts.
    ///
    /// # Errors
    /// It is longer than [`limits::SCHEMA_BYTES`].
    pub fn to_json(&self) -> Result<String, DatasetError> {
        // This cannot fail: there are no maps with keys that are no texts.
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.len() > limits::SCHEMA_BYTES {
            let advice = match (&self.normalisation, self.columns.is_empty()) {
                (Some(_), _) => "without `dataset.normalise` they take less",
                (None, false) => "shorten the names of the columns, or give arrays (npy)",
                (None, true) => "give labels that are numbers from 0, without names",
            };
            let expected = format!(
                "names of columns and classes, and scales, of at most {} bytes as JSON: {advice}",
                limits::SCHEMA_BYTES
            );
            return Err(invalid(expected, text.len()));
        }
        Ok(text)
    }

    /// Reads what [`Schema::to_json`] has written, perhaps by another program.
    ///
    /// # Errors
    /// The text is too long, is no schema, or its parts contradict each other.
    pub fn from_json(text: &str) -> Result<Self, DatasetError> {
        if text.len() > limits::SCHEMA_BYTES {
            let expected = format!("a schema of at most {} bytes", limits::SCHEMA_BYTES);
            return Err(invalid(expected, text.len()));
        }
        let schema: Self =
            serde_json::from_str(text).map_err(|error| invalid("a schema in JSON", error))?;
        schema.check()?;
        Ok(schema)
    }

    fn check(&self) -> Result<(), DatasetError> {
        self.targets.check()?;
        let (names, targets) = (self.classes.len(), self.targets);
        if names > 0 && targets != TargetType::Classes(names as u32) {
            let expected = format!("a name for each class or for none, as there are {targets}");
            return Err(invalid(expected, format!("{names} names")));
        }
        let columns = self.columns.iter().filter(|column| column.role == Role::Target).count();
        if columns > 0 && targets != TargetType::Vector(columns as u32) {
            let expected = format!("columns of the targets, as there are {targets}");
            return Err(invalid(expected, format!("{columns} columns")));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(invalid("a finite scale above 0", self.scale));
        }
        let width = self.width();
        if !(1..=u64::from(limits::FEATURES)).contains(&width) {
            return Err(invalid(format!("1 to {} features", limits::FEATURES), width));
        }
        let columns: u64 = self.columns.iter().map(|column| column.width() as u64).sum();
        if !self.columns.is_empty() && columns != width {
            return Err(invalid(format!("columns of {width} features"), columns));
        }
        for column in &self.columns {
            column.check()?;
        }
        self.normalisation.as_ref().map_or(Ok(()), |it| it.check(width))
    }

    /// A sentence about each way in which other data means something else than this, on which a state
    /// was trained: other columns, other names of classes, other scales.
    pub fn differences(&self, here: &Self) -> Vec<String> {
        let features = |schema: &Self| {
            let columns = schema.columns.iter().filter(|column| column.width() > 0);
            columns.cloned().collect::<Vec<_>>()
        };
        let (were, are) = (features(self), features(here));
        let mut pairs = were.iter().zip(&are).enumerate();
        let mut all = Vec::new();
        if let Some((at, (was, is))) = pairs.clone().find(|(_, (was, is))| was.name != is.name) {
            all.push(format!(
                "the columns of this data are not those that the state was trained on: column {} of \
                 features is `{}` here and was `{}`",
                at + 1,
                is.name,
                was.name
            ));
        } else if let Some((at, (was, _))) = pairs.find(|(_, (was, is))| was.texts() != is.texts())
        {
            all.push(format!(
                "the texts in {} of this data are not those that the state was trained on, and become \
                 other features",
                was.title(at)
            ));
        }
        if let (TargetType::Classes(before), TargetType::Classes(now)) =
            (self.targets, here.targets)
            && let Some(class) =
                (0..before.min(now)).find(|class| self.class(*class) != here.class(*class))
        {
            all.push(format!(
                "the classes of this data have other names than those that the state was trained on: \
                 class {class} is `{}` here and was `{}`; what the state has learnt of it counts for \
                 the new one",
                here.class(class),
                self.class(class)
            ));
        }
        if (self.scale, &self.normalisation) != (here.scale, &here.normalisation) {
            all.push(
                "the features of this data are scaled by other values than those that the state was \
                 trained on (dataset.scale, dataset.normalise)"
                    .into(),
            );
        }
        all
    }

    /// Features of one example.
    pub fn width(&self) -> u64 {
        values(&self.shape)
    }

    /// The names of the numbers of a target; empty if they have none.
    pub fn target_names(&self) -> Vec<String> {
        let targets = self.columns.iter().enumerate();
        let targets = targets.filter(|(_, column)| column.role == Role::Target);
        targets
            .map(|(at, column)| match column.name.as_str() {
                "" => column.title(at),
                name => name.to_owned(),
            })
            .collect()
    }

    /// The name of a class.
    pub fn class(&self, class: u32) -> String {
        self.classes.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// What targets the data has: those of the data that a state was trained on, or else the spec's.
pub(super) fn target_kind(spec: &DatasetSpec, known: Option<&Schema>) -> TargetKind {
    match known.map(|known| known.targets) {
        None => spec.targets,
        Some(TargetType::None) => TargetKind::None,
        Some(TargetType::Classes(_)) => TargetKind::Class,
        Some(TargetType::Vector(_)) => TargetKind::Vector,
    }
}

/// The parts of the line about a dataset.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) examples: u64,
    pub(super) shape: &'a [u32],
    /// The column of the label or of the target, and why it is that one, as `last column; `.
    pub(super) label: Option<(String, &'static str)>,
    pub(super) names: &'a [String],
    pub(super) targets: TargetType,
    /// What became of the examples.
    pub(super) split: String,
    pub(super) notes: &'a [String],
}

impl Line<'_> {
    pub(super) fn text(&self) -> String {
        let shape = match self.shape {
            [width] => counted((*width).into(), "feature"),
            axes => {
                let axes: Vec<String> = axes.iter().map(u32::to_string).collect();
                format!("{} features", axes.join(" × "))
            }
        };
        let classes = match self.names {
            [] => self.targets.to_string(),
            names => listed(names, LISTED),
        };
        let label = match (self.targets, &self.label) {
            (TargetType::None, _) => "no labels".to_owned(),
            (TargetType::Classes(_), Some((title, why))) => {
                format!("label {title} ({why}{classes})")
            }
            (TargetType::Classes(_), None) => classes,
            (TargetType::Vector(1), Some((title, why))) => format!("target {title} ({why}number)"),
            (TargetType::Vector(_), Some((title, why))) => {
                format!("targets {title} ({why}numbers)")
            }
            (TargetType::Vector(1), None) => "a number as target".to_owned(),
            (TargetType::Vector(width), None) => format!("{width} numbers as target"),
        };
        let notes: String = self.notes.iter().map(|note| format!("; {note}")).collect();
        let examples = counted(self.examples, "example");
        format!("{}: {examples}, {shape}, {label}, {}{notes}", self.name, self.split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::columns::Role;

    #[test]
    fn a_schema_is_read_as_it_was_written() {
        let number = Column { name: "x".into(), role: Role::Number { missing: Some(0.1) } };
        let values = vec!["a".to_owned(), "b".to_owned()];
        let text = Column { name: "t".into(), role: Role::Categories { values, missing: None } };
        let label = Column { name: String::new(), role: Role::Label };
        let schema = Schema {
            understood: "x.csv: 3 examples".into(),
            warnings: vec!["far".into()],
            shape: vec![3],
            scale: 1.5,
            targets: TargetType::Classes(2),
            classes: vec!["no".into(), "yes".into()],
            columns: vec![number, text, label],
            decimal_commas: true,
            normalisation: Some(Normalisation {
                shift: vec![0.1, -1e300, 0.0],
                range: vec![1.0, 1e-300, 2.5],
            }),
            data: Some(DataDigests { train: Digest::of(b"train"), test: Digest::of(b"test") }),
        };
        let text = schema.to_json().unwrap();
        assert_eq!(Schema::from_json(&text).unwrap(), schema);
        assert_eq!((schema.class(1), schema.class(7)), ("yes".into(), "7".into()));
        for (from, to) in [
            ("\"shape\":[3]", "\"shape\":[4]"),
            ("\"shape\":[3]", "\"shape\":[]"),
            ("\"shape\":[3]", "\"shape\":[4294967295,4294967295]"),
            ("{\"understood", "{\"other\":1,\"understood"),
            ("\"range\"", "\"rang\""),
            ("{\"classes\":2}", "{\"classes\":3}"),
            ("{\"classes\":2}", "\"none\""),
            ("\"label\"", "\"target\""),
            ("\"scale\":1.5", "\"scale\":0.0"),
        ] {
            assert!(Schema::from_json(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn data_of_another_meaning_is_told() {
        let schema = |columns: &str, classes: &str, scale: f32| {
            let (features, count) =
                (columns.matches(',').count() + 1, classes.matches(',').count() + 1);
            let json = format!(
                r#"{{"understood":"","shape":[{features}],"scale":{scale:?},"targets":{{"classes":{count}}},"classes":[{classes}],"columns":[{columns}]}}"#
            );
            Schema::from_json(&json).unwrap()
        };
        let trained = schema(r#""x","y""#, r#""a","b","c""#, 1.0);
        assert_eq!(trained.differences(&trained), [""; 0]);
        // The data lacks the last class, or has one more.
        let fewer = schema(r#""x","y""#, r#""a","b""#, 1.0);
        assert_eq!((trained.differences(&fewer), fewer.differences(&trained)), (vec![], vec![]));
        let other = schema(r#""y","x""#, r#""a","c""#, 255.0);
        let found = trained.differences(&other).join("\n");
        assert!(found.contains("column 1 of features is `y` here and was `x`"), "{found}");
        assert!(found.contains("class 1 is `c` here and was `b`"), "{found}");
        assert!(found.contains("scaled by other values"), "{found}");
        let mut numbers = trained.clone();
        numbers.classes.clear();
        let found = trained.differences(&numbers).join("\n");
        assert!(found.contains("class 0 is `0` here and was `a`"), "{found}");
        let texts = |text: &str| {
            let column = Column {
                name: "t".into(),
                role: Role::Categories { values: vec![text.into()], missing: None },
            };
            Schema { columns: vec![column], ..schema(r#""x""#, r#""a","b""#, 1.0) }
        };
        let (blue, green) = (texts("blue"), texts("green"));
        assert_eq!(blue.differences(&blue), [""; 0]);
        let found = blue.differences(&green).join("\n");
        assert!(found.starts_with("the texts in \"t\" of this data"), "{found}");
    }

    #[test]
    fn a_line_says_all() {
        let names = ["setosa", "versicolor", "virginica"].map(str::to_owned);
        let line = Line {
            name: "iris.csv",
            examples: 150,
            shape: &[4],
            label: Some(("\"species\"".into(), "last column; ")),
            names: &names,
            targets: TargetType::Classes(3),
            split: "split 120/30 by class".into(),
            notes: &["\"id\" counts the examples and is left out".into()],
        };
        assert_eq!(
            line.text(),
            "iris.csv: 150 examples, 4 features, label \"species\" (last column; setosa, \
             versicolor, virginica), split 120/30 by class; \"id\" counts the examples and is \
             left out"
        );
        let chosen = Line { label: Some(("\"species\"".into(), "")), ..line };
        assert!(chosen.text().contains("label \"species\" (setosa, versicolor, virginica), "));
        let targets = TargetType::Classes(10);
        let line =
            Line { label: None, names: &[], shape: &[28, 28], targets, notes: &[], ..chosen };
        assert_eq!(
            line.text(),
            "iris.csv: 150 examples, 28 × 28 features, 10 classes, split 120/30 by class"
        );
        for (targets, title, expected) in [
            (TargetType::None, None, "no labels"),
            (TargetType::Vector(1), Some("\"price\""), "target \"price\" (number)"),
            (TargetType::Vector(2), Some("\"x\", \"y\""), "targets \"x\", \"y\" (numbers)"),
            (TargetType::Vector(3), None, "3 numbers as target"),
        ] {
            let label = title.map(|title| (title.to_owned(), ""));
            let line = Line { label, targets, split: "no test split".into(), ..line };
            let expected = format!("iris.csv: 150 examples, 28 × 28 features, {expected}, no test");
            assert!(line.text().starts_with(&expected), "{}", line.text());
        }
    }
}
