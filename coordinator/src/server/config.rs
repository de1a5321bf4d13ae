//! Settings of the server.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use common::limits;
use common::run_settings::CheckpointEvery;
use common::wire::tls::CoordinatorTls;
use serde::{Deserialize, Serialize};

use crate::ledger::HISTORY_BYTES;
use crate::runs::RunsFolder;

/// Changes the log filter while a run is active; `None` restores the server's own.
pub type LogBy = fn(Option<&str>) -> Result<(), String>;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Settings of the scheduler.
    pub scheduler: crate::scheduler::SchedulerConfig,
    /// Most bytes of pulled segments in memory at one time; a small state needs less.
    pub merge_memory: u64,
    /// Most bytes of example data, and of states of runs that are queued.
    pub data_memory: u64,
    /// The runs folder; without one, runs end with this coordinator.
    pub runs: Option<RunsConfig>,
    /// Logs with a run's own filter; without it, runs cannot have one.
    pub log_by: Option<LogBy>,
    /// The coordinator's certificate and keys; without them, every peer is accepted.
    pub tls: Option<CoordinatorTls>,
    /// The directory for a Unix socket, at which workers on this host fetch memory to share;
    /// without it, everything is sent.
    pub share_memory: Option<PathBuf>,
    /// Whether other hosts can reach the coordinator although it has no keys. Every status shows
    /// this.
    pub insecure: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            scheduler: Default::default(),
            merge_memory: 64 << 20,
            data_memory: 8 << 30,
            runs: None,
            log_by: None,
            tls: None,
            share_memory: None,
            insecure: false,
        }
    }
}

/// Checkpoints kept per run, unless configured.
pub const KEEP_CHECKPOINTS: u32 = 3;

/// The runs folder and its settings.
#[derive(Clone, Debug)]
pub struct RunsConfig {
    /// The folder.
    pub folder: RunsFolder,
    /// Interval of checkpoints, in addition to the one at a run's end.
    pub checkpoint_every: CheckpointEvery,
    /// Number of checkpoints to keep of a run, the latest ones; at least 1.
    pub keep_checkpoints: u32,
    /// The reaction of a run to a checkpoint that cannot be written.
    pub on_checkpoint_error: OnCheckpointError,
    /// Longest wait of a continued run for the workers that it had.
    pub resume_wait: Duration,
    /// Approximate bound on the bytes of the history: the oldest shard rows are removed to respect
    /// it.
    pub history_bytes: u64,
}

impl RunsConfig {
    /// The defaults.
    pub fn new(folder: RunsFolder) -> Self {
        Self {
            folder,
            checkpoint_every: CheckpointEvery::default(),
            keep_checkpoints: KEEP_CHECKPOINTS,
            on_checkpoint_error: OnCheckpointError::default(),
            resume_wait: limits::RECONNECT_MAX,
            history_bytes: HISTORY_BYTES,
        }
    }
}

/// The reaction of a run to a checkpoint that cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCheckpointError {
    /// The run continues, reports the failure, and tries again when the next checkpoint is due.
    #[default]
    Continue,
    /// The run fails.
    Stop,
}

impl FromStr for OnCheckpointError {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "continue" => Ok(Self::Continue),
            "stop" => Ok(Self::Stop),
            _ => Err("expected continue or stop".into()),
        }
    }
}
