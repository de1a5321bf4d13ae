//! Reads rows, with or without a running coordinator.

use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;
use rusqlite::{Connection, OpenFlags, Params, Row, params};

use super::error::LedgerError;
use super::event::{RUN_EVENTS, from_json};
use super::file::{BUSY_TIMEOUT, FILE, plain, with_end};
use super::pages::{PAGE, Pages};
use super::record::{CheckpointRow, EventRow};
use super::rows::{self, StoredRun, StoredShard, StoredStep, not_ours, stored};
use super::schema::check;
use super::thin::FIRST_WITH_SHARDS;

/// The runs, and the kind of step that gives their loss: evaluations if there are any,
/// otherwise rounds. (`evaluate` sorts before `train`.)
const RUNS: &str = "
    (SELECT runs.*,
        (SELECT s.kind FROM rounds s WHERE s.run = runs.run AND s.kind IN ('evaluate', 'train')
            ORDER BY s.kind LIMIT 1) AS judged_by
    FROM runs) r";

/// Columns of the run `r`. The last loss and accuracy, and the number of steps, are found
/// through an index.
const RUN_COLUMNS: &str = "
    run, at_ms, model, dataset, rounds, steps, forked_run, forked_round, ended_ms, state, digest,
    reason, judged_by,
    (SELECT s.round FROM rounds s WHERE s.run = r.run AND s.kind = 'train'
        ORDER BY s.step DESC LIMIT 1) AS round,
    (SELECT s.loss FROM rounds s WHERE s.run = r.run AND s.kind = r.judged_by
        ORDER BY s.step DESC LIMIT 1) AS loss,
    (SELECT s.accuracy FROM rounds s WHERE s.run = r.run AND s.kind = r.judged_by
        ORDER BY s.step DESC LIMIT 1) AS accuracy,
    (SELECT COUNT(*) FROM rounds s WHERE s.run = r.run) AS recorded,
    (SELECT MAX(s.step) FROM rounds s WHERE s.run = r.run) AS last_step,
    (SELECT c.round FROM checkpoints c WHERE c.run = r.run
        ORDER BY c.step DESC LIMIT 1) AS checkpoint";

/// Columns of a step.
const STEP_COLUMNS: &str = "run, step, at_ms, kind, round, epoch, examples, loss, accuracy, \
                            metrics, compute_ms, synchronisation_ms, bytes, workers, digest";

/// The same, and how many of its steps were thinned.
fn run_columns() -> String {
    format!(
        "{RUN_COLUMNS}, (SELECT COUNT(*) FROM rounds s WHERE s.run = r.run
            AND s.step < {FIRST_WITH_SHARDS}) AS thinned"
    )
}

/// Reads the history of a runs folder. It writes nothing, and does not block a coordinator.
#[derive(Debug)]
pub struct LedgerReader {
    path: PathBuf,
    connection: Connection,
}

impl LedgerReader {
    /// Opens the history of a folder.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(FILE);
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Err(LedgerError::Missing { path });
        }
        match Self::connect(path.clone(), &plain(&path), OpenFlags::empty()) {
            // Even a reader has to create a log beside the file, which may not be permitted.
            // If there is no log, it can read the file without one.
            Err(LedgerError::Sqlite { .. }) => {
                let log = fs::metadata(with_end(&path, "-wal"));
                if log.is_ok_and(|log| log.len() > 0) {
                    return Err(LedgerError::Unmerged { path });
                }
                let uri = immutable(&path);
                Self::connect(path, &uri, OpenFlags::SQLITE_OPEN_URI)
            }
            opened => opened,
        }
    }

    fn connect(path: PathBuf, name: &Path, more: OpenFlags) -> Result<Self, LedgerError> {
        let of = |error| LedgerError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let connection = Connection::open_with_flags(name, flags).map_err(of)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(of)?;
        check(&path, &connection)?;
        Ok(Self { path, connection })
    }

    /// All runs in their order, without their specs.
    pub fn runs(&self) -> Pages<'_, StoredRun> {
        let sql = format!(
            "SELECT {}, NULL AS spec FROM {RUNS} WHERE run > ? ORDER BY run LIMIT ?",
            run_columns()
        );
        let mut last = -1;
        Pages::new(move || {
            let runs = self.select(&sql, params![last, PAGE], rows::run)?;
            last = runs.last().map_or(last, |run| stored(run.run.0));
            Ok(runs)
        })
    }

    /// A run, with its spec; `None` if it is not recorded.
    pub fn run(&self, run: RunId) -> Result<Option<StoredRun>, LedgerError> {
        let sql = format!("SELECT {}, spec FROM {RUNS} WHERE run = ?", run_columns());
        Ok(self.select(&sql, params![stored(run.0)], rows::run)?.pop())
    }

    /// Whether a run's recorded end is this one.
    pub fn has_end(&self, run: RunId, state: RunEnd) -> Result<bool, LedgerError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE run = ? AND state = ?)";
        let found = self.select(sql, params![stored(run.0), state.name()], |row| row.get(0))?;
        Ok(found.contains(&true))
    }

    /// The steps of a run in their order.
    pub fn steps(&self, run: RunId) -> Pages<'_, StoredStep> {
        let sql = format!(
            "SELECT {STEP_COLUMNS} FROM rounds WHERE run = ? AND step > ? ORDER BY step LIMIT ?"
        );
        let mut last = -1;
        Pages::new(move || {
            let steps = self.select(&sql, params![stored(run.0), last, PAGE], rows::step)?;
            last = steps.last().map_or(last, |step| stored(step.step));
            Ok(steps)
        })
    }

    /// A step of a run; `None` if it is not recorded.
    pub fn step(&self, run: RunId, step: u64) -> Result<Option<StoredStep>, LedgerError> {
        let sql = format!("SELECT {STEP_COLUMNS} FROM rounds WHERE run = ? AND step = ?");
        Ok(self.select(&sql, params![stored(run.0), stored(step)], rows::step)?.pop())
    }

    /// The last steps of a run in their order, at most `count`.
    pub fn last_steps(&self, run: RunId, count: usize) -> Result<Vec<StoredStep>, LedgerError> {
        let sql =
            format!("SELECT {STEP_COLUMNS} FROM rounds WHERE run = ? ORDER BY step DESC LIMIT ?");
        let mut steps = self.select(&sql, params![stored(run.0), count], rows::step)?;
        steps.reverse();
        Ok(steps)
    }

    /// The shards of steps of a run, by step and replica.
    pub fn shards(&self, run: RunId, steps: Range<u64>) -> Pages<'_, StoredShard> {
        let sql = "SELECT s.run, s.step, r.round, s.replica, w.name AS worker, s.attempt, s.digest,
                          s.compute_us
                   FROM shards s JOIN workers w ON w.id = s.worker
                   LEFT JOIN rounds r ON r.run = s.run AND r.step = s.step
                   WHERE s.run = ? AND (s.step, s.replica) > (?, ?) AND s.step < ?
                   ORDER BY s.step, s.replica LIMIT ?";
        let mut last = (stored(steps.start), -1);
        Pages::new(move || {
            let place = params![stored(run.0), last.0, last.1, stored(steps.end), PAGE];
            let shards = self.select(sql, place, rows::shard)?;
            if let Some(shard) = shards.last() {
                last = (stored(shard.step), i64::from(shard.shard.replica));
            }
            Ok(shards)
        })
    }

    /// The events of a run, in the order in which they were recorded.
    pub fn events(&self, run: RunId) -> Pages<'_, EventRow> {
        let sql = "SELECT e.id, e.run, e.at_ms, e.step, e.kind, w.name AS worker, e.detail
                   FROM events e LEFT JOIN workers w ON w.id = e.worker
                   WHERE e.run = ? AND e.id > ? ORDER BY e.id LIMIT ?";
        let mut last = 0;
        Pages::new(move || {
            let events = self.select(sql, params![stored(run.0), last, PAGE], rows::event)?;
            last = events.last().map_or(last, |(id, _)| *id);
            Ok(events.into_iter().map(|(_, event)| event).collect())
        })
    }

    /// All checkpoints of a run in order, including those whose files are gone.
    pub fn checkpoints(&self, run: RunId) -> Pages<'_, CheckpointRow> {
        let sql = "SELECT run, at_ms, round, step, digest, bytes, ms FROM checkpoints
                   WHERE run = ? AND step > ? ORDER BY step LIMIT ?";
        let mut last = -1;
        Pages::new(move || {
            let rows = self.select(sql, params![stored(run.0), last, PAGE], rows::checkpoint)?;
            last = rows.last().map_or(last, |row| stored(row.step));
            Ok(rows)
        })
    }

    /// The events of the steps of a run in order (the last [`RUN_EVENTS`] of those that were
    /// not thinned), and the event of its end. Numbers that were not finite are `None` or
    /// NaN.
    pub fn run_events(&self, run: RunId) -> Result<Vec<RunEvent>, LedgerError> {
        let run = stored(run.0);
        let event = |row: &Row<'_>| {
            let json = row.get_ref(0)?.as_str()?;
            from_json(json).map_err(not_ours)
        };
        let sql = "SELECT event FROM rounds WHERE run = ? AND event <> '' ORDER BY step DESC
                   LIMIT ?";
        let mut events = self.select(sql, params![run, RUN_EVENTS], event)?;
        events.reverse();
        let sql = "SELECT ended FROM runs WHERE run = ? AND ended IS NOT NULL";
        events.extend(self.select(sql, params![run], event)?);
        Ok(events)
    }

    /// All rows of a statement, which is closed afterwards.
    fn select<T>(
        &self,
        sql: &str,
        values: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let select = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map(values, row)?.collect()
        };
        select().map_err(|error| LedgerError::of(&self.path, error))
    }
}

/// The name with which SQLite treats a file as immutable, so that it creates no files beside
/// it.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in plain(path).as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri += "?immutable=1";
    uri.into()
}
