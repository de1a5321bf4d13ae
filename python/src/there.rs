//! A run on a cluster: one on this host, which starts and ends with the run, or that of a
//! coordinator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::id::RunId;
use common::keys::{Keys, Member};
use common::run_settings::RunSettings;
use common::wire::event::TOLD;
use common::wire::message::RunEvent;
use common::wire::tls::CallerTls;
use coordinator::client::{Client, ClientError, Deduplication, Fetched, Loaded, Submission};
use coordinator::local::{self, LocalCluster, LocalConfig, WorkerProgram};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::error::Error;
use crate::spec::Place;
use crate::work::{Message, Outcome, Work};

/// How long a coordinator may take to confirm that a run is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

fn runtime() -> Result<Runtime, Error> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Error::Failed(format!("cannot start threads: {error}")))
}

fn tls(keys: Option<&Path>) -> Result<Option<CallerTls>, Error> {
    let Some(path) = keys else { return Ok(None) };
    let tls = Keys::load(path).and_then(|keys| CallerTls::new(&keys, Member::Client));
    tls.map(Some).map_err(|error| Error::BadInput(error.to_string()))
}

/// The status of a cluster, as JSON.
#[pyfunction]
#[pyo3(signature = (address, keys=None))]
pub(crate) fn status(py: Python<'_>, address: &str, keys: Option<PathBuf>) -> PyResult<String> {
    let status: Result<_, Error> = py.detach(|| {
        let tls = tls(keys.as_deref())?;
        runtime()?
            .block_on(async { Ok(Client::connect(address, tls.as_ref()).await?.status().await?) })
    });
    Ok(serde_json::to_string(&status?).unwrap_or_default())
}

/// Cancels a run of any client, and waits until it is cancelled.
#[pyfunction]
#[pyo3(signature = (address, run, keys=None))]
pub(crate) fn cancel(
    py: Python<'_>,
    address: &str,
    run: u64,
    keys: Option<PathBuf>,
) -> PyResult<()> {
    let cancelled: Result<(), Error> = py.detach(|| {
        let tls = tls(keys.as_deref())?;
        runtime()?.block_on(async {
            Ok(Client::connect(address, tls.as_ref()).await?.cancel(RunId(run)).await?)
        })
    });
    Ok(cancelled?)
}

/// Runs it to its end.
pub(crate) fn run(work: Work, mut cancelled: watch::Receiver<bool>) -> Result<Outcome, Error> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let (mut local, address, tls) = match &work.order.place {
            Place::Local { workers, program } => {
                let cluster = start(&work, *workers, program).await?;
                let address = cluster.address().to_string();
                (Some(cluster), address, None)
            }
            Place::At { address, keys } => (None, address.clone(), tls(keys.as_deref())?),
            Place::Here {} => return Err(Error::Failed("this run needs no cluster".into())),
        };
        let patience = if local.is_some() { 0 } else { work.order.patience };
        let mut session = Session { address, tls, patience: Duration::from_secs(patience) };
        let outcome = session.perform(work, &mut local, &mut cancelled).await;
        if let Some(local) = local {
            local.stop().await;
        }
        outcome
    });
    // A thread may still be loading data, which nobody waits for any more.
    runtime.shutdown_background();
    outcome
}

async fn start(work: &Work, workers: u32, program: &Path) -> Result<LocalCluster, Error> {
    let config = LocalConfig {
        workers,
        slots: local::slots_for(workers),
        worker: WorkerProgram { path: program.to_owned(), args: vec!["worker".into()] },
        runs: None,
        log_level: format!("error,{TOLD}=off"),
        relay: None,
    };
    Ok(LocalCluster::start(work.registry.clone(), config).await?)
}

/// The coordinator of a run.
struct Session {
    address: String,
    tls: Option<CallerTls>,
    /// How long to try to reach it.
    patience: Duration,
}

impl Session {
    async fn perform(
        &mut self,
        work: Work,
        local: &mut Option<LocalCluster>,
        cancelled: &mut watch::Receiver<bool>,
    ) -> Result<Outcome, Error> {
        let submitted = async {
            if let Some(run) = work.order.follow {
                let tls = self.tls.as_ref();
                let client = Client::connect_within(&self.address, tls, self.patience).await?;
                return Ok((work, client, RunId(run)));
            }
            let (work, submission) = tokio::task::spawn_blocking(|| prepare(work))
                .await
                .map_err(|error| Error::Failed(error.to_string()))??;
            let (client, run) = self.submit(&submission).await?;
            Ok::<_, Error>((work, client, run))
        };
        let (work, mut client, run) = tokio::select! {
            submitted = submitted => submitted?,
            _ = requested(cancelled) => {
                return Err(Error::Cancelled("the run was cancelled before it began".into()));
            }
            reason = failure_of(local) => return Err(Error::Failed(reason)),
        };
        let text = format!("{{\"submitted\":{{\"run\":{}}}}}", run.0);
        let _ = work.out.send(Message::Event(text));
        self.follow(&mut client, run, &work, (local, cancelled)).await?;
        let fetched = self.fetch(&mut client, run).await?;
        let status = client.status().await.map(|status| status.workers).unwrap_or_default();
        let memory = status.into_iter().map(|worker| (worker.name, worker.memory)).collect();
        Ok(Outcome { fetched, memory })
    }

    /// Connects and submits. If the answer is lost, the submission is repeated, and its key keeps the
    /// coordinator from running it twice.
    async fn submit(&self, submission: &Submission) -> Result<(Client, RunId), ClientError> {
        let tls = self.tls.as_ref();
        let mut client = Client::connect_within(&self.address, tls, self.patience).await?;
        loop {
            match client.submit(submission).await {
                Ok(run) => return Ok((client, run)),
                Err(error) => self.come_back(&mut client, error).await?,
            }
        }
    }

    /// Sends the run's events to Python until its end.
    async fn follow(
        &self,
        client: &mut Client,
        run: RunId,
        work: &Work,
        (local, cancelled): (&mut Option<LocalCluster>, &mut watch::Receiver<bool>),
    ) -> Result<(), Error> {
        client.follow(run).await?;
        let mut seen = Deduplication::default();
        let mut asked = false;
        loop {
            let event = tokio::select! {
                event = client.next_event() => event,
                interrupt = requested(cancelled), if !asked => {
                    if interrupt == Interrupt::Drops && local.is_none() {
                        return Err(Error::Cancelled(format!("nobody follows run {run} here")));
                    }
                    asked = true;
                    client.request_cancel(run).await?;
                    continue;
                }
                () = tokio::time::sleep(CANCEL_TIMEOUT), if asked => {
                    let text = format!(
                        "run {run} may continue: the coordinator has not confirmed that it is \
                         cancelled"
                    );
                    return Err(Error::Cancelled(text));
                }
                reason = failure_of(local) => return Err(Error::Failed(reason)),
            };
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.come_back(client, error).await?;
                    seen.reconnected();
                    client.follow(run).await?;
                    continue;
                }
            };
            if !seen.is_news(&event) {
                continue;
            }
            work.tell(&event);
            if let Some(reason) = local.as_mut().and_then(|it| it.why_nobody_can(&event)) {
                return Err(Error::Failed(reason));
            }
            match event {
                RunEvent::Finished { .. } => return Ok(()),
                RunEvent::Failed { reason, .. } => {
                    return Err(Error::Failed(format!("run {run} has failed: {reason}")));
                }
                RunEvent::Cancelled { .. } => {
                    return Err(Error::Cancelled(format!("run {run} was cancelled")));
                }
                _ => {}
            }
        }
    }

    async fn fetch(&self, client: &mut Client, run: RunId) -> Result<Fetched, ClientError> {
        loop {
            match client.fetch(run).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => self.come_back(client, error).await?,
            }
        }
    }

    /// Waits for a coordinator that was lost. Returns any other error.
    async fn come_back(&self, client: &mut Client, error: ClientError) -> Result<(), ClientError> {
        if !error.may_pass() || self.patience.is_zero() {
            return Err(error);
        }
        client.reconnect(self.patience).await
    }
}

/// Loads and checks everything.
fn prepare(mut work: Work) -> Result<(Work, Submission), Error> {
    let Loaded { spec, dataset, schema, state, .. } = work.load()?;
    let settings = RunSettings { min_workers: work.order.min_workers, ..RunSettings::default() };
    let submission = Submission::of(&work.registry, spec, (dataset, schema), state, settings)?;
    let submission = if work.order.once { submission.only_once() } else { submission };
    Ok((work, submission))
}

/// What Python does with a run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    /// It cancels it.
    Cancels,
    /// It drops its handle. A run on the cluster of others goes on.
    Drops,
}

/// Resolves when Python interrupts the run.
async fn requested(cancelled: &mut watch::Receiver<bool>) -> Interrupt {
    match cancelled.wait_for(|is_cancelled| *is_cancelled).await {
        Ok(_) => Interrupt::Cancels,
        Err(_) => Interrupt::Drops,
    }
}

/// Resolves when the cluster on this host cannot continue; never without one.
async fn failure_of(local: &mut Option<LocalCluster>) -> String {
    match local {
        Some(local) => local.failure().await,
        None => std::future::pending().await,
    }
}
