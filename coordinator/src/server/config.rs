//! Settings of the server.

use std::str::FromStr;
use std::time::Duration;

use common::limits;
use common::run_settings::CheckpointEvery;
use common::wire::tls::CoordinatorTls;
use serde::{Deserialize, Serialize};

use crate::ledger::HISTORY_BYTES;
use crate::runs::RunsFolder;

/// Changes what is logged while a run is active; `None` goes back.
pub type LogBy = fn(Option<&str>) -> Result<(), String>;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Settings of the scheduler.
    pub scheduler: crate::scheduler::SchedulerConfig,
    /// Most bytes of pulled segments in memory at one time; less for a state
    /// that is small itself.
    pub merge_memory: u64,
    /// Most bytes of example data, and of states that wait with their runs.
    pub data_memory: u64,
    /// Where runs are kept; without it, they end with this coordinator.
    pub runs: Option<RunsConfig>,
    /// Logs by a run's own filter; without it, runs have none.
    pub log_by: Option<LogBy>,
    /// What the coordinator proves itself by; without it, everybody is let in.
    pub tls: Option<CoordinatorTls>,
    /// Whether other hosts can reach it although it has no keys. Every status
    /// says so.
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
            insecure: false,
        }
    }
}

/// Checkpoints that are kept of a run, unless configured.
pub const KEEP_CHECKPOINTS: u32 = 3;

/// Where runs are kept, and how.
#[derive(Clone, Debug)]
pub struct RunsConfig {
    /// The folder.
    pub folder: RunsFolder,
    /// When to write checkpoints, beside the one at a run's end.
    pub checkpoint_every: CheckpointEvery,
    /// Checkpoints to keep of a run, the last ones; at least 1.
    pub keep_checkpoints: u32,
    /// What a run does when a checkpoint cannot be written.
    pub on_checkpoint_error: OnCheckpointError,
    /// Longest wait of a run that goes on for the workers that it had.
    pub resume_wait: Duration,
    /// Bytes that the history is held to, about: rows of shards make room.
    pub history_bytes: u64,
}

impl RunsConfig {
    /// What suits most.
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

/// What a run does when a checkpoint cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCheckpointError {
    /// It goes on, says so, and tries again when the next one is due.
    #[default]
    Continue,
    /// It fails.
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
