//! Writes records into the tables.

use std::collections::BTreeMap;

use common::id::RunId;
use rusqlite::{Transaction, params};

use super::event::{Columns, text};
use super::record::{CheckpointRow, EndRow, EventRow, RunRow, StepRow};
use super::rows::stored;

/// An open transaction that records are added to.
pub(super) struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    /// Numbers of workers that were looked up, by name.
    workers: BTreeMap<&'a str, i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>) -> Self {
        Self { transaction, workers: BTreeMap::new() }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(sql)?.execute(values).map(|_| ())
    }

    /// Records a run. It replaces an earlier run of the same number, whose folder was removed.
    pub(super) fn run(&self, row: &RunRow) -> rusqlite::Result<()> {
        let other = "EXISTS (SELECT 1 FROM runs WHERE run = ?1 AND at_ms <> ?2)";
        let place = (stored(row.run.0), stored(row.at_ms));
        for table in ["rounds", "shards", "events", "checkpoints", "runs"] {
            self.execute(&format!("DELETE FROM {table} WHERE run = ?1 AND {other}"), place)?;
        }
        let (forked_run, forked_round) = row.forked_from.unzip();
        self.execute(
            "INSERT INTO runs (run, at_ms, model, spec, dataset, rounds, steps, forked_run,
                               forked_round)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (run) DO UPDATE SET
                ended_ms = NULL, state = NULL, digest = NULL, reason = NULL, ended = NULL",
            params![
                stored(row.run.0),
                stored(row.at_ms),
                row.model,
                row.spec,
                row.dataset.0,
                stored(row.rounds),
                stored(row.steps),
                forked_run.map(|run| stored(run.0)),
                forked_round.map(stored),
            ],
        )
    }

    pub(super) fn rewind(&self, run: RunId, step: u64) -> rusqlite::Result<()> {
        let place = params![stored(run.0), stored(step)];
        self.execute("DELETE FROM rounds WHERE run = ? AND step >= ?", place)?;
        self.execute("DELETE FROM shards WHERE run = ? AND step >= ?", place)?;
        self.execute("DELETE FROM checkpoints WHERE run = ? AND step > ?", place)
    }

    pub(super) fn step(&mut self, row: &'a StepRow, columns: &Columns) -> rusqlite::Result<()> {
        let (run, step) = (stored(row.run.0), stored(row.step));
        self.execute(
            "INSERT OR REPLACE INTO rounds (run, step, at_ms, kind, round, epoch, examples, loss,
                accuracy, metrics, compute_ms, synchronisation_ms, bytes, workers, digest, event)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                run,
                step,
                stored(row.at_ms),
                columns.kind.name(),
                columns.round.map(stored),
                stored(columns.epoch),
                stored(columns.examples),
                columns.loss,
                columns.accuracy,
                columns.metrics,
                columns.compute_ms,
                columns.synchronisation_ms,
                columns.bytes.map(stored),
                columns.workers,
                row.digest.0,
                text(&row.event),
            ],
        )?;
        // Shards of an earlier merge of the same step.
        self.execute("DELETE FROM shards WHERE run = ? AND step = ?", params![run, step])?;
        for shard in &row.shards {
            let worker = self.worker(&shard.worker)?;
            self.execute(
                "INSERT OR REPLACE INTO shards
                    (run, step, replica, worker, attempt, digest, compute_us)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
                params![
                    run,
                    step,
                    shard.replica,
                    worker,
                    shard.attempt,
                    shard.digest.0,
                    stored(shard.compute_us),
                ],
            )?;
        }
        Ok(())
    }

    pub(super) fn event(&mut self, row: &'a EventRow) -> rusqlite::Result<()> {
        let worker = row.worker.as_deref().map(|name| self.worker(name)).transpose()?;
        self.execute(
            "INSERT INTO events (run, at_ms, step, kind, worker, detail)
             VALUES (?, ?, ?, ?, ?, ?)",
            params![
                stored(row.run.0),
                stored(row.at_ms),
                row.step.map(stored),
                row.kind.name(),
                worker,
                row.detail,
            ],
        )
    }

    pub(super) fn checkpoint(&self, row: &CheckpointRow) -> rusqlite::Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO checkpoints (run, step, at_ms, round, digest, bytes, ms)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![
                stored(row.run.0),
                stored(row.step),
                stored(row.at_ms),
                stored(row.round),
                row.digest.0,
                stored(row.bytes),
                row.ms,
            ],
        )
    }

    pub(super) fn ended(&self, row: &EndRow) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE runs SET ended_ms = ?, state = ?, digest = ?, reason = ?, ended = ?
             WHERE run = ?",
            params![
                stored(row.at_ms),
                row.state.name(),
                row.digest.map(|digest| digest.0),
                row.reason,
                text(&row.event),
                stored(row.run.0),
            ],
        )
    }

    /// The number of the worker of this name.
    fn worker(&mut self, name: &'a str) -> rusqlite::Result<i64> {
        if let Some(known) = self.workers.get(name) {
            return Ok(*known);
        }
        self.execute("INSERT OR IGNORE INTO workers (name) VALUES (?)", [name])?;
        let mut find = self.transaction.prepare_cached("SELECT id FROM workers WHERE name = ?")?;
        let number = find.query_row([name], |row| row.get(0))?;
        self.workers.insert(name, number);
        Ok(number)
    }
}
