//! The tables, and the migration of older versions.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::{LedgerError, damaged};

/// The migrations from each version to the next one, starting with an empty file. Released
/// entries are never changed; new ones are appended. Events are stored as JSON: a new field of
/// `RunEvent` needs an entry here that adds it to stored events, or a default there.
const MIGRATIONS: [&str; VERSION as usize] = [
    "CREATE TABLE runs (
        run INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        model TEXT NOT NULL,
        spec TEXT NOT NULL,
        dataset BLOB NOT NULL,
        rounds INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        forked_run INTEGER,
        forked_round INTEGER,
        ended_ms INTEGER,
        state TEXT,
        digest BLOB,
        reason TEXT,
        ended TEXT
     ) STRICT;
     CREATE TABLE rounds (
        run INTEGER NOT NULL,
        step INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        round INTEGER,
        epoch INTEGER NOT NULL,
        examples INTEGER NOT NULL,
        loss REAL,
        accuracy REAL,
        metrics TEXT,
        compute_ms REAL,
        synchronisation_ms REAL,
        bytes INTEGER,
        workers INTEGER,
        digest BLOB NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (run, step)
     ) STRICT;
     CREATE TABLE workers (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
     ) STRICT;
     CREATE TABLE shards (
        run INTEGER NOT NULL,
        step INTEGER NOT NULL,
        replica INTEGER NOT NULL,
        worker INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        digest BLOB NOT NULL,
        compute_us INTEGER NOT NULL,
        PRIMARY KEY (run, step, replica)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        step INTEGER,
        kind TEXT NOT NULL,
        worker INTEGER,
        detail TEXT NOT NULL
     ) STRICT;
     CREATE TABLE checkpoints (
        run INTEGER NOT NULL,
        step INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        round INTEGER NOT NULL,
        digest BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        ms REAL,
        PRIMARY KEY (run, step)
     ) STRICT;",
    // Listing runs looks for the last round and the last evaluation of each;
    // the events of one run lie among those of all.
    "CREATE INDEX rounds_by_kind ON rounds (run, kind, step);
     CREATE INDEX events_by_run ON events (run);",
    // The event of a step is empty once the step was thinned.
    "CREATE INDEX rounds_told ON rounds (run, step) WHERE event <> '';",
];

/// The current version.
pub(super) const VERSION: u32 = 3;

/// The oldest version that can be read without a migration: later ones only added indexes,
/// and emptied columns.
const READABLE: u32 = 1;

/// Migrates the tables, each version in one transaction.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), LedgerError> {
    let of = |error| LedgerError::of(path, error);
    let begun = found(path, connection)?;
    if begun == 0 && has_tables(connection).map_err(of)? {
        return Err(damaged(path, "it has tables of another program"));
    }
    check_tables(path, connection, begun)?;
    for (version, step) in (1..=VERSION).zip(MIGRATIONS).skip(begun as usize) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(of)?;
        transaction.execute_batch(step).map_err(of)?;
        transaction.pragma_update(None, "user_version", version).map_err(of)?;
        transaction.commit().map_err(of)?;
    }
    check_tables(path, connection, VERSION)
}

/// Checks that the tables can be read.
pub(super) fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    match found(path, connection)? {
        version @ READABLE..=VERSION => check_tables(path, connection, version),
        _ => Err(damaged(path, "it has no tables yet")),
    }
}

/// The version of the file; 0 if it is empty.
fn found(path: &Path, connection: &Connection) -> Result<u32, LedgerError> {
    let version = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|error| LedgerError::of(path, error))?;
    let Ok(version) = u32::try_from(version) else {
        return Err(damaged(path, &format!("its version is {version}")));
    };
    if version > VERSION {
        return Err(LedgerError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(version)
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Checks that all columns of this version exist. There may be more, and indexes that users
/// have added with other tools.
fn check_tables(path: &Path, connection: &Connection, version: u32) -> Result<(), LedgerError> {
    let of = |error| LedgerError::of(path, error);
    let model = Connection::open_in_memory().map_err(of)?;
    let mut steps = MIGRATIONS.iter().take(version as usize);
    steps.try_for_each(|step| model.execute_batch(step)).map_err(of)?;
    let found = columns(connection).map_err(of)?;
    match columns(&model).map_err(of)?.iter().find(|column| !found.contains(column)) {
        Some((table, column, ..)) => {
            let cause = format!("it lacks the column `{column}` of the table `{table}`");
            Err(damaged(path, &cause))
        }
        None => Ok(()),
    }
}

/// Table, name, type and position in the primary key of every column.
fn columns(connection: &Connection) -> rusqlite::Result<Vec<(String, String, String, i64)>> {
    let sql = "SELECT t.name, c.name, c.type, c.pk
               FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
    let mut statement = connection.prepare(sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    statement.query_map([], row)?.collect()
}
