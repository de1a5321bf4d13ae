//! What a run leaves with whoever follows it: the final state in a file, a
//! picture of it, and how it went.

use std::path::{Path, PathBuf};

use clap::Args;
use common::id::RunId;

use super::exit::Failure;
use super::plot::{Picture, check_plot, draw_final, show_small};
use super::progress::Progress;
use super::summary::Summary;
use crate::client::{Fetched, StateFile, check_output, is_standard_output};

#[derive(Debug, Args)]
pub(super) struct HomeFlags {
    /// Bring the final state home (safetensors): to a file, a pipe, or `-`,
    /// which is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Draw the receptive fields at the end: the columns of `weights` (PNG)
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Print one JSON object a line (docs/CLI.md has their fields)
    #[arg(long)]
    json: bool,
    /// Print only how it went
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

impl HomeFlags {
    /// Checks before a run begins that all could be written now, and that
    /// nothing takes the place of anything else.
    pub(super) fn check(&self, initial_state: Option<&Path>) -> Result<(), Failure> {
        if let Some(output) = &self.output {
            check_output(output).map_err(Failure::bad_input)?;
        }
        check_plot(self.plot.as_deref(), &[self.output.as_deref(), initial_state])?;
        if self.json && self.takes_standard_output() {
            let message = "--json prints to standard output: expected another place for --output \
                           and --plot";
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
    pub(super) fn home(&self) -> Home {
        Home { output: self.output.clone(), plot: self.plot.clone() }
    }

    /// Tells how the run went, then what of it could not be brought home.
    pub(super) fn end(&self, outcome: Outcome, mut progress: Progress) -> Result<(), Failure> {
        let (summary, brought) = match outcome {
            Outcome::Detached(run) => {
                progress.print(&format!("{run}\n"));
                return progress.end();
            }
            Outcome::Finished { summary, brought } => (summary, brought),
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

/// What came of a job.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The run goes on without us.
    Detached(RunId),
    /// The run has ended well.
    Finished {
        /// How it went.
        summary: Box<Summary>,
        /// What came of its final state.
        brought: Brought,
    },
}

/// What to do with the final state.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    /// Where to write it.
    output: Option<PathBuf>,
    /// Where to write a picture of it.
    plot: Option<PathBuf>,
}

/// A final state that was brought home, or why it was not.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The file that has it.
    pub(super) output: Option<PathBuf>,
    /// The picture that was written.
    picture: Option<Picture>,
    /// What could not be written. The run has ended well, whatever it is.
    failure: Option<Failure>,
}

/// What is done with a state that cannot be written where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The coordinator has it for a while: `follow` is named.
    Follow(RunId),
    /// Its cluster goes with this command: the state is kept in a file beside.
    Keep,
}

impl Home {
    /// Whether the final state is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.output.is_some() || self.plot.is_some()
    }

    /// Writes what is to be written, and blocks until the readers of pipes have
    /// read it.
    pub(super) fn bring(self, fetched: &Fetched, otherwise: Otherwise) -> Brought {
        let Fetched { state, spec, history } = fetched;
        let mut brought = Brought::default();
        if let Some(path) = self.output {
            match StateFile::save(&path, state, spec, history) {
                Ok(()) => brought.output = Some(path),
                Err(error) => {
                    let way_out = match otherwise {
                        Otherwise::Follow(run) => {
                            format!("`coordinator follow {run} --output FILE` writes it elsewhere")
                        }
                        Otherwise::Keep => match StateFile::keep(state, spec, history) {
                            Ok(kept) => format!("it is kept in {}", kept.display()),
                            Err(error) => format!("nor can it be kept elsewhere: {error}"),
                        },
                    };
                    let failure = Failure::failed(error).and("the run has ended well");
                    brought.failure = Some(failure.and(way_out));
                }
            }
        }
        if let Some(path) = self.plot {
            match (draw_final(state, &path), brought.failure.take()) {
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
