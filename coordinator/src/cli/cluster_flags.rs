//! Flags for where a run is computed and stored, and the cluster of `--local`.

use std::path::{Path, PathBuf};

use clap::Args;
use common::limits;
use common::run_settings::CheckpointEvery;
use common::settings::has_colour;
use common::wire::event::TOLD;

use super::exit::Failure;
use super::reconnect::ReconnectTimeout;
use super::screen;
use super::{Address, Program};
use crate::local::{self, LocalCluster, Relay, WorkerProgram};

/// Most workers that `--local` starts.
const LOCAL_WORKERS: i64 = 256;

/// The log target of refused connections. Only this program connects to a cluster on
/// loopback, and it reports such errors itself.
const DOOR: &str = "samebit_coordinator::server::net::admission";

/// Where to run.
#[derive(Debug, Args)]
pub(super) struct ClusterFlags {
    #[command(flatten)]
    pub(super) address: Address,
    /// Start a cluster of N workers on this host for this run. It listens on
    /// loopback and has no keys: --keys is refused, SAMEBIT_KEYS ignored
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=LOCAL_WORKERS))]
    pub(super) local: Option<u32>,
    /// Program to run as each worker of --local, such as the `worker` of another
    /// build [default: this program]
    #[arg(long, value_name = "PATH", requires = "local")]
    worker_binary: Option<PathBuf>,
    /// Slots of each worker, for --local [default: its share of the cores]
    #[arg(long, value_name = "N", requires = "local",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::SLOTS)))]
    slots: Option<u32>,
    /// Wait for N workers before the run starts
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(..=limits::CONNECTIONS as i64))]
    pub(super) min_workers: u32,
    #[command(flatten)]
    pub(super) patience: ReconnectTimeout,
    /// What to log to standard error, including the workers of --local
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(super) log_level: String,
}

impl ClusterFlags {
    /// The log filter, here and for workers of `--local`. With `--local`, events that the
    /// run prints are not logged as well.
    pub(super) fn log_filter(&self) -> String {
        match self.local {
            Some(_) => format!("{},{TOLD}=off,{DOOR}=off", self.log_level),
            None => self.log_level.clone(),
        }
    }

    /// The program that each worker of `--local` runs.
    fn worker(&self, program: &Program) -> Result<WorkerProgram, Failure> {
        let named = self.worker_binary.clone();
        let named = named.map(|path| WorkerProgram { path, args: Vec::new() });
        named.or_else(|| program.worker.clone()).ok_or_else(|| {
            Failure::bad_input(
                "this program cannot run as a worker: name a worker program with --worker-binary",
            )
        })
    }

    /// Refuses keys for a cluster without keys: a user who names a file expects its
    /// protection. (The variable may be set for other commands.) Also refuses to wait
    /// for more workers than the cluster has.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_workers(self.local, self.min_workers)?;
        let variable = std::env::var_os("SAMEBIT_KEYS");
        check_keys(self.local, self.address.keys.as_deref(), variable.as_deref().map(Path::new))
    }
}

fn check_workers(local: Option<u32>, min_workers: u32) -> Result<(), Failure> {
    match local {
        Some(local) if local < min_workers => Err(Failure::bad_input(format!(
            "--min-workers {min_workers}: expected at most {local}, the workers of --local {local}: \
             lower --min-workers or raise --local"
        ))),
        _ => Ok(()),
    }
}

fn check_keys(
    local: Option<u32>,
    keys: Option<&Path>,
    variable: Option<&Path>,
) -> Result<(), Failure> {
    match keys {
        Some(keys) if local.is_some() && variable != Some(keys) => {
            Err(Failure::bad_input(format!(
                "--keys {} cannot be used with --local: the local cluster listens on loopback and \
                 has no keys; leave out one of them",
                keys.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Where and how often to save the run.
#[derive(Debug, Default, Args)]
pub(super) struct KeepFlags {
    /// When to write checkpoints, in rounds or seconds: `10`, `30s` [default:
    /// the coordinator's setting]
    #[arg(long, value_name = "WHEN")]
    pub(super) checkpoint_every: Option<CheckpointEvery>,
    /// Number of checkpoints to keep [default: the coordinator's setting]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) keep_checkpoints: Option<u32>,
    /// Runs folder, for --local: `coordinator show` and `replay` read it,
    /// `coordinator serve` continues its unfinished runs
    #[arg(long, value_name = "DIR", requires = "local")]
    pub(super) runs: Option<PathBuf>,
}

/// Starts the cluster of `--local`.
pub(super) async fn start_local(
    program: &Program,
    flags: &ClusterFlags,
    workers: u32,
    runs: Option<PathBuf>,
) -> Result<LocalCluster, Failure> {
    let config = local::LocalConfig {
        workers,
        slots: flags.slots.unwrap_or_else(|| local::slots_for(workers)),
        worker: flags.worker(program)?,
        runs,
        log_level: flags.log_filter(),
        relay: screen::is_live()
            .then(|| Relay { write: screen::write_above, colour: has_colour() }),
    };
    LocalCluster::start(program.registry.clone(), config).await.map_err(Failure::bad_input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_local_cluster_does_not_tell_what_its_lines_tell() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            cluster: ClusterFlags,
        }
        let filter = |args: &[&str]| {
            let args = [&["command"], args].concat();
            <Command as clap::Parser>::parse_from(args).cluster.log_filter()
        };
        let (told, door) = (TOLD, "samebit_coordinator::server::net::admission");
        assert_eq!(filter(&["--local", "1"]), format!("warn,{told}=off,{door}=off"));
        assert_eq!(filter(&["--log-level", "info"]), "info");
    }

    #[test]
    fn workers_that_never_come_are_not_waited_for() {
        let error = format!("{:?}", check_workers(Some(2), 3).unwrap_err());
        assert!(
            error.contains("--min-workers 3: expected at most 2, the workers of --local 2"),
            "{error}"
        );
        for (local, min_workers) in [(Some(2), 2), (Some(3), 0), (None, 3)] {
            check_workers(local, min_workers).unwrap();
        }
    }

    #[test]
    fn keys_are_refused_where_there_are_none_to_use() {
        let file = Path::new("cluster.pem");
        let check = |local, keys, variable| check_keys(local, keys, variable).is_ok();
        assert!(!check(Some(1), Some(file), None));
        assert!(!check(Some(1), Some(file), Some(Path::new("other.pem"))));
        assert!(check(Some(1), Some(file), Some(file)), "it is for other commands");
        assert!(check(None, Some(file), None) && check(Some(1), None, None));
    }
}
