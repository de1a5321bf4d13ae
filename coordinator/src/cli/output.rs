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
    /// standard output
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
    /// overwrites another file of this command.
    pub(super) fn check(&self, initial_state: Option<&Path>) -> Result<(), Failure> {
        if let Some(output) = &self.output {
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
                progress.print(&format!("{run}\n"));
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
        if let Some(path) = self.output {
            match StateFile::save(&path, fetched) {
                Ok(()) => brought.output = Some(path),
                Err(error) => brought.failure = Some(otherwise.of(Failure::failed(error), fetched)),
            }
        }
        if let Some((path, format)) = self.predictions {
            match Predictions::of(fetched).and_then(|all| all.write(&path, format).map(|()| all)) {
                Ok(all) => (brought.predictions, brought.output) = (Some(all), Some(path)),
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
