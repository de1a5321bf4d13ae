//! A run from the client's side, from start to end: the cluster, the submission, the
//! events, the final state, and Ctrl-C at any point.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use common::dataset::{Origin, Schema};
use common::id::RunId;
use common::model::Registry;
use common::run_settings::RunSettings;
use common::spec::RunSpec;
use common::wire::message::RunEvent;
use common::wire::tls::CallerTls;
use tokio::time::{Instant, sleep_until};

use super::cluster_flags::{ClusterFlags, KeepFlags, start_local};
use super::exit::Failure;
use super::output::{Brought, JobOutcome, Otherwise, Output};
use super::progress::{Progress, tell};
use super::reconnect::{
    ReconnectTimeout, Wait, connect, fetch, follow_on, next_event, status, submit,
};
use super::screen::start_logging;
use super::signals::{Signals, signals};
use super::splits::{ChosenBy, Splits};
use super::summary::Summary;
use super::{Address, Program};
use crate::client::{self, Client, Deduplication, InitialState, Submission};
use crate::local::LocalCluster;

/// Longest wait for the coordinator to confirm that a run is cancelled.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug)]
pub(super) struct Job {
    /// The spec.
    pub(super) spec: RunSpec,
    /// The folder of the relative paths in it.
    pub(super) base: PathBuf,
    /// The state to start from; `None`: the model makes one.
    pub(super) state: Option<InitialState>,
    /// Who has chosen the split, if the run does not train.
    pub(super) split: ChosenBy,
    /// Outputs for the final state.
    pub(super) home: Output,
    /// Where and how often to save it.
    pub(super) keep: KeepFlags,
    /// Whether to follow an existing run of the same spec and data instead, if the
    /// coordinator knows one.
    pub(super) once: bool,
    /// Whether to return as soon as the run is queued.
    pub(super) detach: bool,
}

/// The effect of the first signal; a second one exits at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    /// It cancels the run.
    Cancels,
    /// It leaves the run alone.
    Leaves,
}

/// Runs a job to its end, and stops everything that was started for it.
pub(super) fn perform(
    program: Program,
    job: Job,
    cluster: &ClusterFlags,
    progress: &mut Progress,
) -> Result<JobOutcome, Failure> {
    start_logging(&cluster.log_filter())?;
    cluster.check()?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = signals()?;
        // Workers start first: they get ready while the data is loaded.
        let mut local = match cluster.local {
            Some(workers) => {
                Some(start_local(&program, cluster, workers, job.keep.runs.clone()).await?)
            }
            None => None,
        };
        // A local cluster listens on loopback, and serves this run only.
        let (address, tls) = match &local {
            Some(local) => (local.address().to_string(), None),
            None => (cluster.address.coordinator.clone(), cluster.address.tls()?),
        };
        let patience = cluster.patience;
        let session = Session {
            address,
            tls,
            local: &mut local,
            signals: &mut signals,
            progress,
            patience,
            data: None,
        };
        let settings = RunSettings {
            min_workers: Some(cluster.min_workers),
            checkpoint_every: job.keep.checkpoint_every,
            keep_checkpoints: job.keep.keep_checkpoints,
            ..RunSettings::default()
        };
        let outcome = session.perform(program.registry, job, settings).await;
        if let Some(local) = local {
            // A second signal exits at once.
            tokio::select! {
                () = local.stop() => {}
                () = signals.next() => {}
            }
        }
        outcome
    });
    progress.close();
    // A thread may still be loading data, or waiting for the reader of a pipe: its
    // result is no longer needed.
    runtime.shutdown_background();
    outcome
}

/// Everything that a job talks to while it runs.
struct Session<'a> {
    address: String,
    tls: Option<CallerTls>,
    local: &'a mut Option<LocalCluster>,
    signals: &'a mut Signals,
    progress: &'a mut Progress,
    patience: ReconnectTimeout,
    /// What the data means, and its examples, if this client has read it.
    data: Option<(Schema, Splits)>,
}

impl Session<'_> {
    /// How long to try to reconnect. A local coordinator does not come back.
    fn patience(&self) -> Duration {
        if self.local.is_none() { self.patience.duration() } else { Duration::ZERO }
    }

    async fn perform(
        mut self,
        registry: Registry,
        job: Job,
        settings: RunSettings,
    ) -> Result<JobOutcome, Failure> {
        let Job { spec, base, state, split, home, once, detach, .. } = job;
        let (address, tls) = (self.address.clone(), self.tls.clone());
        let patience = self.patience();
        let to = (&*address, tls.as_ref(), patience);
        let model = spec.model.clone();
        let submit = async {
            let prepared = prepare(registry, (spec, split), base, state, (settings, once)).await?;
            let client = submit((to.0, to.1), &prepared.submission, &mut Wait::new(to.2)).await?;
            Ok::<_, Failure>((client, prepared.data, prepared.messages))
        };
        let ((mut client, run), data, messages) = tokio::select! {
            submitted = submit => submitted?,
            () = self.signals.next() => return Err(Failure::cancelled("cancelled")),
            reason = failure_of(self.local) => return Err(Failure::failed(reason)),
        };
        self.progress.understood(&data.0, data.1);
        tell(&messages);
        self.data = Some(data);
        self.progress.submitted(run);
        if detach {
            return Ok(JobOutcome::Detached(run));
        }
        self.see_through(&mut client, (run, model), Interrupt::Cancels, home).await
    }

    /// Follows a run to its end and writes its outputs.
    async fn see_through(
        &mut self,
        client: &mut Client,
        (run, model): (RunId, String),
        interrupt: Interrupt,
        home: Output,
    ) -> Result<JobOutcome, Failure> {
        // If nobody reads the output, a client that only follows has nothing left to do.
        let idle = interrupt == Interrupt::Leaves && !home.is_wanted();
        let followed = self.follow(client, (run, model), (interrupt, idle)).await;
        let mut summary = followed.map_err(|failure| hint(failure, run))?;
        let brought = if home.is_wanted() {
            self.bring_home(client, run, home).await
        } else {
            Ok(Brought::default())
        };
        let brought = brought.map_err(|failure| hint(failure, run))?;
        if let Some(path) = &brought.output {
            self.progress.saved(run, &path.display().to_string(), summary.digest);
            summary.output = Some(path.clone());
        }
        Ok(JobOutcome::Finished { summary, brought })
    }

    /// Fetches the final state of a run that has succeeded, and writes it.
    async fn bring_home(
        &mut self,
        client: &mut Client,
        run: RunId,
        home: Output,
    ) -> Result<Brought, Failure> {
        let patience = self.patience();
        let otherwise = if self.local.is_some() { Otherwise::Keep } else { Otherwise::Follow(run) };
        let brought = async {
            let fetched = fetch(client, run, patience).await?;
            // The reader of a pipe may never come.
            let bring = move || home.bring(&fetched, otherwise);
            tokio::task::spawn_blocking(bring).await.map_err(Failure::failed)
        };
        tokio::select! {
            brought = brought => brought,
            () = self.signals.next() => Err(Failure::cancelled("cancelled")),
        }
    }

    /// Shows the run's events until the last one.
    async fn follow(
        &mut self,
        client: &mut Client,
        (run, model): (RunId, String),
        (interrupt, idle): (Interrupt, bool),
    ) -> Result<Box<Summary>, Failure> {
        follow_on(client, run).await?;
        let (mut evaluation, mut last_round) = (None, Default::default());
        let mut deadline = None;
        let mut seen = Deduplication::default();
        let patience = self.patience();
        loop {
            let event = tokio::select! {
                event = next_event(client, run, patience, &mut seen) => event?,
                () = self.signals.next() => {
                    if interrupt == Interrupt::Leaves {
                        return Err(Failure::cancelled(format!("stopped following run {run}, which continues")));
                    }
                    if deadline.is_some() {
                        return Err(Failure::cancelled("interrupted before the run was cancelled"));
                    }
                    deadline = Some(Instant::now() + CANCEL_TIMEOUT);
                    self.progress.cancelling(run);
                    client.request_cancel(run).await?;
                    continue;
                }
                () = reached(deadline) => {
                    let message = format!(
                        "run {run} may continue: the coordinator has not confirmed that it is \
                         cancelled; `coordinator status` shows it"
                    );
                    return Err(Failure::cancelled(message));
                }
                reason = failure_of(self.local) => return Err(Failure::failed(reason)),
            };
            // Local workers are still starting.
            let is_no_news = self.local.is_some() && matches!(event, RunEvent::Queued { .. });
            if !is_no_news || self.progress.is_json() {
                self.progress.show(&event);
            }
            if let Some(reason) = self.local.as_mut().and_then(|it| it.why_nobody_can(&event)) {
                return Err(Failure::failed(reason));
            }
            if let Some(kind) = self.progress.failed().filter(|_| idle) {
                return Err(io::Error::from(kind).into());
            }
            match event {
                RunEvent::Evaluation { split, results, .. } => evaluation = Some((split, results)),
                RunEvent::Round { loss, accuracy, metrics, .. } => {
                    last_round = (loss, accuracy, metrics);
                }
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
                    audited,
                    unaudited,
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
                        last_round,
                        synchronisation_share,
                        digest,
                        warnings,
                        audits: (audited, unaudited),
                        unsaved,
                        evaluation,
                        data: self.data.clone(),
                        output: None,
                    };
                    return Ok(Box::new(summary));
                }
                RunEvent::Queued { .. }
                | RunEvent::Started { .. }
                | RunEvent::Labelled { .. }
                | RunEvent::Predicted { .. }
                | RunEvent::Worker { .. }
                | RunEvent::Resumed { .. }
                | RunEvent::Checkpoint { .. }
                | RunEvent::CheckpointFailed { .. }
                | RunEvent::Shards { .. }
                | RunEvent::State { .. } => {}
                // Events may be added.
                _ => {}
            }
        }
    }
}

/// Follows a run of another client, from its beginning to its end.
pub(super) fn watch(
    address: &Address,
    run: RunId,
    home: Output,
    progress: &mut Progress,
    patience: ReconnectTimeout,
) -> Result<JobOutcome, Failure> {
    let tls = address.tls()?;
    let address = address.coordinator.clone();
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = signals()?;
        let mut wait = Wait::new(patience.duration());
        let mut client = tokio::select! {
            client = connect(&address, tls.as_ref(), &mut wait) => client?,
            () = signals.next() => return Err(Failure::cancelled("cancelled")),
        };
        let status = status(&mut client, &mut wait).await?;
        let known = status.runs.into_iter().find(|known| known.id == run);
        let Some(known) = known else {
            let message = format!("run {run} is unknown: `coordinator status` lists the runs");
            return Err(Failure::bad_input(message));
        };
        let (signals, local) = (&mut signals, &mut None);
        let mut session = Session { address, tls, local, signals, progress, patience, data: None };
        session.see_through(&mut client, (run, known.model), Interrupt::Leaves, home).await
    });
    progress.close();
    // A thread may still wait for the reader of a pipe.
    runtime.shutdown_background();
    outcome
}

/// A run that is ready to be submitted.
struct Prepared {
    submission: Submission,
    /// What its data means, and its examples.
    data: (Schema, Splits),
    /// What people are told about its initial state.
    messages: Vec<String>,
}

/// Loads and checks everything.
async fn prepare(
    registry: Registry,
    (spec, split): (RunSpec, ChosenBy),
    base: PathBuf,
    state: Option<InitialState>,
    (settings, once): (RunSettings, bool),
) -> Result<Prepared, Failure> {
    let prepared = tokio::task::spawn_blocking(move || {
        let loaded = client::load(&registry, spec, &Origin::Files(base), state)?;
        let client::Loaded { mut spec, dataset, schema, state, mut messages } = loaded;
        let splits = Splits::of(&dataset);
        messages.extend(splits.choose(&mut spec, split)?);
        let split = (!spec.update_weights && !spec.predict).then_some(spec.evaluation.split);
        let data = (dataset, schema.clone());
        let submission = Submission::of(&registry, spec, data, state, settings)?;
        if let (Some(trained), Some(split)) = (&schema.data, split) {
            messages.extend(client::other_data(trained, &submission.data(), split));
        }
        Ok::<_, Failure>(Prepared { submission, data: (schema, splits), messages })
    });
    let mut prepared = prepared.await.map_err(Failure::failed)??;
    if once {
        prepared.submission = prepared.submission.only_once();
    }
    Ok(prepared)
}

/// Resolves when the cluster of `--local` cannot continue; never without one.
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

/// Adds how to find a run whose coordinator was lost.
fn hint(failure: Failure, run: RunId) -> Failure {
    if failure.exit() == super::exit::Exit::Lost {
        failure
            .and(format!("if the coordinator is running, `coordinator follow {run}` shows the run"))
    } else {
        failure
    }
}
