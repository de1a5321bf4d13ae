//! The output of a run on the client: the final state in a file, a picture of it, and the
//! summary.

use std::path::{Path, PathBuf};

use clap::Args;
use common::id::RunId;

use super::exit::Failure;
use super::plot::{Picture, check_plot, draw_final, show_small};
use super::progress::Progress;
use super::summary::Summary;
use crate::client::{Fetched, Format, Predictions, StateFile, check_output, is_standard_output};

#[derive(Debug, Args)]
pub(super) struct HomeFlags {
    /// Write the final state (safetensors) to a file, a pipe, or `-` for
    /// standard output; a prediction also to .csv, .npy or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Draw the receptive fields at the end: the columns of `weights` (PNG)
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Print one JSON object per line (docs/CLI.md lists their fields)
    #[arg(long)]
    json: bool,
    /// Print only the summary
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

impl HomeFlags {
    /// Checks before a run begins that all files could be written now, and that no output
    /// overwrites another file of this command. `predicts`: whether the run does, if that is known.
    pub(super) fn check(
        &self,
        initial_state: Option<&Path>,
        predicts: Option<bool>,
    ) -> Result<(), Failure> {
        if let Some(output) = &self.output {
            if predicts == Some(false) && of_predictions(output).is_some() {
                return Err(Failure::bad_input(no_predictions(output)));
            }
            check_output(output).map_err(Failure::bad_input)?;
        }
        check_plot(self.plot.as_deref(), &[self.output.as_deref(), initial_state])?;
        if self.json && self.takes_standard_output() {
            let message = "--json prints to standard output: expected a file for --output and \
                           --plot, found `-`";
            return Err(Failure::bad_input(message));
        }
        Ok(())
    }

    fn takes_standard_output(&self) -> bool {
        [&self.output, &self.plot].into_iter().flatten().any(|path| is_standard_output(path))
    }

    /// How the run is shown.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.json, self.quiet, self.takes_standard_output())
    }

    /// What to do with the final state.
    pub(super) fn home(&self) -> Output {
        Output { output: self.output.clone(), plot: self.plot.clone(), predictions: None }
    }

    /// Prints the summary, then returns the error of an output that could not be written.
    pub(super) fn end(&self, outcome: JobOutcome, mut progress: Progress) -> Result<(), Failure> {
        let (summary, brought) = match outcome {
            JobOutcome::Detached(run) => {
                // Programs have it from the event.
                if !self.json {
                    progress.print(&format!("{run}\n"));
                }
                return progress.end();
            }
            JobOutcome::Finished { summary, brought } => (summary, brought),
        };
        if !self.json {
            progress.print(&progress.summary(&summary));
        }
        if let Some(picture) = &brought.picture
            && !self.json
            && !self.quiet
            && !self.takes_standard_output()
        {
            show_small(picture, &mut progress);
        }
        let unsaved = summary.unsaved.as_deref().map(Failure::unsaved);
        match (brought.failure, unsaved) {
            (Some(failure), Some(unsaved)) => Err(failure.and_also(unsaved)),
            (Some(failure), None) | (None, Some(failure)) => Err(failure),
            (None, None) => progress.end(),
        }
    }
}

/// The result of a job.
#[derive(Debug)]
pub(super) enum JobOutcome {
    /// The run continues without this client.
    Detached(RunId),
    /// The run has succeeded.
    Finished {
        /// Its summary.
        summary: Box<Summary>,
        /// The outputs that were written.
        brought: Brought,
    },
}

/// What to do with the final state.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    /// Where to write it.
    output: Option<PathBuf>,
    /// Where to write a picture of it.
    plot: Option<PathBuf>,
    /// Where to write it as predictions.
    predictions: Option<(PathBuf, Format)>,
}

/// The outputs of a run, and the error of an output that could not be written.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The file that has it.
    pub(super) output: Option<PathBuf>,
    /// The picture that was written.
    picture: Option<Picture>,
    /// The predictions that were written.
    pub(super) predictions: Option<Predictions>,
    /// The output that could not be written. The run itself has succeeded.
    pub(super) failure: Option<Failure>,
}

/// The fallback for a state that cannot be written to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The coordinator keeps it for a while: the error names `follow`.
    Follow(RunId),
    /// Its cluster ends with this command: the state is saved in another file.
    Keep,
}

impl Otherwise {
    /// Does what is left to do for a state that was not written, and adds it to the error.
    fn of(self, failure: Failure, fetched: &Fetched) -> Failure {
        let way_out = match self {
            Self::Follow(run) => {
                format!("`coordinator follow {run} --output FILE` writes it elsewhere")
            }
            Self::Keep => match StateFile::keep(fetched) {
                Ok(kept) => format!("the state is saved in {}", kept.display()),
                Err(error) => format!("it cannot be saved elsewhere: {error}"),
            },
        };
        failure.and("the run itself has succeeded").and(way_out)
    }
}

impl Output {
    /// Whether the final state is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.output.is_some() || self.plot.is_some() || self.predictions.is_some()
    }

    /// Predictions in a file.
    pub(super) fn of_predictions(path: PathBuf, format: Format) -> Self {
        Self { predictions: Some((path, format)), ..Self::default() }
    }

    /// Writes all outputs, and blocks until the readers of pipes have read them.
    pub(super) fn bring(self, fetched: &Fetched, otherwise: Otherwise) -> Brought {
        let mut brought = Brought::default();
        let mut predictions = self.predictions;
        let mut output = self.output;
        if let Some(path) = &output
            && let Some(format) = of_predictions(path)
        {
            if fetched.spec.predict {
                predictions = output.take().map(|path| (path, format));
            } else {
                let failure = Failure::bad_input(no_predictions(path));
                brought.failure = Some(otherwise.of(failure, fetched));
                output = None;
            }
        }
        if let Some(path) = output {
            match StateFile::save(&path, fetched) {
                Ok(()) => brought.output = named(path),
                Err(error) => brought.failure = Some(otherwise.of(Failure::failed(error), fetched)),
            }
        }
        if let Some((path, format)) = predictions {
            match Predictions::of(fetched).and_then(|all| all.write(&path, format).map(|()| all)) {
                Ok(all) => (brought.predictions, brought.output) = (Some(all), named(path)),
                Err(error) => brought.failure = Some(otherwise.of(Failure::failed(error), fetched)),
            }
        }
        if let Some(path) = self.plot {
            match (
                draw_final(&fetched.state, fetched.schema.as_ref(), &path),
                brought.failure.take(),
            ) {
                (Ok(picture), failure) => {
                    brought.picture = Some(picture);
                    brought.failure = failure;
                }
                (Err(failure), None) => brought.failure = Some(failure),
                (Err(failure), Some(first)) => brought.failure = Some(first.and_also(failure)),
            }
        }
        brought
    }
}

/// The format of predictions that a file's name asks for. Standard output gets states.
fn of_predictions(path: &Path) -> Option<Format> {
    if is_standard_output(path) { None } else { Format::of(path).ok() }
}

/// The error for a state whose file has the name of a table.
fn no_predictions(path: &Path) -> String {
    format!(
        "{}: expected a name such as FILE.safetensors, as the run does not predict: tables and \
         arrays are of predictions",
        path.display()
    )
}

/// A file that was written; standard output has no name to tell.
fn named(path: PathBuf) -> Option<PathBuf> {
    if is_standard_output(&path) { None } else { Some(path) }
}

#[cfg(test)]
mod tests {
    use common::dataset::Schema;
    use common::merge_rule::MergeRule;
    use common::plan::SCORES;
    use common::spec::RunSpec;
    use common::state::{ElementType, Layout, NetworkState, TensorLayout};

    use super::*;
    use crate::client::History;

    fn scores() -> NetworkState {
        let tensor = TensorLayout::new(SCORES, ElementType::F32, &[1, 2], MergeRule::Sum);
        let mut state = NetworkState::zeros(&Layout::new([tensor]).unwrap()).unwrap();
        let mut scores = state.f32_mut(SCORES).unwrap();
        scores.iter_mut().zip([0.25, 0.75]).for_each(|(score, value)| *score = value);
        state
    }

    #[test]
    fn the_name_of_a_file_says_how_predictions_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let text =
            "model = \"mlp\"\nupdate_weights = false\npredict = true\ndataset.source = \"a\"\n";
        let json = r#"{"understood":"","shape":[1],"scale":1.0,"targets":{"classes":2},"classes":["no","yes"]}"#;
        let mut fetched = Fetched {
            state: scores(),
            spec: RunSpec::from_toml(text).unwrap(),
            schema: Some(Schema::from_json(json).unwrap()),
            history: History::default(),
        };
        let output = Output { output: Some(path.clone()), ..Output::default() };
        let otherwise = Otherwise::Follow(RunId(1));
        let brought = output.clone().bring(&fetched, otherwise);
        assert!(brought.failure.is_none() && brought.output.as_ref() == Some(&path), "{brought:?}");
        let table = std::fs::read_to_string(&path).unwrap();
        assert_eq!(table, "prediction,no,yes\nyes,0.25,0.75\n");
        fetched.spec.predict = false;
        std::fs::remove_file(&path).unwrap();
        let brought = output.bring(&fetched, otherwise);
        let text = format!("{:?}", brought.failure);
        assert!(text.contains("x.csv: expected a name such as FILE.safetensors"), "{text}");
        assert!(!path.exists());
        let flags = HomeFlags { output: Some(path), plot: None, json: false, quiet: false };
        assert!(flags.check(None, Some(false)).is_err());
        assert!(flags.check(None, Some(true)).is_ok() && flags.check(None, None).is_ok());
    }
}
