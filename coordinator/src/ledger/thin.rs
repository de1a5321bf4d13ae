//! Drops the least important rows of a history that has reached its limit.
//!
//! The rows of shards are dropped first, then the events of steps for clients. In both cases
//! runs that have ended come before others, and the first steps of a run before later ones.
//! Every step keeps its row, with its digest and its quantities; so do runs, events and
//! checkpoints. If only these are left, the history grows beyond its limit.
//!
//! A thinned step has a row but no shards; a step that was never recorded has no row.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::event::RUN_EVENTS;
use super::file::FILE_BYTES;

/// Default limit of a history, in bytes.
pub const HISTORY_BYTES: u64 = 4 << 30;

/// Range of the limit of a history, in bytes. The largest value leaves room below the limit of
/// the file for rows that are written before others are dropped.
pub const HISTORY_BOUNDS: std::ops::RangeInclusive<u64> = 16 << 20..=FILE_BYTES - (1 << 30);

/// Rows that are dropped at one time: one per this many bytes of the limit, and at most the
/// second number. A single step may have more.
const BYTES_PER_ROW: u64 = 4 << 10;
const MOST_ROWS: u64 = 1 << 16;

/// The first step of the run `r` with shards; larger than all steps if there is none.
pub(super) const FIRST_WITH_SHARDS: &str =
    "IFNULL((SELECT MIN(h.step) FROM shards h WHERE h.run = r.run), 9223372036854775807)";

/// Makes room in a history that uses more than `bound` bytes, in a transaction that adds
/// `brought` rows. It drops about twice as many rows, so the history stays at its limit, and
/// reaches a lowered limit without a long pause. Returns whether rows were dropped.
pub(super) fn thin(
    transaction: &Transaction<'_>,
    bound: u64,
    brought: u64,
) -> rusqlite::Result<bool> {
    let rows = (bound / BYTES_PER_ROW).clamp(1, MOST_ROWS);
    let most = rows.saturating_add(brought.saturating_mul(2));
    let mut gone = 0;
    while gone < most && used(transaction)? > bound {
        let mut went = drop_shards(transaction, rows)?;
        if went == 0 {
            went = drop_events(transaction, rows)?;
        }
        if went == 0 {
            break;
        }
        gone += went;
    }
    Ok(gone > 0)
}

/// Whether a history has been thinned: a run has steps before the first one with shards.
pub(super) fn was_thinned(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM runs r WHERE
            (SELECT MIN(s.step) FROM rounds s WHERE s.run = r.run) < {FIRST_WITH_SHARDS})"
    );
    connection.query_row(&sql, [], |row| row.get(0))
}

/// Used bytes of a history's file.
pub(super) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(pages.saturating_mul(pragma("page_size")?))
}

/// Drops the shards of the first steps with shards, at least of one step. Returns the number
/// of dropped rows.
fn drop_shards(transaction: &Transaction<'_>, rows: u64) -> rusqlite::Result<u64> {
    let of_a_run = "SELECT r.run FROM runs r
                    WHERE EXISTS (SELECT 1 FROM shards s WHERE s.run = r.run)
                    ORDER BY r.state IS NULL, r.run LIMIT 1";
    // A history that has lost rows of runs may have shards without a run.
    let of_no_run = "SELECT MIN(run) FROM shards";
    let find = |sql| -> rusqlite::Result<Option<i64>> {
        let mut statement = transaction.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?.flatten())
    };
    let run = match find(of_a_run)? {
        Some(run) => Some(run),
        None => find(of_no_run)?,
    };
    let Some(run) = run else { return Ok(0) };
    let first: i64 = transaction
        .prepare_cached("SELECT MIN(step) FROM shards WHERE run = ?")?
        .query_row([run], |row| row.get(0))?;
    let end: Option<i64> = transaction
        .prepare_cached("SELECT step FROM shards WHERE run = ? ORDER BY step LIMIT 1 OFFSET ?")?
        .query_row(params![run, rows], |row| row.get(0))
        .optional()?;
    let end = end.unwrap_or(i64::MAX).max(first.saturating_add(1));
    let mut delete = transaction.prepare_cached("DELETE FROM shards WHERE run = ? AND step < ?")?;
    Ok(delete.execute(params![run, end])? as u64)
}

/// Drops the events of the first steps that have one. The last steps of an unfinished run keep
/// theirs, as the next coordinator sends them to followers. Returns the number of dropped
/// events.
fn drop_events(transaction: &Transaction<'_>, rows: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT run, first, last FROM (SELECT r.run AS run, r.state IS NULL AS goes_on,
            (SELECT MIN(s.step) FROM rounds s WHERE s.run = r.run AND s.event <> '') AS first,
            IIF(r.state IS NULL, (SELECT MAX(l.step) FROM rounds l WHERE l.run = r.run) - ?,
                9223372036854775807) AS last
         FROM runs r) WHERE first <= last ORDER BY goes_on, run LIMIT 1";
    let found: Option<(i64, i64, i64)> = transaction
        .prepare_cached(sql)?
        .query_row([RUN_EVENTS as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((run, first, last)) = found else { return Ok(0) };
    let last = last.min(first.saturating_add(rows as i64));
    let sql = "UPDATE rounds SET event = '', metrics = NULL
               WHERE run = ? AND step >= ? AND step <= ? AND event <> ''";
    let mut empty = transaction.prepare_cached(sql)?;
    Ok(empty.execute(params![run, first, last])? as u64)
}
