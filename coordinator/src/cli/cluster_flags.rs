//! Where a run is carried out and kept: the flags that say so, and the cluster
//! of `--local`.

use std::path::PathBuf;

use clap::Args;
use common::limits;
use common::model::Registry;
use common::run_settings::CheckpointEvery;

use super::Address;
use super::exit::Failure;
use super::patience::Patience;
use crate::local::{self, LocalCluster};

/// Most workers that `--local` starts.
const LOCAL_WORKERS: i64 = 256;

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
    pub(super) patience: Patience,
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
    pub(super) checkpoint_every: Option<CheckpointEvery>,
    /// Checkpoints to keep, the last ones [default: what the coordinator is
    /// set to]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) keep_checkpoints: Option<u32>,
    /// Keep the run in this folder, for --local: `coordinator show` and
    /// `replay` read it, `coordinator serve` goes on with what is unfinished
    #[arg(long, value_name = "DIR", requires = "local")]
    pub(super) runs: Option<PathBuf>,
}

/// Starts the cluster of `--local`.
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
