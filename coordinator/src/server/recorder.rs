//! The thread that writes to the runs folder, beside the work and in order:
//! what the engine sends is written one after another, and what came of a
//! checkpoint comes back as an event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc as queue;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::digest::Digest;
use common::id::RunId;
use common::state::NetworkState;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::engine::Event;
use crate::runs::{CheckpointRecord, Outcome, RunsFolder};

/// What is to be written.
enum Job {
    Checkpoint(Box<Checkpoint>),
    Outcome(RunId, Outcome),
}

/// A checkpoint to write.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Its manifest; the digest is made here unless it is known.
    pub(super) record: CheckpointRecord,
    /// Digest of the state, if it is known.
    pub(super) digest: Option<Digest>,
    /// The state.
    pub(super) state: Arc<NetworkState>,
    /// Checkpoints to keep, this one included.
    pub(super) keep: u32,
}

/// What came of a checkpoint.
#[derive(Debug)]
pub(super) struct Checkpointed {
    pub(super) run: RunId,
    /// Rounds behind it.
    pub(super) round: u64,
    /// The step that begins from it.
    pub(super) step: u64,
    pub(super) outcome: Result<Saved, String>,
}

/// A durable checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) ms: f64,
}

/// See the [module](self). Dropping it waits until all is written.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Until it is dropped.
    jobs: Option<queue::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread.
    pub(super) fn start(folder: RunsFolder, events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let (jobs, inbox) = queue::channel();
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || Writer { folder, events }.run(&inbox))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has a checkpoint written. [`Event::Checkpointed`] says when it is. The
    /// engine has one of a run under way at a time.
    pub(super) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.send(Job::Checkpoint(Box::new(checkpoint)));
    }

    /// Has written how a run ended.
    pub(super) fn outcome(&self, run: RunId, outcome: Outcome) {
        self.send(Job::Outcome(run, outcome));
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            error!("the thread that writes to the runs folder is gone");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught, and told to the engine.
            let _ = thread.join();
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

struct Writer {
    folder: RunsFolder,
    events: mpsc::Sender<Event>,
}

impl Writer {
    fn run(mut self, inbox: &queue::Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.perform(job))) {
                // The engine may have gone before: then nobody asks.
                let _ = self.events.blocking_send(Event::Panicked(panic));
                return;
            }
        }
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Checkpoint(checkpoint) => {
                let CheckpointRecord { run, round, step, .. } = checkpoint.record;
                let outcome = self.checkpoint(*checkpoint);
                let done = Checkpointed { run, round, step, outcome };
                let _ = self.events.blocking_send(Event::Checkpointed(done));
            }
            Job::Outcome(run, outcome) => {
                if let Err(error) = self.folder.write_outcome(run, &outcome) {
                    error!("how run {run} ended cannot be kept: {error}");
                }
            }
        }
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Saved, String> {
        let Checkpoint { mut record, digest, state, keep } = checkpoint;
        let started = Instant::now();
        record.digest = digest.unwrap_or_else(|| state.digest());
        record.bytes = state.bytes();
        self.folder.write_checkpoint(&record, &state).map_err(|error| error.to_string())?;
        if let Err(error) = self.folder.prune(record.run, record.round, keep) {
            warn!("old checkpoints of run {} cannot be removed: {error}", record.run);
        }
        let ms = started.elapsed().as_secs_f64() * 1e3;
        Ok(Saved { digest: record.digest, bytes: record.bytes, ms })
    }
}
