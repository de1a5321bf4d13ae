//! The storage writer: a thread that reads and writes the records of the runs folder, in order, in
//! parallel to the computation. Tasks run one after another, and the result of each is returned as
//! an [`Event`]. Clients learn that a run is accepted, over or resumed only after this event, when
//! it is on disk.
//!
//! Records of the history wait a moment for others, to be written together; no message to clients
//! depends on them. The steps before a checkpoint are recorded before the checkpoint is written. A
//! run that continues from a checkpoint therefore finds them recorded, and records all later ones
//! again. Steps are missing only if the history could not be written, and the history then says so.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self as queue, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::digest::Digest;
use common::id::RunId;
use common::state::NetworkState;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::history_queue::{BATCH, Condition, HistoryQueue, RETRY, Watched, bytes};
use crate::ledger::{CheckpointRow, Record};
use crate::runs::{CheckpointRecord, RunsFolder};
use crate::server::wall_clock::now_ms;

/// Approximate bound on the bytes of waiting records: beyond it, the next step waits. One step of
/// 65,536 replicas has about as many; nothing is lost at the bound.
const WAITING_BYTES: usize = 16 << 20;

/// How long a record waits for others to be written with it, unless there is other work: each write
/// of the history waits for the disk, and there may be thousands of short steps per second.
const GATHERING: Duration = Duration::from_millis(50);

/// Most events that may wait for the engine; beyond that, the writer waits.
pub(in crate::server) const EVENTS: usize = 256;

/// Events of the writer for the engine. `T` is the result of its tasks.
#[derive(Debug)]
pub(in crate::server) enum Event<T> {
    /// Some of the waiting records are written.
    Recorded,
    /// A checkpoint is durable, or could not be written.
    Checkpointed(Checkpointed),
    /// A task is done.
    Done(T),
    /// The writer panicked: a bug of ours.
    Panicked(Box<dyn Any + Send>),
}

/// Work on the folder; returns a result if the engine needs one.
type Task<T> = Box<dyn FnOnce(&RunsFolder) -> Option<T> + Send>;

/// A job of the writer.
enum Job<T> {
    Record(Box<Record>),
    Checkpoint(Box<Checkpoint>),
    Task(Task<T>),
}

/// A checkpoint to write.
#[derive(Debug)]
pub(in crate::server) struct Checkpoint {
    /// Its manifest; the digest is computed here unless it is known.
    pub(in crate::server) record: CheckpointRecord,
    /// Digest of the state, if it is known.
    pub(in crate::server) digest: Option<Digest>,
    /// The state.
    pub(in crate::server) state: Arc<NetworkState>,
    /// Checkpoints to keep, this one included.
    pub(in crate::server) keep: u32,
}

/// The result of a checkpoint.
#[derive(Debug)]
pub(in crate::server) struct Checkpointed {
    pub(in crate::server) run: RunId,
    /// Rounds that are complete in it.
    pub(in crate::server) round: u64,
    /// The step that starts from it.
    pub(in crate::server) step: u64,
    pub(in crate::server) outcome: Result<Saved, String>,
}

/// A durable checkpoint.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Saved {
    pub(in crate::server) digest: Digest,
    pub(in crate::server) bytes: u64,
    pub(in crate::server) ms: f64,
}

/// See the [module](self). Dropping it waits until everything is written.
#[derive(Debug)]
pub(in crate::server) struct Writer<T> {
    /// `Some` until it is dropped.
    jobs: Option<queue::Sender<Job<T>>>,
    /// Bytes of records that are not written yet.
    waiting: Arc<AtomicUsize>,
    condition: Watched,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread.
    pub(in crate::server) fn start(
        folder: RunsFolder,
        history: HistoryQueue,
        events: mpsc::Sender<Event<T>>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = queue::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let condition = history.condition();
        let thread = WriterThread { folder, history, events, waiting: waiting.clone() };
        let thread = thread::Builder::new()
            .name("storage-writer".into())
            .spawn(move || thread.run(&inbox))?;
        Ok(Self { jobs: Some(jobs), waiting, condition, thread: Some(thread) })
    }

    /// The present state of the history.
    pub(in crate::server) fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues a record.
    pub(in crate::server) fn record(&self, record: Record) {
        self.waiting.fetch_add(bytes(&record), Ordering::Relaxed);
        self.send(Job::Record(Box::new(record)));
    }

    /// Whether so many records wait that the computation must wait, too. [`Event::Recorded`] is
    /// sent when some are written.
    pub(in crate::server) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= WAITING_BYTES
    }

    /// Queues a checkpoint. [`Event::Checkpointed`] is sent when it is written. The engine has at
    /// most one checkpoint in progress.
    pub(in crate::server) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.send(Job::Checkpoint(Box::new(checkpoint)));
    }

    /// Queues a task, behind all earlier jobs. [`Event::Done`] has its result.
    pub(in crate::server) fn enqueue(&self, task: impl FnOnce(&RunsFolder) -> T + Send + 'static) {
        self.send(Job::Task(Box::new(move |folder| Some(task(folder)))));
    }

    /// The same for a task without a result.
    pub(in crate::server) fn perform(&self, task: impl FnOnce(&RunsFolder) + Send + 'static) {
        self.send(Job::Task(Box::new(move |folder| {
            task(folder);
            None
        })));
    }

    /// Queues a job. Records alone do not wake a writer that gathers them, unless the engine must
    /// wait for it.
    fn send(&self, job: Job<T>) {
        let may_wait = matches!(job, Job::Record(_)) && !self.is_full();
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            error!("the thread that writes to the runs folder is gone");
        }
        if !may_wait {
            self.wake();
        }
    }
}

impl<T> Writer<T> {
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.jobs = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // Panics of the thread were caught and sent to the engine.
            let _ = thread.join();
        }
    }
}

struct WriterThread<T> {
    folder: RunsFolder,
    history: HistoryQueue,
    events: mpsc::Sender<Event<T>>,
    /// Bytes of records that were sent but not received.
    waiting: Arc<AtomicUsize>,
}

impl<T> WriterThread<T> {
    fn run(mut self, inbox: &queue::Receiver<Job<T>>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(inbox))) {
            // If the engine has ended, the event is not needed.
            let _ = self.events.blocking_send(Event::Panicked(panic));
        }
    }

    fn work(&mut self, inbox: &queue::Receiver<Job<T>>) {
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
            if self.write(&mut records) {
                let _ = self.events.blocking_send(Event::Recorded);
            }
            next = other.and_then(|job| self.perform(job));
        }
        self.history.close();
    }

    /// The next job; `None` when there will be none. While the history cannot be written, writing
    /// is retried in the meantime.
    fn receive(&mut self, inbox: &queue::Receiver<Job<T>>) -> Option<Job<T>> {
        while self.history.is_failing() {
            match inbox.recv_timeout(RETRY) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.history.write([], Instant::now()),
            }
        }
        inbox.recv().ok()
    }

    /// Takes the records that belong together; returns the job behind them.
    ///
    /// The queue is not waited on, as every record would wake this thread: [`Writer::send`] does
    /// that for anything else.
    fn gather(&self, inbox: &queue::Receiver<Job<T>>, records: &mut Vec<Record>) -> Option<Job<T>> {
        let until = Instant::now() + GATHERING;
        while records.len() < BATCH {
            match inbox.try_recv() {
                Ok(Job::Record(record)) => records.push(*record),
                Ok(other) => return Some(other),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {
                    let left = until.saturating_duration_since(Instant::now());
                    // If the engine waits for the bound, the records are written at once.
                    if left.is_zero() || self.waiting.load(Ordering::Relaxed) >= WAITING_BYTES {
                        return None;
                    }
                    thread::park_timeout(left);
                }
            }
        }
        None
    }

    /// Writes records to the history; returns whether the engine may be waiting for this.
    fn write(&mut self, records: &mut Vec<Record>) -> bool {
        if records.is_empty() {
            return false;
        }
        let written: usize = records.iter().map(bytes).sum();
        self.history.write(records.drain(..), Instant::now());
        let before = self.waiting.fetch_sub(written, Ordering::Relaxed);
        before >= WAITING_BYTES && before - written < WAITING_BYTES
    }

    fn perform(&mut self, job: Job<T>) -> Option<Job<T>> {
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
                if let Some(result) = task(&self.folder) {
                    let _ = self.events.blocking_send(Event::Done(result));
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
