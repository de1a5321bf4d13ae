//! `coordinator run`.

use std::path::PathBuf;

use clap::Args;
use common::model::Registry;

use super::exit::Failure;
use super::job::{self, ClusterFlags, Job, Outcome};
use super::progress::Progress;
use super::spec_flags::SpecFlags;
use crate::client::{StateFile, check_output};

#[derive(Debug, Args)]
#[command(after_help = "\
The spec is the file, then flags, then --set, the later before the earlier, and
then the model's own values for what none of them says.
Equal specs over equal data end in the same digest, on any cluster.

Ctrl-C cancels the run; a second one leaves at once.

Examples:
  coordinator run --local 3
  coordinator run --local 3 --model softmax --epochs 5 --set parameters.learning_rate=0.1
  coordinator run my.toml --output final.safetensors
  coordinator run my.toml --coordinator 10.0.0.1:7700 --min-workers 4 --detach
  coordinator run --local 2 --json | jq 'select(.event == \"round\") | .loss'")]
pub(super) struct TrainFlags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Start from this state (safetensors) instead of the model's own
    #[arg(long, value_name = "FILE")]
    initial_state: Option<PathBuf>,
    /// Bring the final state home (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
    /// Print the run's number and leave
    #[arg(long, conflicts_with = "local")]
    detach: bool,
    /// Print one JSON object a line (docs/CLI.md has their fields)
    #[arg(long)]
    json: bool,
    /// Print only how it went
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Trains, and prints how it went.
pub(super) fn train(registry: Registry, flags: TrainFlags) -> Result<(), Failure> {
    let spec = flags.spec.assemble(&registry)?;
    if let Some(output) = &flags.output {
        check_output(output).map_err(Failure::bad_input)?;
    }
    let state = match &flags.initial_state {
        Some(path) => Some(StateFile::load(path).map_err(Failure::bad_input)?.state),
        None => None,
    };
    let job = Job { spec, state, output: flags.output, detach: flags.detach };
    let mut progress = Progress::new(flags.json, flags.quiet);
    let outcome = job::perform(registry, job, &flags.cluster, &mut progress)?;
    match outcome {
        _ if progress.is_json() => Ok(()),
        Outcome::Detached(run) => super::print(&format!("{run}\n")),
        Outcome::Finished(summary) => super::print(&progress.summary(&summary)),
    }
}
