//! Which split of the data a run without training uses, and what that is for people. Pure.

use common::dataset::Dataset;
use common::spec::{RunSpec, Split, TestExamples};

use super::exit::Failure;
use super::report::plural;

/// Who has chosen the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChosenBy {
    /// The spec of `run`.
    Spec,
    /// `--split`, or its default.
    Flag,
    /// Nobody: the test split, or all examples of data without one.
    Nobody,
}

/// Examples of both splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Splits {
    pub(super) train: u64,
    pub(super) test: u64,
}

impl Splits {
    pub(super) fn of(dataset: &Dataset) -> Self {
        Self { train: dataset.train.len(), test: dataset.test.len() }
    }

    fn get(self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// Sets the split of a spec, if nobody has chosen one, and checks that there is something to do.
    /// Returns what people are told.
    pub(super) fn choose(
        self,
        spec: &mut RunSpec,
        by: ChosenBy,
    ) -> Result<Option<String>, Failure> {
        self.check_held_out(spec)?;
        let source = &spec.dataset.source;
        let split = spec.evaluation.split;
        if spec.update_weights || self.get(split) > 0 {
            return Ok(None);
        }
        let other = other(split);
        let left = plural(self.get(other), "example");
        if by == ChosenBy::Nobody && self.get(other) > 0 {
            spec.evaluation.split = other;
            return Ok(Some(format!(
                "{source} has no {} split: all {left} are evaluated",
                name(split)
            )));
        }
        let has = match self.get(other) {
            0 => "there are none at all".to_owned(),
            _ => format!("{left} in the {} split", name(other)),
        };
        let way_out = match by {
            _ if self.get(other) == 0 => "name another dataset",
            ChosenBy::Spec => {
                "set `evaluation.split` to the other one, or `dataset.test_examples` to hold some out \
                 (0.2)"
            }
            ChosenBy::Flag | ChosenBy::Nobody if split == Split::Test => "add --split train",
            ChosenBy::Flag | ChosenBy::Nobody => "add --split test",
        };
        let wanted = name(split);
        let message = format!(
            "{source}: expected examples in the {wanted} split, found none, and {has}: {way_out}"
        );
        Err(Failure::bad_input(message))
    }

    /// Checks that `dataset.test_examples` holds out an example, unless it is 0.
    fn check_held_out(self, spec: &RunSpec) -> Result<(), Failure> {
        match spec.dataset.test_examples {
            // Predictions hold out nothing.
            Some(TestExamples::Share(share)) if share > 0.0 && self.test == 0 && !spec.predict => {
                let message = format!(
                    "spec field `dataset.test_examples`: expected a share that holds out an example \
                     of the {} of {}, found {share}: set a larger share, or a count such as 1",
                    self.train, spec.dataset.source
                );
                Err(Failure::bad_input(message))
            }
            _ => Ok(()),
        }
    }

    /// What was predicted, as a line.
    pub(super) fn predicted(self, split: Split) -> String {
        let examples = plural(self.get(split), "example");
        let (split, other) = (name(split), other(split));
        match self.get(other) {
            0 => format!("predicted {examples}\n"),
            left => {
                let flag = if other == Split::Train { "train" } else { "test" };
                format!(
                    "predicted {examples}, the {split} split; --split {flag} predicts the other {left}\n"
                )
            }
        }
    }
}

fn other(split: Split) -> Split {
    match split {
        Split::Train => Split::Test,
        Split::Test => Split::Train,
    }
}

fn name(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &str) -> RunSpec {
        let text = format!("model = \"mlp\"\ndataset.source = \"a.csv\"\n{more}\n");
        RunSpec::from_toml(&text).unwrap()
    }

    fn chosen(
        (train, test): (u64, u64),
        more: &str,
        by: ChosenBy,
    ) -> (Result<Option<String>, String>, Split) {
        let mut spec = spec(&format!("update_weights = false\n{more}"));
        let chosen = Splits { train, test }.choose(&mut spec, by);
        (chosen.map_err(|failure| format!("{failure:?}")), spec.evaluation.split)
    }

    #[test]
    fn without_a_choice_all_examples_stand_in_for_a_test_split() {
        assert_eq!(chosen((60, 5), "", ChosenBy::Nobody), (Ok(None), Split::Test));
        let (told, split) = chosen((60, 0), "", ChosenBy::Nobody);
        assert_eq!(split, Split::Train);
        let text = told.unwrap().expect("a sentence");
        assert_eq!(text, "a.csv has no test split: all 60 examples are evaluated");
    }

    #[test]
    fn a_split_that_was_chosen_has_examples() {
        for (by, splits, more, expected) in [
            (ChosenBy::Flag, (60, 0), "", "60 examples in the training split: add --split train"),
            (
                ChosenBy::Flag,
                (0, 1),
                "evaluation.split = 'train'",
                "1 example in the test split: add",
            ),
            (ChosenBy::Spec, (60, 0), "", "set `evaluation.split` to the other one"),
            (ChosenBy::Nobody, (0, 0), "", "none at all: name another dataset"),
        ] {
            let error = chosen(splits, more, by).0.unwrap_err();
            assert!(error.contains(expected) && error.contains("a.csv: expected"), "{error}");
        }
        let split = "evaluation.split = 'train'";
        assert_eq!(chosen((60, 0), split, ChosenBy::Flag), (Ok(None), Split::Train));
        // A run that trains need not evaluate.
        let splits = Splits { train: 60, test: 0 };
        assert_eq!(splits.choose(&mut spec("epochs = 1"), ChosenBy::Spec).unwrap(), None);
    }

    #[test]
    fn a_share_that_holds_out_nothing_is_told() {
        let choose = |share: &str, test| {
            let mut spec = spec(&format!("epochs = 1\ndataset.test_examples = {share}"));
            Splits { train: 60, test }.choose(&mut spec, ChosenBy::Spec)
        };
        let text = format!("{:?}", choose("0.001", 0).unwrap_err());
        assert!(text.contains("of the 60 of a.csv, found 0.001: set a larger share"), "{text}");
        assert!(choose("0.0", 0).is_ok() && choose("0", 0).is_ok() && choose("0.1", 6).is_ok());
    }

    #[test]
    fn a_prediction_says_what_it_left_out() {
        let both = Splits { train: 200, test: 50 };
        assert_eq!(
            both.predicted(Split::Train),
            "predicted 200 examples, the training split; --split test predicts the other 50\n"
        );
        assert!(both.predicted(Split::Test).ends_with("--split train predicts the other 200\n"));
        assert_eq!(Splits { test: 0, ..both }.predicted(Split::Train), "predicted 200 examples\n");
    }
}
