//! A cluster on this host, made for one run: a coordinator in this process and
//! worker processes on loopback.
//!
//! Workers cannot outlive this process: they are killed when the cluster is
//! dropped, and leave by themselves when their standard input closes, which
//! the system sees to even after SIGKILL.

mod workers;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use common::model::Registry;
use common::wire::message::RunEvent;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::runs::{RunsError, RunsFolder};
use crate::server;
pub use workers::Relay;
use workers::{WorkerCommand, keep_running};

/// A program that runs a worker.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// Its file.
    pub path: PathBuf,
    /// Arguments before all flags, such as the command `worker`.
    pub args: Vec<OsString>,
}

/// What a local cluster is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of worker processes.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// The program that each worker runs.
    pub worker: WorkerProgram,
    /// Where to keep the run, if anywhere.
    pub runs: Option<PathBuf>,
    /// What workers log.
    pub log_level: String,
    /// Who writes what workers write to standard error; without it they write there
    /// themselves.
    pub relay: Option<Relay>,
}

/// Why there is no local cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There is no worker binary.
    #[error(
        "no worker binary at {path}: build it with `cargo build --release -p samebit`, \
         or leave out --worker-binary"
    )]
    NoBinary {
        /// Where it was looked for.
        path: String,
    },
    /// A worker process cannot be started.
    #[error("cannot start the worker {path}: {error}")]
    Spawn {
        /// The binary.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The run cannot be kept.
    #[error(transparent)]
    Runs(#[from] RunsError),
    /// Loopback cannot be listened on.
    #[error("cannot make a cluster on this host: {0}")]
    Host(#[from] std::io::Error),
}

/// A running cluster on this host. [`LocalCluster::stop`] ends it in order;
/// dropping it kills the workers too.
#[derive(Debug)]
pub struct LocalCluster {
    address: SocketAddr,
    /// Until it has ended.
    server: Option<JoinHandle<std::io::Result<()>>>,
    stop_server: Option<oneshot::Sender<()>>,
    workers: JoinSet<()>,
    /// Workers that cannot work on the run, by name.
    unfit: BTreeSet<String>,
    stop_workers: watch::Sender<bool>,
    failures: mpsc::Receiver<String>,
}

/// A worker's share of this host's cores.
pub fn slots_for(workers: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    (cores / workers.max(1)).max(1)
}

impl LocalCluster {
    /// Starts coordinator and workers. They connect in their own time.
    pub async fn start(registry: Registry, config: Config) -> Result<Self, LocalError> {
        let path = config.worker.path.display().to_string();
        if !config.worker.path.is_file() {
            return Err(LocalError::NoBinary { path });
        }
        let runs = config.runs.as_deref().map(RunsFolder::open).transpose()?;
        let server_config =
            server::Config { runs: runs.map(server::RunsConfig::new), ..Default::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (stop_workers, stop) = watch::channel(false);
        let (report, failures) = mpsc::channel(config.workers as usize + 1);
        let mut workers = JoinSet::new();
        for number in 1..=config.workers {
            let command = WorkerCommand {
                program: config.worker.clone(),
                name: format!("local-{number}"),
                coordinator: address,
                slots: config.slots,
                log_level: config.log_level.clone(),
                relay: config.relay,
            };
            let process =
                command.spawn().map_err(|error| LocalError::Spawn { path: path.clone(), error })?;
            workers.spawn(keep_running(command, process, stop.clone(), report.clone()));
        }
        let (stop_server, shutdown) = oneshot::channel();
        let server = tokio::spawn(server::serve(listener, registry, server_config, async move {
            // A dropped cluster shuts down as well.
            let _ = shutdown.await;
        }));
        Ok(Self {
            address,
            server: Some(server),
            stop_server: Some(stop_server),
            workers,
            unfit: BTreeSet::new(),
            stop_workers,
            failures,
        })
    }

    /// Where the coordinator listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the cluster cannot go on, and says why: a worker was
    /// refused, no worker is left, or the server has ended. Cancel-safe.
    pub async fn failure(&mut self) -> String {
        let server = &mut self.server;
        tokio::select! {
            // The channel closes with the last worker's keeper.
            failure = self.failures.recv() => {
                failure.unwrap_or_else(|| "every worker has left".into())
            }
            reason = ended(server) => {
                *server = None;
                format!("the coordinator has stopped: {reason}")
            }
        }
    }

    /// Takes in an event of the run. Says why it would wait for ever, once none of
    /// the workers can work on it: no other ones will come.
    pub fn why_nobody_can(&mut self, event: &RunEvent) -> Option<String> {
        let RunEvent::Worker { worker, what, detail, .. } = event else { return None };
        if what != "cannot" {
            return None;
        }
        self.unfit.insert(worker.clone());
        (self.unfit.len() >= self.workers.len())
            .then(|| format!("no worker here can work on the run: {detail} (--worker-binary)"))
    }

    /// Ends workers and server, and waits for all of them: what the server still has
    /// to write takes as long as the disk needs. Whoever drops this future leaves
    /// at once.
    pub async fn stop(mut self) {
        // Workers first, while there is a server to say goodbye to.
        self.stop_workers.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        if let Some(stop) = self.stop_server.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(server) = self.server.take() {
            // Why it has ended does not matter any more.
            let _ = server.await;
        }
    }
}

/// When the server has ended by itself, and why; never after that.
async fn ended(server: &mut Option<JoinHandle<std::io::Result<()>>>) -> String {
    match server {
        Some(server) => match server.await {
            Ok(Ok(())) => "it was told to".into(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_stops_once_its_server_has_written_what_it_has_to() {
        let (stop_server, stopped) = oneshot::channel();
        let (written, is_written) = oneshot::channel();
        let server = tokio::spawn(async move {
            let _ = stopped.await;
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            let _ = written.send(());
            Ok(())
        });
        let cluster = LocalCluster {
            address: ([127, 0, 0, 1], 1).into(),
            server: Some(server),
            stop_server: Some(stop_server),
            workers: JoinSet::new(),
            unfit: BTreeSet::new(),
            stop_workers: watch::channel(false).0,
            failures: mpsc::channel(1).1,
        };
        cluster.stop().await;
        assert_eq!(is_written.await, Ok(()));
    }

    #[test]
    fn every_worker_has_a_slot() {
        assert_eq!(slots_for(u32::MAX), 1);
        assert!(slots_for(1) >= 1);
    }
}
