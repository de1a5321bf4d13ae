//! `coordinator run`.

use std::path::PathBuf;

use clap::Args;
use common::model::Registry;

use super::cluster_flags::{ClusterFlags, KeepFlags};
use super::exit::Failure;
use super::job::{self, Home, Job, Outcome};
use super::plot::{check_plot, draw_final};
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
  coordinator run my.toml --output final.safetensors --plot fields.png
  coordinator run my.toml --coordinator 10.0.0.1:7700 --min-workers 4 --detach
  coordinator run --local 2 --json | jq 'select(.event == \"round\") | .loss'")]
pub(super) struct TrainFlags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    keep: KeepFlags,
    /// Start from this state (safetensors) instead of the model's own
    #[arg(long, value_name = "FILE")]
    initial_state: Option<PathBuf>,
    /// Bring the final state home (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
    /// Draw the receptive fields at the end: the columns of `weights` (PNG)
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    plot: Option<PathBuf>,
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
    check_plot(flags.plot.as_deref(), &[flags.output.as_deref(), flags.initial_state.as_deref()])?;
    let state = match &flags.initial_state {
        Some(path) => Some(StateFile::load(path).map_err(Failure::bad_input)?.state),
        None => None,
    };
    let home = Home { output: flags.output, keep: flags.plot.is_some() };
    let job = Job { spec, state, home, keep: flags.keep, detach: flags.detach };
    let mut progress = Progress::new(flags.json, flags.quiet);
    let outcome = job::perform(registry, job, &flags.cluster, &mut progress)?;
    let (text, state, unsaved) = match outcome {
        Outcome::Detached(run) => (format!("{run}\n"), None, None),
        Outcome::Finished { summary, state } => {
            (progress.summary(&summary), state, summary.unsaved)
        }
    };
    if !progress.is_json() {
        super::print(&text)?;
    }
    if let (Some(path), Some(state)) = (flags.plot, state) {
        draw_final(&state, &path, !progress.is_json() && !flags.quiet)?;
    }
    unsaved.map_or(Ok(()), |error| Err(Failure::unsaved(&error)))
}
