//! The runs folder in use: its settings, and its storage writer.

use common::id::RunId;
use tokio::sync::mpsc;

use super::history_queue::{Condition, HistoryQueue};
use super::writer::{Checkpoint, Event, Writer};
use crate::ledger::Record;
use crate::runs::RunsFolder;
use crate::server::config::{OnCheckpointError, RunsConfig};
use crate::server::rate_limit::RateLimit;

/// See the [module](self). `T` is the result of its tasks.
#[derive(Debug)]
pub(in crate::server) struct Journal<T> {
    config: RunsConfig,
    writer: Writer<T>,
    /// Checkpoint failures since the last successful one, for rate-limited log lines.
    failures: RateLimit,
}

impl<T: Send + 'static> Journal<T> {
    /// Starts the writer.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(in crate::server) fn start(
        config: RunsConfig,
        history: HistoryQueue,
        events: mpsc::Sender<Event<T>>,
    ) -> std::io::Result<Self> {
        let writer = Writer::start(config.folder.clone(), history, events)?;
        Ok(Self { config, writer, failures: RateLimit::default() })
    }

    /// Its settings.
    pub(in crate::server) fn config(&self) -> &RunsConfig {
        &self.config
    }

    /// Whether a run fails if its checkpoint cannot be written.
    pub(in crate::server) fn stops_on_checkpoint_errors(&self) -> bool {
        self.config.on_checkpoint_error == OnCheckpointError::Stop
    }

    /// The present state of the history.
    pub(in crate::server) fn condition(&self) -> Condition {
        self.writer.condition()
    }

    /// See [`Writer::is_full`].
    pub(in crate::server) fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// See [`Writer::record`].
    pub(in crate::server) fn record(&self, record: Record) {
        self.writer.record(record);
    }

    /// See [`Writer::checkpoint`].
    pub(in crate::server) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.writer.checkpoint(checkpoint);
    }

    /// See [`Writer::enqueue`].
    pub(in crate::server) fn enqueue(&self, task: impl FnOnce(&RunsFolder) -> T + Send + 'static) {
        self.writer.enqueue(task);
    }

    /// See [`Writer::perform`].
    pub(in crate::server) fn perform(&self, task: impl FnOnce(&RunsFolder) + Send + 'static) {
        self.writer.perform(task);
    }

    /// Forgets how often a run was started since its last checkpoint.
    pub(in crate::server) fn forget_starts(&self, run: RunId) {
        self.writer.perform(move |folder| {
            if let Err(error) = folder.forget_starts(run) {
                tracing::warn!("the progress of run {run} cannot be recorded: {error}");
            }
        });
    }

    /// Checkpoint failures, for the log.
    pub(in crate::server) fn failures(&mut self) -> &mut RateLimit {
        &mut self.failures
    }
}
