//! A run from a client's side, start to end: a cluster to run on, the
//! submission, the events, the final state, and Ctrl-C at any point.

use std::future::pending;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use common::id::RunId;
use common::limits;
use common::model::Registry;
use common::run_settings::{CheckpointEvery, RunSettings};
use common::settings::{LogFormat, start_logging};
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::message::RunEvent;
use common::wire::tls::CallerTls;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::Address;
use super::exit::Failure;
use super::progress::Progress;
use super::seen::Seen;
use super::summary::Summary;
use crate::client::{Client, ClientError, History, Recorder, StateFile, Submission};
use crate::local::{self, LocalCluster};

/// Longest wait for the coordinator to say that a run is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a coordinator that is gone to come back, in seconds.
const LONGEST_PATIENCE: u64 = 7 * 24 * 3600;

/// Most workers that `--local` starts.
const LOCAL_WORKERS: i64 = 256;

/// How long a coordinator is waited for that is gone.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Patience {
    /// Wait so long for a coordinator that is gone to come back, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(..=LONGEST_PATIENCE))]
    patience: u64,
}

/// Where to run.
#[derive(Debug, Args)]
pub(super) struct ClusterFlags {
    #[command(flatten)]
    pub(super) address: Address,
    /// Run on a cluster of N workers on this host, made for this run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=LOCAL_WORKERS))]
    pub(super) local: Option<u32>,
    /// The worker's binary, for --local [default: the one beside this one]
    #[arg(long, value_name = "PATH", requires = "local")]
    worker_binary: Option<PathBuf>,
    /// Slots of each worker, for --local [default: its share of the cores]
    #[arg(long, value_name = "N", requires = "local",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::SLOTS)))]
    slots: Option<u32>,
    /// Wait for so many workers before the run starts
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(..=limits::CONNECTIONS as i64))]
    pub(super) min_workers: u32,
    #[command(flatten)]
    patience: Patience,
    /// What to log to standard error, workers of --local included
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(super) log_level: String,
}

/// How to keep what is run.
#[derive(Debug, Default, Args)]
pub(super) struct KeepFlags {
    /// When to write checkpoints, in rounds or seconds: `10`, `30s` [default:
    /// what the coordinator is set to]
    #[arg(long, value_name = "WHEN")]
    checkpoint_every: Option<CheckpointEvery>,
    /// Checkpoints to keep, the last ones [default: what the coordinator is
    /// set to]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_checkpoints: Option<u32>,
    /// Keep the run in this folder, for --local: `coordinator show` and
    /// `replay` read it, `coordinator serve` goes on with what is unfinished
    #[arg(long, value_name = "DIR", requires = "local")]
    runs: Option<PathBuf>,
}

/// What to run.
#[derive(Debug)]
pub(super) struct Job {
    /// The spec.
    pub(super) spec: RunSpec,
    /// The state to start from; `None`: the model makes one.
    pub(super) state: Option<NetworkState>,
    /// What to do with the final state.
    pub(super) home: Home,
    /// How to keep it.
    pub(super) keep: KeepFlags,
    /// Whether to leave as soon as the run is queued.
    pub(super) detach: bool,
}

/// What to do with the final state.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// Where to write it.
    pub(super) output: Option<PathBuf>,
    /// Whether the outcome needs it.
    pub(super) keep: bool,
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
        /// The final state, where it was to be kept.
        state: Option<NetworkState>,
    },
}

/// What the first signal does; a second one leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    /// It cancels the run.
    Cancels,
    /// It leaves the run alone.
    Leaves,
}

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes over both signals.
    pub(super) fn new() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))
        };
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs a job to its end, and takes everything down that was started for it.
pub(super) fn perform(
    registry: Registry,
    job: Job,
    cluster: &ClusterFlags,
    progress: &mut Progress,
) -> Result<Outcome, Failure> {
    start_logging(LogFormat::Text, &cluster.log_level).map_err(Failure::bad_input)?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Workers start first: they get ready while the data is loaded.
        let mut local = match cluster.local {
            Some(workers) => {
                Some(start_local(&registry, cluster, workers, job.keep.runs.clone()).await?)
            }
            None => None,
        };
        // A cluster of its own is on loopback, and for this run alone.
        let (address, tls) = match &local {
            Some(local) => (local.address().to_string(), None),
            None => (cluster.address.coordinator.clone(), cluster.address.tls()?),
        };
        let patience = cluster.patience;
        let session =
            Session { address, tls, local: &mut local, signals: &mut signals, progress, patience };
        let settings = RunSettings {
            min_workers: Some(cluster.min_workers),
            checkpoint_every: job.keep.checkpoint_every,
            keep_checkpoints: job.keep.keep_checkpoints,
            log_level: None,
        };
        let outcome = session.perform(registry, job, settings).await;
        if let Some(local) = local {
            local.stop().await;
        }
        outcome
    });
    progress.close();
    // Loading data may still be under way; nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}

pub(super) async fn start_local(
    registry: &Registry,
    flags: &ClusterFlags,
    workers: u32,
    runs: Option<PathBuf>,
) -> Result<LocalCluster, Failure> {
    let config = local::Config {
        workers,
        slots: flags.slots.unwrap_or_else(|| local::slots_for(workers)),
        binary: flags.worker_binary.clone(),
        runs,
        log_level: flags.log_level.clone(),
    };
    LocalCluster::start(registry.clone(), config).await.map_err(Failure::bad_input)
}

/// Everything that a job talks to while it runs.
struct Session<'a> {
    address: String,
    tls: Option<CallerTls>,
    local: &'a mut Option<LocalCluster>,
    signals: &'a mut Signals,
    progress: &'a mut Progress,
    patience: Patience,
}

impl Session<'_> {
    async fn perform(
        mut self,
        registry: Registry,
        job: Job,
        settings: RunSettings,
    ) -> Result<Outcome, Failure> {
        let Job { spec, state, home, detach, .. } = job;
        let (address, tls) = (self.address.clone(), self.tls.clone());
        let submit = submit((&address, tls.as_ref()), registry, spec.clone(), state, settings);
        let (mut client, run) = tokio::select! {
            submitted = submit => submitted?,
            () = self.signals.next() => return Err(Failure::cancelled("cancelled")),
            reason = failure_of(self.local) => return Err(Failure::failed(reason)),
        };
        self.progress.submitted(run)?;
        if detach {
            return Ok(Outcome::Detached(run));
        }
        self.see_through(&mut client, (run, spec.model), Interrupt::Cancels, home).await
    }

    /// Follows a run to its end and brings its state home.
    async fn see_through(
        &mut self,
        client: &mut Client,
        (run, model): (RunId, String),
        interrupt: Interrupt,
        home: Home,
    ) -> Result<Outcome, Failure> {
        let mut recorder = Recorder::default();
        let followed = self.follow(client, (run, model), interrupt, &mut recorder).await;
        let mut outcome = followed.map_err(|failure| hint(failure, run))?;
        if home.output.is_some() || home.keep {
            let history = recorder.finish();
            let brought = self.bring_home(client, run, home, &history, &mut outcome).await;
            brought.map_err(|failure| hint(failure, run))?;
        }
        Ok(outcome)
    }

    /// Fetches the final state of a run that has ended well.
    async fn bring_home(
        &mut self,
        client: &mut Client,
        run: RunId,
        home: Home,
        history: &History,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let Outcome::Finished { summary, state: kept } = outcome else { return Ok(()) };
        let (state, spec) = tokio::select! {
            fetched = client.fetch(run) => fetched?,
            () = self.signals.next() => return Err(Failure::cancelled("cancelled")),
        };
        if let Some(path) = home.output {
            StateFile::save(&path, &state, &spec, history).map_err(Failure::failed)?;
            self.progress.saved(run, &path.display().to_string(), summary.digest)?;
            summary.output = Some(path);
        }
        *kept = home.keep.then_some(state);
        Ok(())
    }

    /// Shows and records the run's events until the last one.
    async fn follow(
        &mut self,
        client: &mut Client,
        (run, model): (RunId, String),
        interrupt: Interrupt,
        recorder: &mut Recorder,
    ) -> Result<Outcome, Failure> {
        client.follow(run).await?;
        let mut evaluation = None;
        let mut deadline = None;
        let mut seen = Seen::default();
        // Our own cluster does not come back.
        let patience = self.local.is_none().then(|| Duration::from_secs(self.patience.patience));
        loop {
            let event = tokio::select! {
                event = next_event(client, run, patience) => event?,
                () = self.signals.next() => {
                    if interrupt == Interrupt::Leaves {
                        return Err(Failure::cancelled(format!("left run {run}, which goes on")));
                    }
                    if deadline.is_some() {
                        return Err(Failure::cancelled("left before the run was cancelled"));
                    }
                    deadline = Some(Instant::now() + CANCEL_TIMEOUT);
                    self.progress.cancelling(run);
                    client.request_cancel(run).await?;
                    continue;
                }
                () = reached(deadline) => {
                    let message = format!("run {run} may go on: no word that it is cancelled");
                    return Err(Failure::cancelled(message));
                }
                reason = failure_of(self.local) => return Err(Failure::failed(reason)),
            };
            if !seen.is_news(&event) {
                continue;
            }
            self.progress.show(&event)?;
            recorder.take(&event);
            match event {
                RunEvent::Evaluation { split, results, .. } => evaluation = Some((split, results)),
                RunEvent::Failed { reason, .. } => {
                    return Err(Failure::failed(format!("run {run} has failed: {reason}")));
                }
                RunEvent::Cancelled { .. } => {
                    return Err(Failure::cancelled(format!("run {run} was cancelled")));
                }
                RunEvent::Finished {
                    digest,
                    rounds,
                    examples,
                    seconds,
                    loss,
                    accuracy,
                    synchronisation_share,
                    warnings,
                    unsaved,
                    ..
                } => {
                    let summary = Summary {
                        model,
                        rounds,
                        examples,
                        seconds,
                        loss,
                        accuracy,
                        synchronisation_share,
                        digest,
                        warnings,
                        unsaved,
                        evaluation,
                        output: None,
                    };
                    return Ok(Outcome::Finished { summary: Box::new(summary), state: None });
                }
                RunEvent::Queued { .. }
                | RunEvent::Started { .. }
                | RunEvent::Round { .. }
                | RunEvent::Labelled { .. }
                | RunEvent::Worker { .. }
                | RunEvent::Resumed { .. }
                | RunEvent::Checkpoint { .. }
                | RunEvent::CheckpointFailed { .. }
                | RunEvent::Shards { .. } => {}
            }
        }
    }
}

/// Follows a run that goes on by itself, from its beginning to its end.
pub(super) fn watch(
    address: &Address,
    run: RunId,
    home: Home,
    progress: &mut Progress,
    patience: Patience,
) -> Result<Outcome, Failure> {
    let tls = address.tls()?;
    let address = address.coordinator.clone();
    let outcome = super::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let mut client = tokio::select! {
            client = Client::connect(&address, tls.as_ref()) => client?,
            () = signals.next() => return Err(Failure::cancelled("cancelled")),
        };
        let known = client.status().await?.runs.into_iter().find(|known| known.id == run);
        let Some(known) = known else {
            let message = format!("run {run} is unknown: `coordinator status` names the runs");
            return Err(Failure::bad_input(message));
        };
        let (signals, local) = (&mut signals, &mut None);
        let mut session = Session { address, tls, local, signals, progress, patience };
        session.see_through(&mut client, (run, known.model), Interrupt::Leaves, home).await
    });
    progress.close();
    outcome
}

/// Loads and checks everything, then connects and submits.
async fn submit(
    (address, tls): (&str, Option<&CallerTls>),
    registry: Registry,
    spec: RunSpec,
    state: Option<NetworkState>,
    settings: RunSettings,
) -> Result<(Client, RunId), Failure> {
    let prepared =
        tokio::task::spawn_blocking(move || Submission::prepare(&registry, spec, state, settings));
    let submission = prepared.await.map_err(Failure::failed)?.map_err(Failure::bad_input)?;
    let mut client = Client::connect(address, tls).await?;
    let run = client.submit(&submission).await?;
    Ok((client, run))
}

/// The next event. A coordinator that is gone may come back, and go on with
/// the run: it is waited for, unless it is our own.
async fn next_event(
    client: &mut Client,
    run: RunId,
    patience: Option<Duration>,
) -> Result<RunEvent, ClientError> {
    let event = client.next_event().await;
    let (Err(ClientError::Lost { address, reason }), Some(patience)) = (&event, patience) else {
        return event;
    };
    let seconds = patience.as_secs();
    if seconds == 0 {
        return event;
    }
    // Whoever closed standard error does not want to know.
    let _ = writeln!(
        std::io::stderr(),
        "lost the coordinator at {address} ({reason}): trying again for {seconds} s"
    );
    client.reconnect(patience).await?;
    client.follow(run).await?;
    client.next_event().await
}

/// When the cluster of `--local` cannot go on; never without one.
async fn failure_of(local: &mut Option<LocalCluster>) -> String {
    match local {
        Some(local) => local.failure().await,
        None => pending().await,
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Tells how to find a run whose coordinator was lost.
fn hint(failure: Failure, run: RunId) -> Failure {
    if failure.exit() == super::exit::Exit::Lost {
        failure
            .and(format!("if the coordinator still runs, `coordinator follow {run}` shows the run"))
    } else {
        failure
    }
}
