//! `coordinator verify`.
//!
//! ```text
//! history ──▶ ranges of steps ──▶ replays on a cluster ──▶ Check ──▶ a sentence
//! ```

mod check;
mod sample;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use common::digest::Digest;
use common::id::RunId;
use common::plan::StepKind;
use common::run_settings::RunSettings;
use common::run_state::RunEnd;
use common::wire::message::{Replay, RunEvent, ShardDone};
use common::wire::tls::CallerTls;
use tokio::time::timeout;

use self::check::Check;
use self::sample::draw;
use super::Program;
use super::cluster_flags::{ClusterFlags, start_local};
use super::exit::Failure;
use super::job::CANCEL_TIMEOUT;
use super::progress::Progress;
use super::reconnect::{Wait, submit};
use super::run_number;
use super::runs::HistoryFlags;
use super::screen::start_logging;
use super::signals::{Signals, signals};
use crate::client::{Client, ClientError, Submission};
use crate::ledger::{LedgerError, LedgerReader, ShardRow};
use crate::rerun::Rerun;
use crate::runs::RunsFolder;

#[derive(Debug, Args)]
#[command(after_help = "\
Repeats rounds of a run, from the states on disk, on any cluster. Compares the
digest of every shard with the one in the history, and the state after a round
with the recorded one, if there is one (--checkpoint-every of `run` and `serve`).
Prints the first difference: a shard with its worker, or a merge. Changes nothing.
Ctrl-C cancels the repetition.

Without a flag, the whole run is repeated. --sample draws rounds at random until
that share is repeated. A round is reached from the last state on disk before it,
and the rounds in between count: rounds further from a state than the share are
never drawn, and the output says how many. --keep-checkpoints of `run` and `serve`
keeps more states; --sample 100% repeats all rounds.

Examples:
  coordinator verify 3 --local 2
  coordinator verify 3 --rounds 10..20 --coordinator 10.0.0.1:7700
  coordinator verify 3 --sample 5% --runs /srv/samebit/runs")]
pub(super) struct VerifyFlags {
    /// The run's number, as `runs` prints it
    #[arg(value_parser = run_number)]
    run: u64,
    /// Repeat only these training rounds, including the last one
    #[arg(long, value_name = "A..B", value_parser = rounds, conflicts_with = "sample")]
    rounds: Option<RangeInclusive<u64>>,
    /// Repeat a random share of the rounds, a different one each time
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// Show no progress
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

/// Repeats rounds, and compares.
pub(super) fn verify(program: Program, flags: VerifyFlags) -> Result<(), Failure> {
    start_logging(&flags.cluster.log_filter())?;
    flags.cluster.check()?;
    let (reader, recorded) = flags.history.find(flags.run)?;
    let folder = RunsFolder::read(flags.history.folder()).map_err(Failure::bad_input)?;
    let rerun =
        Rerun::open(folder, &program.registry, RunId(flags.run)).map_err(Failure::bad_input)?;
    // A run that has succeeded has done all its steps, even if some are not recorded.
    let end = match recorded.state {
        Some(RunEnd::Finished) => rerun.plan().steps(),
        _ => reader.last_steps(recorded.run, 1)?.last().map_or(0, |step| step.step + 1),
    };
    let parts = parts(&rerun, end, &flags)?;
    let states = states(&rerun, &reader)?;
    let check = Check::new((RunId(flags.run), rerun.plan()), states, flags.history.flag());
    let progress = Progress::new(false, flags.quiet, false);
    let mut comparison = Comparison { rerun: &rerun, reader, check, progress };
    let outcome = super::runtime()?.block_on(async {
        let mut signals = signals()?;
        let local = match flags.cluster.local {
            Some(workers) => Some(start_local(&program, &flags.cluster, workers, None).await?),
            None => None,
        };
        let (address, tls) = match &local {
            Some(local) => (local.address().to_string(), None),
            None => (flags.cluster.address.coordinator.clone(), flags.cluster.address.tls()?),
        };
        let workers = flags.cluster.min_workers;
        // A local coordinator does not come back.
        let patience = match local {
            Some(_) => Duration::ZERO,
            None => flags.cluster.patience.duration(),
        };
        let mut cluster = Cluster { address, tls, workers, patience, signals: &mut signals };
        let mut outcome = Ok(());
        for part in parts {
            outcome = cluster.compare(part, &mut comparison).await;
            if outcome.is_err() {
                break;
            }
        }
        if let Some(local) = local {
            // A second signal exits at once.
            tokio::select! {
                () = local.stop() => {}
                () = signals.next() => {}
            }
        }
        outcome
    });
    comparison.progress.close();
    outcome?;
    super::print(&format!("run {}: {}\n", flags.run, comparison.check.same.sentence()))
}

/// The recorded digests of states, by the step that begins from each. The history also has
/// those whose files are gone.
fn states(rerun: &Rerun, reader: &LedgerReader) -> Result<BTreeMap<u64, Digest>, Failure> {
    let recorded = reader.checkpoints(rerun.record().run);
    let recorded = recorded.map(|row| row.map(|row| (row.step, row.digest)));
    let mut states = recorded.collect::<Result<BTreeMap<u64, Digest>, LedgerError>>()?;
    states.extend(rerun.states().map_err(Failure::failed)?);
    Ok(states)
}

/// The steps to repeat, of those before `end`.
fn parts(rerun: &Rerun, end: u64, flags: &VerifyFlags) -> Result<Vec<Range<u64>>, Failure> {
    let run = RunId(flags.run);
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
    match flags.sample {
        Some(share) => sampled(rerun, end, share),
        None => Ok(std::iter::once(0..end).collect()),
    }
}

/// The last round of some steps, from 1; 0 if there is none.
fn last_round(rerun: &Rerun, steps: Range<u64>) -> u64 {
    let round = |step| match rerun.plan().step(step)?.kind {
        StepKind::Train { round, .. } => Some(round + 1),
        StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => None,
    };
    steps.rev().find_map(round).unwrap_or(0)
}

/// Draws and prints a random share of the rounds.
fn sampled(rerun: &Rerun, end: u64, share: f64) -> Result<Vec<Range<u64>>, Failure> {
    let round = |step| match rerun.plan().step(step)?.kind {
        StepKind::Train { round, .. } => Some((step, round + 1)),
        StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => None,
    };
    let trains: Vec<(u64, u64)> = (0..end).filter_map(round).collect();
    if trains.is_empty() {
        let run = rerun.record().run;
        let what = format!("run {run} has no rounds to draw from: leave out --sample");
        return Err(Failure::bad_input(what));
    }
    let bases = rerun.states().map_err(Failure::failed)?;
    let first_round = |base: &u64| trains.partition_point(|(step, _)| step < base);
    let bases: Vec<usize> = bases.keys().map(first_round).collect();
    let count = (share * trains.len() as f64).ceil() as usize;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos());
    let sample = draw(&bases, trains.len(), count, seed);
    // If the output is closed, the exit code still tells the result.
    let _ = super::print(&sample.sentence(&trains));
    let steps = |stretch: &Range<usize>| trains[stretch.start].0..trains[stretch.end - 1].0 + 1;
    Ok(sample.stretches.iter().map(steps).collect())
}

/// The cluster that repeats steps.
struct Cluster<'a> {
    address: String,
    tls: Option<CallerTls>,
    /// Workers to wait for.
    workers: u32,
    /// How long to retry if its coordinator is unreachable.
    patience: Duration,
    signals: &'a mut Signals,
}

impl Cluster<'_> {
    /// Repeats some steps, and compares the results. A coordinator does not store replays:
    /// if it is lost, the replay starts again.
    async fn compare(
        &mut self,
        part: Range<u64>,
        comparison: &mut Comparison<'_>,
    ) -> Result<(), Failure> {
        let same = comparison.check.same;
        let mut wait = Wait::new(self.patience);
        loop {
            match self.try_to_compare(&part, comparison, &mut wait).await? {
                None => return Ok(()),
                Some(lost) => {
                    comparison.check.same = same;
                    tokio::select! {
                        another = wait.for_another(lost) => another?,
                        () = self.signals.next() => return Err(Failure::cancelled("cancelled")),
                    };
                }
            }
        }
    }

    /// The same, without a retry: the error says how the coordinator was lost. No replay
    /// is left running on the cluster in any case.
    async fn try_to_compare(
        &mut self,
        part: &Range<u64>,
        comparison: &mut Comparison<'_>,
        wait: &mut Wait,
    ) -> Result<Option<ClientError>, Failure> {
        let (first, state) = comparison.rerun.nearest(part.start).map_err(Failure::failed)?;
        let settings = RunSettings { min_workers: Some(self.workers), ..RunSettings::default() };
        let replay = Replay { first, steps: part.end - first };
        let submission = Submission::replay(comparison.rerun, replay, state, settings);
        let submission = submission.map_err(Failure::failed)?;
        let (mut client, run) = tokio::select! {
            submitted = submit((&self.address, self.tls.as_ref()), &submission, wait) => submitted?,
            () = self.signals.next() => return Err(Failure::cancelled("cancelled")),
        };
        let outcome = tokio::select! {
            outcome = comparison.follow(&mut client, run, replay) => outcome,
            () = self.signals.next() => {
                comparison.progress.cancelling(run);
                Err(Failure::cancelled("cancelled").into())
            }
        };
        match outcome {
            Ok(()) => Ok(None),
            Err(Broken::Connection(error)) if error.may_pass() => Ok(Some(error)),
            Err(broken) => Err(self.cancel(&mut client, run, broken.into()).await),
        }
    }

    /// Cancels a replay that is no longer needed. Returns the reason, and a note if the
    /// replay may continue. The coordinator ignores this for a replay that has ended.
    async fn cancel(&mut self, client: &mut Client, run: RunId, why: Failure) -> Failure {
        let cancel = async {
            client.request_cancel(run).await?;
            while !client.next_event().await?.is_last() {}
            Ok::<_, ClientError>(())
        };
        let goes_on = |cause: &str| format!("run {run}, the replay, may continue: {cause}");
        tokio::select! {
            cancelled = timeout(CANCEL_TIMEOUT, cancel) => match cancelled {
                Ok(Ok(())) => why,
                Ok(Err(error)) => why.and(goes_on(&error.to_string())),
                Err(_) => why.and(goes_on("the coordinator has not confirmed its end")),
            },
            () = self.signals.next() => why.and(goes_on("interrupted before its end")),
        }
    }
}

/// Why a replay was not followed to its end.
enum Broken {
    /// The connection failed.
    Connection(ClientError),
    /// A difference was found, or a user cancelled it.
    Replay(Failure),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Replay(failure)
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Connection(error) => error.into(),
            Broken::Replay(failure) => failure,
        }
    }
}

/// Compares the results of a replay with the history.
struct Comparison<'a> {
    rerun: &'a Rerun,
    reader: LedgerReader,
    check: Check<'a>,
    /// Shows the rounds.
    progress: Progress,
}

impl Comparison<'_> {
    /// Follows a replay to its end, or to the first difference.
    async fn follow(
        &mut self,
        client: &mut Client,
        run: RunId,
        replay: Replay,
    ) -> Result<(), Broken> {
        let Replay { first, steps } = replay;
        self.check.begin(first);
        let last_round = last_round(self.rerun, first..first + steps);
        // The current step.
        let mut at = first;
        client.follow(run).await?;
        loop {
            match client.next_event().await? {
                RunEvent::Shards { step, first, shards, .. } => {
                    at = step;
                    self.take_shards(step, first, &shards)?;
                }
                RunEvent::State { step, digest, .. } => {
                    self.check.state(step, digest).map_err(Failure::failed)?;
                }
                mut event @ (RunEvent::Round { .. }
                | RunEvent::Labelled { .. }
                | RunEvent::Predicted { .. }
                | RunEvent::Evaluation { .. }) => {
                    self.check.shards_are_in(at).map_err(Failure::failed)?;
                    if let RunEvent::Round { rounds, .. } = &mut event {
                        *rounds = last_round;
                        self.progress.show(&event);
                    }
                }
                RunEvent::Finished { .. } => {
                    self.check.end(at + 1);
                    return Ok(());
                }
                RunEvent::Failed { reason, .. } => return Err(Failure::failed(reason).into()),
                RunEvent::Cancelled { .. } => {
                    let what = format!("run {run}, the replay, was cancelled");
                    return Err(Failure::cancelled(what).into());
                }
                _ => {}
            }
        }
    }

    /// Compares shards with the records of their step, if there are any: the history may
    /// have gaps. If it was thinned, the step is compared as a whole.
    fn take_shards(&mut self, step: u64, first: u32, found: &[ShardDone]) -> Result<(), Failure> {
        let recorded = self.reader.shards(self.rerun.record().run, step..step + 1);
        let recorded = recorded.map(|stored| stored.map(|it| (it.shard.replica, it.shard)));
        let recorded = recorded.collect::<Result<BTreeMap<u32, ShardRow>, LedgerError>>()?;
        if recorded.is_empty() {
            if let Some(recorded) = self.reader.step(self.rerun.record().run, step)? {
                self.check.part_of_step(recorded.digest, found.iter().map(|shard| shard.digest));
            }
            return Ok(());
        }
        for (replica, found) in (first..).zip(found) {
            let Some(recorded) = recorded.get(&replica) else {
                let what = format!("step {step}, replica {replica}, is not recorded");
                return Err(Failure::failed(what));
            };
            self.check.shard(recorded, found.digest);
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
}
