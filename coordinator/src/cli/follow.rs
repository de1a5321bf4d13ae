//! `coordinator follow`.

use std::path::PathBuf;

use clap::Args;
use common::id::RunId;

use super::Address;
use super::exit::Failure;
use super::job::{self, Home, Outcome};
use super::patience::Patience;
use super::plot::{check_plot, draw_final};
use super::progress::Progress;
use crate::client::check_output;

#[derive(Debug, Args)]
#[command(after_help = "\
Shows the run from its beginning. The exit code is that of `run`: it says how
the run ended. Ctrl-C leaves; the run goes on.

Examples:
  coordinator follow 3
  coordinator follow 3 --output final.safetensors --plot fields.png
  coordinator follow 3 --json | jq 'select(.event == \"round\") | .loss'")]
pub(super) struct FollowFlags {
    /// The run's number, as `run --detach` and `status` print it
    run: u64,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    patience: Patience,
    /// Bring the final state home (safetensors)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw the receptive fields at the end: the columns of `weights` (PNG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON object a line (docs/CLI.md has their fields)
    #[arg(long)]
    json: bool,
    /// Print only how it went
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Follows a run, and prints how it went.
pub(super) fn follow(flags: FollowFlags) -> Result<(), Failure> {
    if let Some(output) = &flags.output {
        check_output(output).map_err(Failure::bad_input)?;
    }
    check_plot(flags.plot.as_deref(), &[flags.output.as_deref()])?;
    let mut progress = Progress::new(flags.json, flags.quiet);
    let home = Home { output: flags.output, keep: flags.plot.is_some() };
    let (address, run) = (&flags.address, RunId(flags.run));
    let outcome = job::watch(address, run, home, &mut progress, flags.patience)?;
    let Outcome::Finished { summary, state } = outcome else { return Ok(()) };
    let unsaved = summary.unsaved.clone();
    if !progress.is_json() {
        super::print(&progress.summary(&summary))?;
    }
    if let (Some(path), Some(state)) = (flags.plot, state) {
        draw_final(&state, &path, !progress.is_json() && !flags.quiet)?;
    }
    unsaved.map_or(Ok(()), |error| Err(Failure::unsaved(&error)))
}
