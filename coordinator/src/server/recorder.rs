//! The thread that reads and writes the records of the runs folder, beside the
//! work and in order: what the engine sends is done one after another, and what
//! came of it comes back as an event. Nobody is told of what an event has not
//! said yet: clients hear that a run is accepted, over or taken up again once
//! that is on disk.
//!
//! Records of the history wait a moment for others, to be written together; nothing
//! that is told depends on them. The history of a step is recorded before a later
//! checkpoint is there: a run that goes on from a checkpoint finds all steps before it
//! recorded, and records all others again. Only where the history could not be written
//! does it lack steps, and says so.

mod history;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self as queue, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::digest::Digest;
use common::id::RunId;
use common::state::NetworkState;
use tokio::sync::mpsc;
use tracing::{error, warn};

use self::history::{BATCH, RETRY, Watched};
pub(super) use self::history::{Condition, History};
use super::engine::Event;
use crate::ledger::{CheckpointRow, Record};
use crate::runs::{CheckpointRecord, RunsFolder};

/// Bytes of records that may wait to be written, about: with more, the next step
/// waits. One step of 65,536 replicas takes as many; nothing is lost at the bound.
const WAITING_BYTES: usize = 16 << 20;

/// How long a record waits for others to be written together with, unless something
/// else is to be done: each write of the history waits for the disk, and there may be
/// thousands of short steps a second.
const GATHERING: Duration = Duration::from_millis(50);

/// What is done to the folder, and what came of it, where the engine is to be told.
type Task = Box<dyn FnOnce(&RunsFolder) -> Option<Event> + Send>;

/// What is to be done.
enum Job {
    Record(Box<Record>),
    Checkpoint(Box<Checkpoint>),
    Task(Task),
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
    /// Bytes of records that are not written.
    waiting: Arc<AtomicUsize>,
    condition: Watched,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread.
    pub(super) fn start(
        folder: RunsFolder,
        history: History,
        events: mpsc::Sender<Event>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = queue::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let condition = history.condition();
        let writer = Writer { folder, history, events, waiting: waiting.clone() };
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writer.run(&inbox))?;
        Ok(Self { jobs: Some(jobs), waiting, condition, thread: Some(thread) })
    }

    /// How the history is now.
    pub(super) fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has something recorded.
    pub(super) fn record(&self, record: Record) {
        self.waiting.fetch_add(history::bytes(&record), Ordering::Relaxed);
        self.send(Job::Record(Box::new(record)));
    }

    /// Whether so much waits to be recorded that the work should wait, too.
    /// [`Event::Recorded`] says when some of it is written.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= WAITING_BYTES
    }

    /// Has a checkpoint written. [`Event::Checkpointed`] says when it is. The
    /// engine has one of a run under way at a time.
    pub(super) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.send(Job::Checkpoint(Box::new(checkpoint)));
    }

    /// Has something done to the folder, after all that was sent before. What it
    /// gives is told to the engine.
    pub(super) fn enqueue(&self, task: impl FnOnce(&RunsFolder) -> Event + Send + 'static) {
        self.send(Job::Task(Box::new(move |folder| Some(task(folder)))));
    }

    /// The same for what the engine is not told of.
    pub(super) fn perform(&self, task: impl FnOnce(&RunsFolder) + Send + 'static) {
        self.send(Job::Task(Box::new(move |folder| {
            task(folder);
            None
        })));
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
    history: History,
    events: mpsc::Sender<Event>,
    /// Bytes of records that were sent and not taken up.
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    fn run(mut self, inbox: &queue::Receiver<Job>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(inbox))) {
            // The engine may have gone before: then nobody asks.
            let _ = self.events.blocking_send(Event::Panicked(panic));
        }
    }

    fn work(&mut self, inbox: &queue::Receiver<Job>) {
        let mut records = Vec::new();
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.receive(inbox)) {
            let other = match job {
                Job::Record(record) => {
                    records.push(*record);
                    self.gather(inbox, &mut records)
                }
                other => Some(other),
            };
            if self.take_up(&mut records) {
                let _ = self.events.blocking_send(Event::Recorded);
            }
            next = other.and_then(|job| self.perform(job));
        }
        self.history.close();
    }

    /// The next job; nothing once there will be none. While the history cannot
    /// be written, that is tried again meanwhile.
    fn receive(&mut self, inbox: &queue::Receiver<Job>) -> Option<Job> {
        while self.history.is_failing() {
            match inbox.recv_timeout(RETRY) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.history.write([], Instant::now()),
            }
        }
        inbox.recv().ok()
    }

    /// Adds the records that come, as far as they go together; gives the job behind
    /// them.
    fn gather(&self, inbox: &queue::Receiver<Job>, records: &mut Vec<Record>) -> Option<Job> {
        let until = Instant::now() + GATHERING;
        while records.len() < BATCH {
            // Whoever waits for room is not to wait for more records.
            let wait = match self.waiting.load(Ordering::Relaxed) < WAITING_BYTES {
                true => until.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            match inbox.recv_timeout(wait) {
                Ok(Job::Record(record)) => records.push(*record),
                Ok(other) => return Some(other),
                Err(_) => return None,
            }
        }
        None
    }

    /// Hands records to the history; says whether the engine may wait for it.
    fn take_up(&mut self, records: &mut Vec<Record>) -> bool {
        if records.is_empty() {
            return false;
        }
        let bytes: usize = records.iter().map(history::bytes).sum();
        self.history.write(records.drain(..), Instant::now());
        let before = self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        before >= WAITING_BYTES && before - bytes < WAITING_BYTES
    }

    fn perform(&mut self, job: Job) -> Option<Job> {
        match job {
            Job::Record(_) => return Some(job),
            Job::Checkpoint(checkpoint) => {
                let CheckpointRecord { ref submission, round, step, .. } = checkpoint.record;
                let run = submission.run;
                let outcome = self.checkpoint(*checkpoint);
                let done = Checkpointed { run, round, step, outcome };
                let _ = self.events.blocking_send(Event::Checkpointed(done));
            }
            Job::Task(task) => {
                if let Some(event) = task(&self.folder) {
                    let _ = self.events.blocking_send(event);
                }
            }
        }
        None
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Saved, String> {
        let Checkpoint { mut record, digest, state, keep } = checkpoint;
        let started = Instant::now();
        record.digest = digest.unwrap_or_else(|| state.digest());
        record.bytes = state.bytes();
        self.folder.write_checkpoint(&record, &state).map_err(|error| error.to_string())?;
        if let Err(error) = self.folder.prune(record.submission.run, record.round, keep) {
            warn!("old checkpoints of run {} cannot be removed: {error}", record.submission.run);
        }
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let CheckpointRecord { submission, round, step, digest, bytes, .. } = record;
        let run = submission.run;
        let row = CheckpointRow { run, at_ms: now_ms(), round, step, digest, bytes, ms };
        self.history.write([Record::Checkpoint(row)], Instant::now());
        Ok(Saved { digest, bytes, ms })
    }
}

#[cfg(test)]
mod tests;
