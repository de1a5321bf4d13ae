//! `coordinator follow`.

use clap::Args;
use common::id::RunId;

use super::exit::Failure;
use super::job;
use super::output::HomeFlags;
use super::reconnect::ReconnectTimeout;
use super::{Address, run_number};

#[derive(Debug, Args)]
#[command(after_help = "\
Shows the run from its beginning. The exit code is that of `run`: it says how
the run ended. Ctrl-C stops following; the run continues.

Examples:
  coordinator follow 3
  coordinator follow 3 --output final.safetensors --plot fields.png
  coordinator follow 3 --json | jq 'select(.event == \"round\") | .loss'")]
pub(super) struct FollowFlags {
    /// The run's number, as `run --detach` and `status` print it
    #[arg(value_parser = run_number)]
    run: u64,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    patience: ReconnectTimeout,
    #[command(flatten)]
    home: HomeFlags,
}

/// Follows a run, and prints its summary.
pub(super) fn follow(flags: FollowFlags) -> Result<(), Failure> {
    flags.home.check(None, None)?;
    let mut progress = flags.home.progress();
    let (address, run, home) = (&flags.address, RunId(flags.run), flags.home.home());
    let outcome = job::watch(address, run, home, &mut progress, flags.patience)?;
    flags.home.end(outcome, progress)
}
