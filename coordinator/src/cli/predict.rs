//! `coordinator predict`: the class and the scores of each example.

use std::path::PathBuf;

use clap::Args;
use common::model::Registry;
use common::spec::{RunSpec, Split};
use toml::{Table, Value};

use super::Program;
use super::cluster_flags::KeepFlags;
use super::evaluate::{SplitFlag, table_of_state};
use super::exit::Failure;
use super::job::{self, Job};
use super::output::{Brought, JobOutcome, Output};
use super::progress::Progress;
use super::spec_flags::{apply_settings, to_spec};
use super::splits::ChosenBy;
use super::state_flags::{UseFlags, initial_state, refuse_known};
use super::summary::Summary;
use super::visible;
use crate::client::{Format, check_output, is_standard_output};

/// What the spec in a state's file says of its own examples, and not of those to predict.
const OF_TRAINING: [&str; 5] =
    ["test_source", "test_examples", "split", "split_seed", "shuffle_window"];

#[derive(Debug, Args)]
#[command(after_help = "\
The output has a row for each example, in the order of the file: the class by its
name, then a score for each class. Labels in the file are not read. FILE.csv is a
table, FILE.npy an array of NumPy (fields `class` and `scores`), FILE.jsonl has
one JSON object per line.

Examples:
  coordinator predict final.safetensors --dataset new.csv --local 2
  coordinator predict final.safetensors --dataset new.csv --output predictions.csv
  coordinator predict final.safetensors --dataset idx:mnist --split test --output p.npy")]
pub(super) struct PredictFlags {
    #[command(flatten)]
    of: UseFlags,
    /// The examples: a file or folder, as `coordinator datasets` lists them
    #[arg(long, value_name = "SOURCE")]
    dataset: String,
    /// Write the predictions to a file (.csv, .npy, .jsonl), or to `-` for
    /// standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Which split of the source to predict; a file without a test split of its
    /// own is its training split
    #[arg(long, value_enum, default_value = "train")]
    split: SplitFlag,
}

/// Predicts, and writes the predictions.
pub(super) fn predict(program: Program, flags: PredictFlags) -> Result<(), Failure> {
    let format = Format::of(&flags.output).map_err(Failure::bad_input)?;
    check_output(&flags.output).map_err(Failure::bad_input)?;
    let beside = is_standard_output(&flags.output);
    if flags.of.json && beside {
        let message = "--json prints to standard output: expected a file for --output, found `-`";
        return Err(Failure::bad_input(message));
    }
    let (state, made_by) = initial_state(&flags.of.state, &flags.of.map)?;
    refuse_known(&flags.of.set, state.trained_on.as_ref(), true)?;
    let spec = prediction_spec(&program.registry, made_by.as_ref(), &flags)?;
    let job = Job {
        spec,
        base: PathBuf::new(),
        state: Some(state),
        split: ChosenBy::Flag,
        home: Output::of_predictions(flags.output, format),
        keep: KeepFlags::default(),
        once: false,
        detach: false,
    };
    let split = job.spec.evaluation.split;
    let mut progress = Progress::new(flags.of.json, true, beside);
    let outcome = job::perform(program, job, &flags.of.cluster, &mut progress)?;
    let JobOutcome::Finished { summary, brought } = outcome else { return progress.end() };
    if !progress.is_json() {
        progress.print(&text(&summary, &brought, split));
    }
    match brought.failure {
        Some(failure) => Err(failure),
        None => progress.end(),
    }
}

/// The spec for predicting with a state.
fn prediction_spec(
    registry: &Registry,
    made_by: Option<&RunSpec>,
    flags: &PredictFlags,
) -> Result<RunSpec, Failure> {
    let mut table = table_of_state(&flags.of, made_by, Some(&flags.dataset))?;
    if let Some(Value::Table(dataset)) = table.get_mut("dataset") {
        OF_TRAINING.iter().for_each(|key| drop(dataset.remove(*key)));
    }
    table.insert("predict".into(), true.into());
    let evaluation: [(&str, Value); 2] =
        [("split", flags.split.name().into()), ("labelling", false.into())];
    let evaluation = evaluation.map(|(key, value)| (key.to_owned(), value));
    table.insert("evaluation".into(), Table::from_iter(evaluation).into());
    apply_settings(&mut table, &flags.of.set)?;
    registry.complete(&mut table);
    to_spec(&table)
}

/// What was predicted, for people.
fn text(summary: &Summary, brought: &Brought, split: Split) -> String {
    let mut text = summary.to_prediction_text(split);
    if let Some(predictions) = &brought.predictions {
        text += &format!("found   {}\n", visible::line(&predictions.counts()));
    }
    if let Some(path) = &brought.output {
        text += &format!("output  {}\n", visible::line(&path.to_string_lossy()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        flags: PredictFlags,
    }

    #[test]
    fn a_prediction_has_the_state_of_a_run_and_none_of_its_splits() {
        let text = "model = \"mlp\"\nepochs = 3\nevaluation = {every = 2, labelling = true}\n\
                    dataset = {source = \"a.csv\", test_examples = 5, separator = \";\"}\n";
        let made_by = RunSpec::from_toml(text).unwrap();
        for (dataset, separator) in [("a.csv", Some(";")), ("b.csv", None)] {
            let args = ["predict", "state", "--dataset", dataset, "--set", "batch_size=7"];
            let flags = Command::try_parse_from(args).unwrap().flags;
            let spec = prediction_spec(&Registry::standard(), Some(&made_by), &flags).unwrap();
            assert!(spec.predict && !spec.update_weights && !spec.evaluation.labelling);
            assert_eq!((spec.evaluation.split, spec.epochs), (Split::Train, None));
            assert_eq!((spec.batch_size, spec.dataset.test_examples), (7, None));
            assert_eq!(spec.dataset.separator.as_deref(), separator);
        }
    }
}
