//! `coordinator run`.

use std::path::PathBuf;

use clap::Args;

use super::Program;
use super::cluster_flags::{ClusterFlags, KeepFlags};
use super::exit::Failure;
use super::job::{self, Job};
use super::output::HomeFlags;
use super::spec_flags::SpecFlags;
use super::splits::ChosenBy;
use super::state_flags::{MapFlags, initial_state};

#[derive(Debug, Args)]
#[command(after_help = "\
The spec comes from the file, flags and --set: --set takes precedence over flags,
and flags over the file. The model's own defaults fill the other fields.
Equal specs over equal data end in the same digest, on any cluster.

Ctrl-C cancels the run; a second one exits at once.

Examples:
  coordinator run --local 3
  coordinator run --local 3 --model softmax --epochs 5 --set parameters.learning_rate=0.1
  coordinator run my.toml --model softmax --output final.safetensors --plot fields.png
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
    #[command(flatten)]
    map: MapFlags,
    /// Follow an existing run of the same spec, data and initial state instead,
    /// if the coordinator knows one
    #[arg(long, conflicts_with = "local")]
    once: bool,
    /// Print the run's number and exit; the run continues
    #[arg(long, conflicts_with_all = ["local", "output", "plot"])]
    detach: bool,
    #[command(flatten)]
    home: HomeFlags,
}

/// Trains, and prints a summary.
pub(super) fn train(program: Program, flags: TrainFlags) -> Result<(), Failure> {
    let spec = flags.spec.assemble(&program.registry)?;
    flags.home.check(flags.initial_state.as_deref(), Some(spec.predict))?;
    let state = match &flags.initial_state {
        Some(path) => Some(initial_state(path, &flags.map)?.0),
        None => None,
    };
    if state.is_none() && !flags.map.map.is_empty() {
        let message = "--map is about the tensors of a state: expected --initial-state FILE, too";
        return Err(Failure::bad_input(message));
    }
    let home = flags.home.home();
    let (keep, once, detach) = (flags.keep, flags.once, flags.detach);
    let base = flags.spec.base();
    let job = Job { spec, base, state, split: ChosenBy::Spec, home, keep, once, detach };
    let mut progress = flags.home.progress();
    let outcome = job::perform(program, job, &flags.cluster, &mut progress)?;
    flags.home.end(outcome, progress)
}
