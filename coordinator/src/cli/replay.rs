//! `coordinator replay`.

use std::ops::ControlFlow;
use std::time::Instant;

use clap::Args;
use common::id::RunId;
use common::model::Registry;

use super::exit::Failure;
use super::report::{GAP, quality};
use super::run_number;
use super::runs::HistoryFlags;
use super::screen::start_logging;
use crate::ledger::{LedgerError, LedgerReader};
use crate::rerun::{Rerun, RerunError};
use crate::runs::RunsFolder;

#[derive(Debug, Args)]
#[command(after_help = "\
Runs one shard alone, in this process, with its data and its initial state, and
logs every batch. If that state is not on disk, the steps since the last state on
disk are repeated first. The digest is compared with the recorded one, if there is
one.

Examples:
  coordinator replay 3 --round 12 --replica 5
  coordinator replay 3 --round 12 --replica 5 --log-level trace --runs /srv/samebit/runs")]
pub(super) struct ReplayFlags {
    /// The run's number, as `runs` prints it
    #[arg(value_parser = run_number)]
    run: u64,
    /// The training round, from 1
    #[arg(long, value_name = "K", required_unless_present = "step", conflicts_with = "step")]
    round: Option<u64>,
    /// The step instead of the round, from 0: an evaluation or a labelling
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// The replica, from 0
    #[arg(long, value_name = "R")]
    replica: u32,
    #[command(flatten)]
    history: HistoryFlags,
    /// What to log to standard error
    #[arg(long, value_name = "FILTER", default_value = "debug")]
    log_level: String,
}

/// Runs a shard, and prints its result.
pub(super) fn replay(registry: &Registry, flags: &ReplayFlags) -> Result<(), Failure> {
    start_logging(&flags.log_level)?;
    let folder = RunsFolder::read(flags.history.folder()).map_err(Failure::bad_input)?;
    let rerun = Rerun::open(folder, registry, RunId(flags.run)).map_err(Failure::bad_input)?;
    let step = match (flags.round, flags.step) {
        (Some(round), _) => rerun.step_of_round(round).map_err(Failure::bad_input)?,
        (None, step) => step.unwrap_or(0),
    };
    check(&rerun, step, flags).map_err(Failure::bad_input)?;
    let base = rerun.base(step).map_err(Failure::failed)?;
    let started = Instant::now();
    let mut since = Instant::now();
    let outcome = rerun.shard(step, flags.replica, &base, &mut |batch, examples| {
        let ms = since.elapsed().as_secs_f64() * 1e3;
        tracing::debug!("batch {batch}: {examples} examples in {ms:.3} ms");
        since = Instant::now();
        ControlFlow::Continue(())
    });
    let (digest, partial) = outcome.map_err(|error| {
        Failure::failed(format!("step {step}, replica {}: {error}", flags.replica))
    })?;
    let results = partial.map(|partial| partial.results).unwrap_or_default();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let shard = format!("{} examples in {ms:.1} ms", results.examples);
    super::print(&format!(
        "step     {step}, replica {}\nshard    {}\ndigest   {digest}\n",
        flags.replica,
        [vec![shard], quality(results.loss(), results.accuracy())].concat().join(GAP),
    ))?;
    compare(flags, step, digest)
}

fn check(rerun: &Rerun, step: u64, flags: &ReplayFlags) -> Result<(), RerunError> {
    let (run, found) = (RunId(flags.run), flags.replica);
    let known = rerun.plan().step(step);
    let Some(known) = known else {
        let rounds = rerun.plan().rounds();
        return Err(RerunError::Round { run, rounds, found: step });
    };
    if found < known.replicas {
        return Ok(());
    }
    let round = flags.round.unwrap_or(step);
    Err(RerunError::Replica { run, round, last: known.replicas - 1, found })
}

/// Compares a digest with the recorded one.
fn compare(flags: &ReplayFlags, step: u64, found: common::digest::Digest) -> Result<(), Failure> {
    let reader = match LedgerReader::open(flags.history.folder()) {
        Ok(reader) => reader,
        Err(error @ LedgerError::Missing { .. }) => {
            return super::print(&format!("recorded nothing: {error}\n"));
        }
        Err(error) => return Err(error.into()),
    };
    for shard in reader.shards(RunId(flags.run), step..step + 1) {
        let shard = shard?.shard;
        if shard.replica != flags.replica {
            continue;
        }
        if shard.digest == found {
            return super::print(&format!("recorded the same, by worker {}\n", shard.worker));
        }
        return Err(Failure::failed(format!(
            "worker {} computed {}, this process {found}: look for a model that reads a clock, a \
             thread count or the environment, for different builds, or for a faulty machine",
            shard.worker, shard.digest
        )));
    }
    let why = match reader.step(RunId(flags.run), step)? {
        Some(_) => {
            "the history dropped the shards of this step to make room; `coordinator verify` \
                    compares the step as a whole"
        }
        None => "the step was not merged, or the history could not be written then",
    };
    super::print(&format!("recorded nothing: {why}\n"))
}
