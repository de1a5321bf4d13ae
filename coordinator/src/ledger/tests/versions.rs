//! Files of other versions.

use std::fs;

use common::id::RunId;
use rusqlite::Connection;

use super::super::*;
use super::cases::{run, step};

/// The tables of version 1 as they were released. Never to be changed: files
/// like this exist.
const VERSION_1: &str = "
    CREATE TABLE runs (run INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, model TEXT NOT NULL,
        spec TEXT NOT NULL, dataset BLOB NOT NULL, rounds INTEGER NOT NULL, steps INTEGER NOT NULL,
        forked_run INTEGER, forked_round INTEGER, ended_ms INTEGER, state TEXT, digest BLOB,
        reason TEXT, ended TEXT) STRICT;
    CREATE TABLE rounds (run INTEGER NOT NULL, step INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL, round INTEGER, epoch INTEGER NOT NULL, examples INTEGER NOT NULL,
        loss REAL, accuracy REAL, metrics TEXT, compute_ms REAL, synchronisation_ms REAL,
        bytes INTEGER, workers INTEGER, digest BLOB NOT NULL, event TEXT NOT NULL,
        PRIMARY KEY (run, step)) STRICT;
    CREATE TABLE workers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE shards (run INTEGER NOT NULL, step INTEGER NOT NULL, replica INTEGER NOT NULL,
        worker INTEGER NOT NULL, attempt INTEGER NOT NULL, digest BLOB NOT NULL,
        compute_us INTEGER NOT NULL, PRIMARY KEY (run, step, replica)) STRICT, WITHOUT ROWID;
    CREATE TABLE events (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        step INTEGER, kind TEXT NOT NULL, worker INTEGER, detail TEXT NOT NULL) STRICT;
    CREATE TABLE checkpoints (run INTEGER NOT NULL, step INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        round INTEGER NOT NULL, digest BLOB NOT NULL, bytes INTEGER NOT NULL, ms REAL,
        PRIMARY KEY (run, step)) STRICT;
    INSERT INTO runs (run, at_ms, model, spec, dataset, rounds, steps)
        VALUES (1, 5, 'mlp', 'model = \"mlp\"', zeroblob(32), 3, 4);
    INSERT INTO rounds VALUES (1, 0, 6, 'train', 1, 1, 80, 0.5, NULL, NULL, 1.5, 0.5, 4096, 2,
        zeroblob(32), '{\"labelled\":{\"run\":1,\"epochs\":1,\"examples\":60}}');
    INSERT INTO workers VALUES (1, 'one');
    INSERT INTO shards VALUES (1, 0, 0, 1, 1, zeroblob(32), 1500);
    INSERT INTO events VALUES (1, 1, 7, NULL, 'resumed', NULL, '');
    PRAGMA user_version = 1;";

fn versions(folder: &std::path::Path) -> (u32, u32) {
    let database = Connection::open(folder.join(FILE)).unwrap();
    let version = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let indexes = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";
    (version, database.query_row(indexes, [], |row| row.get(0)).unwrap())
}

#[test]
fn a_file_of_version_1_is_read_and_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join(FILE)).unwrap();
    database.execute_batch(VERSION_1).unwrap();
    drop(database);
    let look = || {
        let reader = LedgerReader::open(folder.path()).unwrap();
        let run = reader.run(RunId(1)).unwrap().unwrap();
        assert_eq!((run.round, run.rounds, run.loss, run.checkpoint), (1, 3, Some(0.5), None));
        assert_eq!(reader.shards(RunId(1), 0..1).next().unwrap().unwrap().shard.worker, "one");
        assert_eq!(reader.events(RunId(1)).count(), 1);
        assert_eq!(reader.run_events(RunId(1)).unwrap().len(), 1);
    };
    look();
    assert_eq!(versions(folder.path()), (1, 0), "a reader changes nothing");
    let (mut ledger, notice) = Ledger::open(folder.path()).unwrap();
    assert_eq!(notice, None);
    ledger.record(&[Record::Step(step(1, 1, vec![]))]).unwrap();
    ledger.record(&[Record::Rewind { run: RunId(1), step: 1 }]).unwrap();
    drop(ledger);
    assert_eq!(versions(folder.path()), (3, 3));
    look();
}

#[test]
fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    ledger.record(&[Record::Run(run(1))]).unwrap();
    drop(ledger);
    let path = folder.path().join(FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 77).unwrap();
    let before = fs::read(&path).unwrap();
    let errors = [Ledger::open(folder.path()).err(), LedgerReader::open(folder.path()).err()];
    for error in errors {
        let error = error.expect("an error").to_string();
        assert!(error.contains("version 3 ") && error.contains("version 77:"), "{error}");
    }
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_file_that_was_only_begun_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), b"").unwrap();
    let error = LedgerReader::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no tables yet"), "{error}");
    let (_, notice) = Ledger::open(folder.path()).unwrap();
    assert_eq!(notice, None);
    assert_eq!(versions(folder.path()), (3, 3));
}
