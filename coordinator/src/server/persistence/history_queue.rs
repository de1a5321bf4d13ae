//! The history of runs, as the storage writer writes it. Runs continue whatever fails here: records
//! that cannot be written are buffered, up to a bound, and retried.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::id::RunId;
use common::wire::message::RunEvent;
use tracing::{error, info, warn};

use crate::ledger::{BUSY_TIMEOUT, Ledger, LedgerError, Record, RunRow};
use crate::runs::RunsFolder;

/// Most records that are written together.
pub(in crate::server) const BATCH: usize = 1024;

/// Approximate bound on the bytes of records that wait for a history that cannot be written; beyond
/// it, the oldest records are lost.
const KEPT_BYTES: usize = 64 << 20;

/// Bytes counted for a row, in addition to its variable-length fields.
const ROW_BYTES: usize = 256;

/// Time from a failed write to the next try. A retry does not wait for a process that holds the
/// file, as checkpoints are queued behind it.
pub(in crate::server) const RETRY: Duration = Duration::from_secs(5);

/// The state of the history, for the status.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Condition {
    /// The reason why it cannot be written; `None` while it can.
    pub(in crate::server) unrecorded: Option<String>,
    /// Whether shard rows were removed to respect the bound.
    pub(in crate::server) is_thinned: bool,
}

/// The same, updated by the writer.
pub(in crate::server) type Watched = Arc<Mutex<Condition>>;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct HistoryQueue {
    /// The folder of the history: nothing is written once another coordinator owns it.
    folder: RunsFolder,
    ledger: Ledger,
    /// Unfinished runs in the history, which must be recorded again in a new file.
    runs: BTreeMap<RunId, RunRow>,
    /// Whether those runs must be recorded before anything else.
    forgot_runs: bool,
    backlog: Backlog,
    /// The time of the last failed try; `None` while the history can be written.
    failed: Option<Instant>,
    condition: Watched,
}

impl HistoryQueue {
    /// Opens the history of a folder, or creates one. Beyond about this many bytes, shard rows are
    /// removed.
    pub(in crate::server) fn open(folder: &RunsFolder, bytes: u64) -> Self {
        let mut history = Self {
            folder: folder.clone(),
            ledger: Ledger::closed(folder.path()),
            runs: BTreeMap::new(),
            forgot_runs: false,
            backlog: Backlog::default(),
            failed: None,
            condition: Watched::default(),
        };
        history.ledger.set_bound(bytes);
        history.attempt(Instant::now());
        history
    }

    /// The state of the history, for the status.
    pub(in crate::server) fn condition(&self) -> Watched {
        self.condition.clone()
    }

    /// Whether it cannot be written now.
    pub(in crate::server) fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// Writes records in this order. While that fails, it is only retried at intervals, and at the
    /// end of a run.
    pub(in crate::server) fn write(
        &mut self,
        records: impl IntoIterator<Item = Record>,
        now: Instant,
    ) {
        let mut is_end = false;
        for record in records {
            is_end |= matches!(record, Record::Ended(_));
            for lost in self.backlog.push(record) {
                self.forgot_runs = true;
                self.note(lost);
            }
        }
        if is_end || self.failed.is_none_or(|failed| now >= failed + RETRY) {
            self.attempt(now);
        }
    }

    /// The last try, which may take its time.
    pub(in crate::server) fn close(&mut self) {
        if self.is_failing() {
            self.ledger.set_patience(BUSY_TIMEOUT);
            self.attempt(Instant::now());
        }
        if self.is_failing() {
            let lost = self.backlog.lost + self.backlog.records.len() as u64;
            error!("{lost} records of the history of runs are lost");
        }
    }

    fn attempt(&mut self, now: Instant) {
        let held = self.folder.check_lock().map_err(|error| error.to_string());
        let outcome = held.and_then(|()| self.flush().map_err(|error| error.to_string()));
        let was_failing = std::mem::take(&mut self.failed).is_some();
        let unrecorded = match outcome {
            Ok(()) => {
                let lost = std::mem::take(&mut self.backlog.lost);
                if was_failing {
                    self.ledger.set_patience(BUSY_TIMEOUT);
                    match lost {
                        0 => warn!("the history of runs can be written again; it is complete"),
                        _ => {
                            warn!(
                                "the history of runs can be written again; it lacks {lost} records"
                            )
                        }
                    }
                }
                None
            }
            Err(error) => {
                if !was_failing {
                    self.ledger.set_patience(Duration::ZERO);
                    error!(
                        "the history of runs cannot be written, runs continue: {error}; next try \
                         in {RETRY:?}"
                    );
                }
                self.failed = Some(now);
                Some(error)
            }
        };
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        let is_thinned = self.ledger.is_thinned();
        if is_thinned && !condition.is_thinned {
            info!(
                "the history of runs has grown to its bound (--history-size): rows of shards make \
                 room, and every step keeps its digest"
            );
        }
        *condition = Condition { unrecorded, is_thinned };
    }

    /// Writes all waiting records.
    fn flush(&mut self) -> Result<(), LedgerError> {
        self.forgot_runs |= said(self.ledger.begin())?;
        while self.forgot_runs || !self.backlog.records.is_empty() {
            let written = if self.forgot_runs {
                let runs: Vec<Record> = self.runs.values().cloned().map(Record::Run).collect();
                self.ledger.record(&runs)
            } else {
                self.ledger.record(self.backlog.batch())
            };
            let is_new = match written {
                Err(LedgerError::Replaced { notice }) => said(Ok(Some(notice)))?,
                Err(error) => return Err(error),
                Ok(()) => false,
            };
            if !is_new && !std::mem::take(&mut self.forgot_runs) {
                for record in self.backlog.take_batch() {
                    self.note(record);
                }
            }
            self.forgot_runs |= is_new;
        }
        Ok(())
    }

    /// Removes a record from the waiting ones.
    fn note(&mut self, record: Record) {
        match record {
            Record::Run(row) => drop(self.runs.insert(row.run, row)),
            Record::Ended(row) => drop(self.runs.remove(&row.run)),
            _ => {}
        }
    }
}

/// Notes that a new history file was created; returns whether one was.
fn said(notice: Result<Option<String>, LedgerError>) -> Result<bool, LedgerError> {
    let notice = notice?;
    if let Some(notice) = &notice {
        error!("{notice}");
    }
    Ok(notice.is_some())
}

/// Records that wait to be written, oldest first.
#[derive(Debug, Default)]
struct Backlog {
    records: VecDeque<Record>,
    /// Their approximate size in bytes.
    bytes: usize,
    /// Number of records lost since the last successful write.
    lost: u64,
}

impl Backlog {
    /// Adds a record; returns the number of records lost for it.
    fn push(&mut self, record: Record) -> Vec<Record> {
        self.bytes += bytes(&record);
        self.records.push_back(record);
        let mut lost = Vec::new();
        while self.bytes > KEPT_BYTES && self.records.len() > 1 {
            lost.extend(self.pop());
        }
        self.lost += lost.len() as u64;
        lost
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes -= bytes(&record);
        Some(record)
    }

    /// The oldest records, as many as are written together.
    fn batch(&mut self) -> &[Record] {
        let count = self.records.len().min(BATCH);
        &self.records.make_contiguous()[..count]
    }

    /// Removes these records.
    fn take_batch(&mut self) -> Vec<Record> {
        let count = self.records.len().min(BATCH);
        (0..count).filter_map(|_| self.pop()).collect()
    }
}

/// Approximate size of a record in bytes.
pub(in crate::server) fn bytes(record: &Record) -> usize {
    let more = match record {
        Record::Step(row) => {
            let counts = match &row.event {
                RunEvent::Evaluation { results, .. } => results.count_of_counts(),
                _ => 0,
            };
            row.shards.len() * ROW_BYTES + counts * size_of::<u64>()
        }
        Record::Run(row) => row.spec.len(),
        Record::Event(row) => row.detail.len(),
        Record::Ended(row) => row.reason.as_ref().map_or(0, String::len),
        Record::Rewind { .. } | Record::Checkpoint(_) => 0,
    };
    ROW_BYTES + more
}

#[cfg(test)]
mod tests;
