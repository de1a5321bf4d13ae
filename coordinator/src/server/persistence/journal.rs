//! The runs folder in use: its settings, and its storage writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::RunId;
use tokio::sync::mpsc;

use super::history_queue::{Condition, HistoryQueue};
use super::predecessor::Predecessor;
use super::writer::{Checkpoint, Event, Writer};
use crate::ledger::Record;
use crate::runs::{MemoryNote, RunsFolder};
use crate::server::config::{OnCheckpointError, RunsConfig};
use crate::server::rate_limit::RateLimit;

/// See the [module](self). `T` is the result of its tasks.
#[derive(Debug)]
pub(in crate::server) struct Journal<T> {
    config: RunsConfig,
    writer: Writer<T>,
    /// Checkpoint failures since the last successful one, for rate-limited log lines.
    failures: RateLimit,
    /// The coordinator before, if it was ended.
    predecessor: Option<Predecessor>,
    /// Whether a note of this coordinator's memory waits to be written.
    is_noting: Arc<AtomicBool>,
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
        let predecessor = Predecessor::of(&config.folder);
        let writer = Writer::start(config.folder.clone(), history, events)?;
        let journal = Self {
            config,
            writer,
            failures: RateLimit::default(),
            predecessor,
            is_noting: Arc::default(),
        };
        journal.forget_memory();
        Ok(journal)
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

    /// Notes this process's memory for the next coordinator, while it works on a run. A note that
    /// cannot be written is not missed: other records say so.
    pub(in crate::server) fn note_memory(&self, run: RunId) {
        if self.is_noting.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_noting = self.is_noting.clone();
        self.writer.perform(move |folder| {
            is_noting.store(false, Ordering::Relaxed);
            if let Err(error) = folder.note_memory(&MemoryNote::now(run)) {
                tracing::debug!("the memory of this coordinator cannot be noted: {error}");
            }
        });
    }

    /// Removes the note, as this coordinator leaves in order, or has read that of the one before.
    pub(in crate::server) fn forget_memory(&self) {
        self.writer.perform(|folder| {
            if let Err(error) = folder.forget_memory() {
                tracing::warn!("the note of a coordinator's memory cannot be removed: {error}");
            }
        });
    }

    /// The memory of the coordinator before, if it was ended while it worked on this run.
    pub(in crate::server) fn predecessor_memory(&self, run: RunId) -> Option<&str> {
        self.predecessor.as_ref()?.memory(run)
    }

    /// Checkpoint failures, for the log.
    pub(in crate::server) fn failures(&mut self) -> &mut RateLimit {
        &mut self.failures
    }
}
