//! `coordinator verify`.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use common::digest::Digest;
use common::id::RunId;
use common::model::Registry;
use common::run_settings::RunSettings;
use common::settings::{LogFormat, start_logging};
use common::wire::message::{Replay, RunEvent, ShardDone};
use common::wire::tls::CallerTls;

use super::cluster_flags::{ClusterFlags, start_local};
use super::exit::Failure;
use super::progress::Progress;
use super::report::plural;
use super::runs::HistoryFlags;
use super::signals::Signals;
use crate::client::{Client, Submission};
use crate::ledger::{LedgerError, LedgerReader, ShardRow, StepName};
use crate::rerun::Rerun;
use crate::runs::RunsFolder;

#[derive(Debug, Args)]
#[command(after_help = "\
Does rounds of a run again, from the states on disk, on any cluster, and
compares the digest of every shard with the one in the history. The first that
differs is named, with the worker that made it. Nothing is changed.

Without a flag, the whole run is done again. --sample takes rounds whose base is
on disk: `coordinator run --keep-checkpoints` says how many are.

Examples:
  coordinator verify 3 --local 2
  coordinator verify 3 --rounds 10..20 --coordinator 10.0.0.1:7700
  coordinator verify 3 --sample 5% --runs /srv/samebit/runs")]
pub(super) struct VerifyFlags {
    /// The run's number, as `runs` prints it
    run: u64,
    /// Only these training rounds, the last one included
    #[arg(long, value_name = "A..B", value_parser = rounds, conflicts_with = "sample")]
    rounds: Option<RangeInclusive<u64>>,
    /// Only so large a share of the rounds, drawn anew each time
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// Show no rounds on the way
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    history: HistoryFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
}

fn rounds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let bound = |text: &str| text.trim_start_matches('=').parse::<u64>().ok();
    match (bound(first), bound(last)) {
        (Some(first), Some(last)) if 1 <= first && first <= last => Ok(first..=last),
        _ => Err("expected rounds from 1, as in 10..20".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    let fits = |share: &f64| 0.0 < *share && *share <= 1.0;
    share.ok().filter(fits).ok_or_else(|| "expected a share, as in 5% or 0.05".into())
}

/// Does rounds again, and compares.
pub(super) fn verify(registry: Registry, flags: VerifyFlags) -> Result<(), Failure> {
    start_logging(LogFormat::Text, &flags.cluster.log_level).map_err(Failure::bad_input)?;
    let (reader, _) = flags.history.find(flags.run)?;
    let folder = RunsFolder::read(flags.history.folder()).map_err(Failure::bad_input)?;
    let rerun = Rerun::open(folder, &registry, RunId(flags.run)).map_err(Failure::bad_input)?;
    let parts = parts(&rerun, &reader, &flags)?;
    let progress = Progress::new(false, flags.quiet);
    let mut checker = Checker { reader, run: RunId(flags.run), shards: 0, steps: 0, progress };
    super::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let local = match flags.cluster.local {
            Some(workers) => Some(start_local(&registry, &flags.cluster, workers, None).await?),
            None => None,
        };
        let (address, tls) = match &local {
            Some(local) => (local.address().to_string(), None),
            None => (flags.cluster.address.coordinator.clone(), flags.cluster.address.tls()?),
        };
        let checked = async {
            for part in parts {
                let coordinator = (&*address, tls.as_ref());
                check_part(&rerun, part, coordinator, flags.cluster.min_workers, &mut checker)
                    .await?;
            }
            Ok(())
        };
        let outcome = tokio::select! {
            checked = checked => checked,
            () = signals.next() => Err(Failure::cancelled("cancelled")),
        };
        if let Some(local) = local {
            local.stop().await;
        }
        outcome
    })?;
    checker.progress.close();
    super::print(&format!(
        "run {}: {} of {} are as recorded\n",
        flags.run,
        plural(checker.shards, "shard"),
        plural(checker.steps, "step")
    ))
}

/// The steps to do again.
fn parts(
    rerun: &Rerun,
    reader: &LedgerReader,
    flags: &VerifyFlags,
) -> Result<Vec<Range<u64>>, Failure> {
    let run = RunId(flags.run);
    let end = reader.last_steps(run, 1)?.last().map_or(0, |step| step.step + 1);
    if end == 0 {
        return Err(Failure::bad_input(format!("run {run} has no recorded steps yet")));
    }
    if let Some(rounds) = &flags.rounds {
        let step = |round| rerun.step_of_round(round).map_err(Failure::bad_input);
        let (first, last) = (step(*rounds.start())?, step(*rounds.end())?);
        if last >= end {
            let found = format!("round {} of run {run} is not recorded yet", rounds.end());
            return Err(Failure::bad_input(found));
        }
        return Ok(std::iter::once(first..last + 1).collect());
    }
    let Some(share) = flags.sample else { return Ok(std::iter::once(0..end).collect()) };
    let mut bases = rerun.bases().map_err(Failure::failed)?;
    let trains = reader.steps(run).filter_map(|step| match step {
        Ok(step) if step.kind == StepName::Train => Some(Ok(step.step)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let trains = trains.collect::<Result<Vec<u64>, _>>()?;
    bases.retain(|step| trains.contains(step));
    let count = (share * trains.len() as f64).ceil() as usize;
    let drawn = draw(bases.into_iter().collect(), count);
    super::print(&format!("rounds that begin at steps {drawn:?}, of {}\n", trains.len()))?;
    Ok(drawn.into_iter().map(|step| step..step + 1).collect())
}

/// Draws so many of the steps.
fn draw(mut steps: Vec<u64>, count: usize) -> Vec<u64> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos());
    let place = |step: &u64| Digest::of(&[&seed.to_le_bytes()[..], &step.to_le_bytes()].concat());
    steps.sort_by_key(place);
    steps.truncate(count);
    steps.sort_unstable();
    steps
}

/// Does some steps again on the cluster, and compares what comes of them.
async fn check_part(
    rerun: &Rerun,
    part: Range<u64>,
    (address, tls): (&str, Option<&CallerTls>),
    min_workers: u32,
    checker: &mut Checker,
) -> Result<(), Failure> {
    let (first, state) = rerun.nearest(part.start).map_err(Failure::failed)?;
    let settings = RunSettings { min_workers: Some(min_workers), ..RunSettings::default() };
    let replay = Replay { first, steps: part.end - first };
    let submission = Submission::replay(rerun, replay, state, settings);
    let mut client = Client::connect(address, tls).await?;
    let again = client.submit(&submission).await?;
    client.follow(again).await?;
    loop {
        match client.next_event().await? {
            RunEvent::Shards { step, first, shards, .. } => {
                if let Err(difference) = checker.check(step, first, &shards) {
                    client.request_cancel(again).await?;
                    while !client.next_event().await?.is_last() {}
                    return Err(difference);
                }
            }
            RunEvent::Finished { digest, .. } => {
                let recorded = rerun.digest_before(part.end).map_err(Failure::failed)?;
                return match recorded.filter(|recorded| *recorded != digest) {
                    Some(recorded) => Err(Failure::failed(format!(
                        "every shard is as recorded, but the state after step {} is not: expected \
                         {recorded}, found {digest}; a worker sent other values than it said, or \
                         the merge went wrong on the coordinator's host",
                        part.end - 1
                    ))),
                    None => Ok(()),
                };
            }
            RunEvent::Failed { reason, .. } => return Err(Failure::failed(reason)),
            RunEvent::Cancelled { .. } => return Err(Failure::cancelled("cancelled")),
            event @ RunEvent::Round { .. } => checker.progress.show(&event)?,
            _ => {}
        }
    }
}

/// Compares shards with the history.
struct Checker {
    reader: LedgerReader,
    run: RunId,
    /// Compared so far.
    shards: u64,
    steps: u64,
    /// Shows the rounds.
    progress: Progress,
}

impl Checker {
    fn check(&mut self, step: u64, first: u32, found: &[ShardDone]) -> Result<(), Failure> {
        let recorded = self.reader.shards(self.run, step..step + 1);
        let recorded = recorded.map(|stored| stored.map(|it| (it.shard.replica, it.shard)));
        let recorded = recorded.collect::<Result<BTreeMap<u32, ShardRow>, LedgerError>>()?;
        self.steps += u64::from(first == 0);
        for (replica, found) in (first..).zip(found) {
            let Some(recorded) = recorded.get(&replica) else {
                let what = format!("step {step}, replica {replica}, is not recorded");
                return Err(Failure::failed(what));
            };
            if recorded.digest != found.digest {
                return Err(Failure::failed(format!(
                    "step {step}, replica {replica}: worker {} gave {}, this cluster {}; \
                     `coordinator replay {} --step {step} --replica {replica}` runs that shard \
                     alone: on a host that gives the first, look for bad memory, another build or \
                     a model that reads a clock, a thread count or the environment",
                    recorded.worker, recorded.digest, found.digest, self.run
                )));
            }
            self.shards += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_and_shares_are_read() {
        assert_eq!(rounds("3..7"), Ok(3..=7));
        assert_eq!(rounds("3"), Ok(3..=3));
        assert!(rounds("0..7").is_err() && rounds("7..3").is_err() && rounds("a").is_err());
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.5"), Ok(0.5));
        assert!(share("0%").is_err() && share("200%").is_err() && share("NaN").is_err());
    }

    #[test]
    fn as_many_are_drawn_as_there_are() {
        assert_eq!(draw(vec![5, 7], 9), [5, 7]);
        assert_eq!(draw((0..100).collect(), 3).len(), 3);
    }
}
