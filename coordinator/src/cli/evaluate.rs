//! `coordinator evaluate`: a run without training.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use common::model::Registry;
use common::spec::{RunSpec, Split};
use toml::{Table, Value};

use super::Program;
use super::cluster_flags::KeepFlags;
use super::exit::Failure;
use super::job::{self, Job};
use super::output::{JobOutcome, Output};
use super::progress::Progress;
use super::spec_flags::{apply_settings, set_model, set_source, to_spec};
use super::splits::ChosenBy;
use super::state_flags::{UseFlags, initial_state, refuse_known};

#[derive(Debug, Args)]
#[command(after_help = "\
A state that `run --output` wrote names its model and its dataset. Other states
need --model and --dataset.

Examples:
  coordinator evaluate final.safetensors --local 2
  coordinator evaluate final.safetensors --dataset idx:data/mnist --split train
  coordinator evaluate other.safetensors --model softmax --dataset csv:digits.csv --split train")]
pub(super) struct EvaluateFlags {
    #[command(flatten)]
    of: UseFlags,
    /// The examples: a file or folder, as `coordinator datasets` lists them
    /// [default: the dataset named in the file]
    #[arg(long, value_name = "SOURCE")]
    dataset: Option<String>,
    /// Which split to evaluate on [default: test, or all examples of another
    /// dataset without a test split]
    #[arg(long, value_enum)]
    split: Option<SplitFlag>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SplitFlag {
    /// The test examples
    Test,
    /// The training examples
    Train,
}

impl SplitFlag {
    /// Its name in a spec.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Train => "train",
        }
    }
}

/// Evaluates, and prints loss, accuracy and confusion matrix.
pub(super) fn evaluate(program: Program, flags: EvaluateFlags) -> Result<(), Failure> {
    let (state, made_by) = initial_state(&flags.of.state, &flags.of.map)?;
    refuse_known(&flags.of.set, state.trained_on.as_ref(), false)?;
    let spec = evaluation_spec(&program.registry, made_by.as_ref(), &flags)?;
    let split = chosen_by(&flags, &spec, made_by.as_ref());
    let job = Job {
        spec,
        base: PathBuf::new(),
        state: Some(state),
        split,
        home: Output::default(),
        keep: KeepFlags::default(),
        once: false,
        detach: false,
    };
    let mut progress = Progress::new(flags.of.json, true, false);
    let outcome = job::perform(program, job, &flags.of.cluster, &mut progress)?;
    if let JobOutcome::Finished { summary, .. } = outcome
        && !progress.is_json()
    {
        progress.print(&summary.to_evaluation_text());
    }
    progress.end()
}

/// The spec of a run that starts from a state and does not train: the spec in its file, if it has
/// one, with another model or dataset.
pub(super) fn table_of_state(
    flags: &UseFlags,
    made_by: Option<&RunSpec>,
    dataset: Option<&str>,
) -> Result<Table, Failure> {
    let mut table = match made_by {
        Some(spec) => spec.to_toml().parse::<Table>().map_err(Failure::failed)?,
        None => Table::new(),
    };
    if let Some(model) = &flags.model {
        set_model(&mut table, model);
    }
    if let Some(source) = dataset {
        set_source(&mut table, source);
    }
    for (field, flag) in [("model", "--model NAME"), ("dataset", "--dataset SOURCE")] {
        if !table.contains_key(field) {
            let file = flags.state.display();
            return Err(Failure::bad_input(format!(
                "{file} does not name its {field}: add {flag}"
            )));
        }
    }
    for key in ["epochs", "rounds", "evaluation", "predict"] {
        table.remove(key);
    }
    table.insert("update_weights".into(), Value::Boolean(false));
    Ok(table)
}

/// The spec for evaluating a state: the spec in its file, if it has one, with the flags
/// applied.
fn evaluation_spec(
    registry: &Registry,
    made_by: Option<&RunSpec>,
    flags: &EvaluateFlags,
) -> Result<RunSpec, Failure> {
    let mut table = table_of_state(&flags.of, made_by, flags.dataset.as_deref())?;
    let split = Value::from(flags.split.unwrap_or(SplitFlag::Test).name());
    let evaluation = Table::from_iter([("split".to_owned(), split)]);
    table.insert("evaluation".into(), evaluation.into());
    apply_settings(&mut table, &flags.of.set)?;
    registry.complete(&mut table);
    to_spec(&table)
}

/// Who has chosen the split. Of a state's own dataset, it is the test split unless a flag says
/// otherwise: the other examples are those that it has seen.
fn chosen_by(flags: &EvaluateFlags, spec: &RunSpec, made_by: Option<&RunSpec>) -> ChosenBy {
    let is_own = made_by.is_some_and(|made_by| made_by.dataset.source == spec.dataset.source);
    let is_set = spec.evaluation.split != Split::Test;
    if flags.split.is_some() || is_own || is_set { ChosenBy::Flag } else { ChosenBy::Nobody }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        flags: EvaluateFlags,
    }

    fn flags(more: &[&str]) -> EvaluateFlags {
        let args = ["evaluate", "state.safetensors"].iter().chain(more);
        Command::try_parse_from(args).unwrap().flags
    }

    #[test]
    fn the_file_says_model_and_data_and_flags_differ() {
        let text = "model = \"mlp\"\nepochs = 3\nparameters = {momentum = 0.5}\n\
                    dataset = {source = \"digits\"}\nevaluation = {every = 2}\n";
        let made_by = RunSpec::from_toml(text).unwrap();
        let spec = evaluation_spec(&Registry::standard(), Some(&made_by), &flags(&[])).unwrap();
        assert_eq!((spec.update_weights, spec.epochs, spec.rounds), (false, None, None));
        assert_eq!((spec.evaluation.split, spec.evaluation.every), (Split::Test, 0));
        assert_eq!(spec.parameters["momentum"].as_float(), Some(0.5));
        let other = flags(&["--dataset", "csv:x.csv", "--split", "train"]);
        let spec = evaluation_spec(&Registry::standard(), Some(&made_by), &other).unwrap();
        assert_eq!(spec.dataset.source, "csv:x.csv");
        assert_eq!(spec.evaluation.split, Split::Train);
    }

    #[test]
    fn the_split_of_other_data_is_chosen_by_what_it_has() {
        let text = "model = \"mlp\"\nepochs = 3\ndataset = {source = \"a.csv\"}\n";
        let made_by = RunSpec::from_toml(text).unwrap();
        for (more, made_by, expected) in [
            (&[][..], Some(&made_by), ChosenBy::Flag),
            (&["--dataset", "a.csv"], Some(&made_by), ChosenBy::Flag),
            (&["--dataset", "b.csv"], Some(&made_by), ChosenBy::Nobody),
            (&["--dataset", "b.csv", "--split", "test"], Some(&made_by), ChosenBy::Flag),
            (&["--dataset", "a.csv", "--model", "mlp"], None, ChosenBy::Nobody),
        ] {
            let flags = flags(more);
            let spec = evaluation_spec(&Registry::standard(), made_by, &flags).unwrap();
            assert_eq!(chosen_by(&flags, &spec, made_by), expected, "{more:?}");
        }
    }

    #[test]
    fn a_model_may_have_its_own_values_for_an_evaluation() {
        let mut registry = Registry::standard();
        let defaults = |table: &mut Table| {
            assert_eq!(table["update_weights"].as_bool(), Some(false));
            let evaluation = table["evaluation"].as_table_mut().unwrap();
            evaluation.insert("labelling".into(), true.into());
            evaluation.insert("split".into(), "train".into());
            table.insert("epochs".into(), 3.into());
        };
        let never = |_: &Table, _, _| Err(common::model::ModelError::Other("no model".into()));
        registry.register_with_defaults("own", "for tests", defaults, never);
        let flags = flags(&["--model", "own", "--dataset", "digits"]);
        let spec = evaluation_spec(&registry, None, &flags).unwrap();
        let evaluation = &spec.evaluation;
        assert_eq!(
            (evaluation.split, evaluation.labelling, spec.epochs),
            (Split::Test, true, None)
        );
    }

    #[test]
    fn a_file_that_says_nothing_needs_flags() {
        assert!(evaluation_spec(&Registry::standard(), None, &flags(&["--model", "mlp"])).is_err());
        assert!(
            evaluation_spec(&Registry::standard(), None, &flags(&["--dataset", "digits"])).is_err()
        );
        let both = flags(&["--model", "softmax", "--dataset", "digits"]);
        assert_eq!(evaluation_spec(&Registry::standard(), None, &both).unwrap().model, "softmax");
    }
}
