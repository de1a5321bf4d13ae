//! A cluster on this host for one run: a coordinator in this process and worker processes on
//! loopback.
//!
//! Workers cannot outlive this process: they are killed when the cluster is dropped, and exit
//! when their standard input closes, which the system does even after SIGKILL.

mod workers;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use common::model::Registry;
use common::wire::message::RunEvent;
use common::wire::shared_memory;
use common::worker_event::WorkerEvent;
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

/// Configuration of a local cluster.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Number of worker processes.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// The program that each worker runs.
    pub worker: WorkerProgram,
    /// The runs folder, if the run is to be stored.
    pub runs: Option<PathBuf>,
    /// The log filter of workers.
    pub log_level: String,
    /// Writes the workers' standard error; `None`: they write it themselves.
    pub relay: Option<Relay>,
}

/// Why a local cluster cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The worker's binary does not exist.
    #[error(
        "expected the worker's binary at {path}, found no such file: build it with \
         `cargo build --release -p samebit`, or leave out --worker-binary"
    )]
    NoBinary {
        /// The expected path.
        path: String,
    },
    /// A worker process cannot be started.
    #[error("cannot start the worker {path}: {error}")]
    Spawn {
        /// The binary.
        path: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The run cannot be stored.
    #[error(transparent)]
    Runs(#[from] RunsError),
    /// Listening on loopback failed.
    #[error("cannot start a cluster on this host: {0}")]
    Host(#[from] std::io::Error),
}

/// A running cluster on this host. [`LocalCluster::stop`] ends it in order;
/// dropping it kills the workers too.
#[derive(Debug)]
pub struct LocalCluster {
    address: SocketAddr,
    /// `None` once it has ended.
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
    /// Starts the coordinator and the workers, without waiting for them to connect.
    pub async fn start(registry: Registry, config: LocalConfig) -> Result<Self, LocalError> {
        let path = config.worker.path.display().to_string();
        if !config.worker.path.is_file() {
            return Err(LocalError::NoBinary { path });
        }
        let runs = config.runs.as_deref().map(RunsFolder::open).transpose()?;
        let socket_dir = shared_memory::default_directory();
        let server_config = server::ServerConfig {
            runs: runs.map(server::RunsConfig::new),
            share_memory: Some(socket_dir.clone()),
            ..Default::default()
        };
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
                socket_dir: socket_dir.clone(),
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

    /// The coordinator's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the cluster cannot continue, and returns why: a worker was refused, no
    /// worker is left, or the server has ended. Cancel-safe.
    pub async fn failure(&mut self) -> String {
        let server = &mut self.server;
        tokio::select! {
            // The channel closes when the last worker's task ends.
            failure = self.failures.recv() => {
                failure.unwrap_or_else(|| "all workers of the local cluster have exited".into())
            }
            reason = ended(server) => {
                *server = None;
                format!("the coordinator has stopped: {reason}")
            }
        }
    }

    /// Processes an event of the run. Returns an error once none of the workers can work on
    /// it: the run would wait forever, as no other workers will join.
    pub fn why_nobody_can(&mut self, event: &RunEvent) -> Option<String> {
        let RunEvent::Worker { worker, what, detail, .. } = event else { return None };
        if *what != WorkerEvent::Cannot {
            return None;
        }
        self.unfit.insert(worker.clone());
        (self.unfit.len() >= self.workers.len()).then(|| {
            format!("no local worker can work on the run: {detail}; check --worker-binary")
        })
    }

    /// Stops workers and server, and waits for them: the server's remaining writes take as
    /// long as the disk needs. Dropping this future does not wait.
    pub async fn stop(mut self) {
        // Workers first, so that they can say goodbye to the server.
        self.stop_workers.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        if let Some(stop) = self.stop_server.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(server) = self.server.take() {
            // Its result no longer matters.
            let _ = server.await;
        }
    }
}

/// Resolves with the reason when the server has ended by itself.
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
