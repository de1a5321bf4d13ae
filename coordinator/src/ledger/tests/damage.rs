//! Damaged files: found when they are opened, or when a write comes upon the
//! damage; put aside, never in the way.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use common::id::RunId;

use super::super::*;
use super::cases::{run, shard, step};

/// A history of many pages, closed.
fn make(folder: &Path) -> PathBuf {
    make_of(folder, 500)
}

fn make_of(folder: &Path, steps: u64) -> PathBuf {
    let (mut ledger, _) = Ledger::open(folder).unwrap();
    let row = |index| Record::Step(step(1, index, vec![shard(0, "w", 1), shard(1, "w", 1)]));
    ledger.record(&[Record::Run(run(1))]).unwrap();
    ledger.record(&(0..steps).map(row).collect::<Vec<_>>()).unwrap();
    folder.join(FILE)
}

/// That the file was put aside as it was, with a notice, and a new one works.
fn assert_replaced(folder: &Path) {
    let before = fs::read(folder.join(FILE)).unwrap();
    let (mut ledger, notice) = Ledger::open(folder).unwrap();
    let notice = notice.expect("a notice");
    assert!(notice.contains("damaged") && notice.contains("not affected"), "{notice}");
    let mut names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_kept = |path: &PathBuf| {
        path.to_str()
            .unwrap()
            .rsplit_once(".damaged-")
            .is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let kept = names.find(is_kept).expect("the damaged file");
    assert!(notice.contains(kept.to_str().unwrap()), "{notice}");
    assert!(fs::read(kept).unwrap() == before, "kept as it was");
    ledger.record(&[Record::Run(run(2))]).unwrap();
    let runs: Vec<_> = LedgerReader::open(folder).unwrap().runs().map(Result::unwrap).collect();
    assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [RunId(2)]);
}

fn assert_refused(folder: &Path) {
    let opened = LedgerReader::open(folder);
    let error = match opened {
        Ok(reader) => reader.steps(RunId(1)).find_map(Result::err).expect("damage"),
        Err(error) => error,
    };
    let error = error.to_string();
    assert!(error.contains("damage") && error.contains("coordinator serve"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_replaced() {
    for content in [&b"xyz"[..], &[0; 5000], &b"SQLite format 3\0".repeat(400)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), content).unwrap();
        assert_refused(folder.path());
        assert_replaced(folder.path());
    }
}

#[test]
fn a_truncated_file_is_replaced() {
    for share in [1, 2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = make(folder.path());
        let file = File::options().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length * share / 4).unwrap();
        assert_refused(folder.path());
        assert_replaced(folder.path());
    }
}

#[test]
fn an_overwritten_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    overwrite(&path);
    assert_refused(folder.path());
    assert_replaced(folder.path());
}

/// Overwrites all pages but the first.
fn overwrite(path: &Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; length - 4096]).unwrap();
}

#[test]
fn damage_that_a_write_comes_upon_begins_a_new_history() {
    let folder = tempfile::tempdir().unwrap();
    // More than is in memory of it when it is overwritten.
    let path = make_of(folder.path(), 8000);
    let (mut ledger, notice) = Ledger::open(folder.path()).unwrap();
    assert_eq!(notice, None);
    overwrite(&path);
    let records = [Record::Rewind { run: RunId(1), step: 0 }];
    let Err(LedgerError::Replaced { notice }) = ledger.record(&records) else {
        panic!("the damage was not seen")
    };
    assert!(notice.contains(".damaged-"), "{notice}");
    ledger.record(&[Record::Run(run(1)), Record::Step(step(1, 500, vec![]))]).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(reader.steps(RunId(1)).count(), 1);
}

#[test]
fn tables_of_something_else_are_replaced() {
    for tables in [
        "CREATE TABLE albums (name TEXT)",
        "CREATE TABLE runs (run INTEGER PRIMARY KEY); PRAGMA user_version = 2",
        "PRAGMA user_version = 2",
        "PRAGMA user_version = -5; CREATE TABLE albums (name TEXT)",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
        database.execute_batch(tables).unwrap();
        drop(database);
        let error = LedgerReader::open(folder.path()).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        let (mut ledger, notice) = Ledger::open(folder.path()).unwrap();
        assert!(notice.is_some(), "{tables}");
        ledger.record(&[Record::Run(run(1))]).unwrap();
    }
}

#[test]
fn values_that_nobody_writes_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    let of_steps = |reader: &LedgerReader| reader.last_steps(RunId(1), 1).unwrap_err().to_string();
    change("UPDATE rounds SET kind = 'walk'");
    assert!(of_steps(&reader).contains("unknown name \"walk\""), "{}", of_steps(&reader));
    change("UPDATE rounds SET kind = 'train', digest = x'00'");
    assert!(of_steps(&reader).contains("damage"));
    change("UPDATE rounds SET event = '{}', digest = zeroblob(32)");
    assert!(reader.last_steps(RunId(1), 1).is_ok());
    assert!(matches!(reader.run_events(RunId(1)), Err(LedgerError::Damaged { .. })));
    change("UPDATE rounds SET examples = -1");
    assert!(reader.steps(RunId(1)).next().unwrap().is_err());
    assert_eq!(reader.steps(RunId(1)).count(), 1, "after an error comes no row");
}

#[test]
fn no_room_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    ledger.limit_to_its_size();
    let many = |index| Record::Step(step(1, index, vec![shard(0, "w", 1)]));
    let records: Vec<_> = (500..1000).map(many).collect();
    let error = ledger.record(&records).unwrap_err();
    assert!(matches!(error, LedgerError::Full { .. }), "{error}");
    assert!(error.to_string().contains("16 GiB"), "{error}");
    let reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(reader.steps(RunId(1)).count(), 500, "what was there is there");
    ledger.record(&[Record::Rewind { run: RunId(1), step: 0 }]).unwrap();
}
