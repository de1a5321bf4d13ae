//! Histories that reach their bound.

use rusqlite::Connection;

use super::super::event::RUN_EVENTS;
use super::super::thin::{FIRST_WITH_SHARDS, used};
use super::*;

/// Steps whose rows are recorded together.
const BATCH: u64 = 100;

fn steps(ledger: &mut Ledger, number: u64, steps: std::ops::Range<u64>, shards: u32) {
    for begin in steps.clone().step_by(BATCH as usize) {
        let batch = begin..steps.end.min(begin + BATCH);
        let row = |index| {
            let shards = (0..shards).map(|replica| shard(replica, "w", 1)).collect();
            Record::Step(step(number, index, shards))
        };
        ledger.record(&batch.map(row).collect::<Vec<_>>()).unwrap();
    }
}

fn bytes(folder: &Path) -> u64 {
    used(&Connection::open(folder.join(FILE)).unwrap()).unwrap()
}

/// The first step that has shards, and what is counted of a run.
fn found(folder: &Path, number: u64) -> (Option<u64>, StoredRun) {
    let reader = LedgerReader::open(folder).unwrap();
    let mut shards = reader.shards(RunId(number), 0..u64::MAX);
    let first = shards.next().map(|shard| shard.unwrap().step);
    (first, reader.run(RunId(number)).unwrap().unwrap())
}

fn with_bound(folder: &Path, bound: u64) -> Ledger {
    let (mut ledger, _) = Ledger::open(folder).unwrap();
    ledger.set_bound(bound);
    ledger
}

#[test]
fn beyond_its_bound_a_history_loses_shards_and_every_step_keeps_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 3 << 20;
    let mut ledger = with_bound(folder.path(), bound);
    ledger.record(&[Record::Run(RunRow { steps: 3000, ..run(1) })]).unwrap();
    steps(&mut ledger, 1, 0..500, 16);
    assert!(!ledger.is_thinned());
    assert_eq!((found(folder.path(), 1).0, found(folder.path(), 1).1.thinned), (Some(0), 0));
    steps(&mut ledger, 1, 500..3000, 16);
    assert!(ledger.is_thinned());
    assert!(bytes(folder.path()) <= bound, "{}", bytes(folder.path()));

    let (first, run) = found(folder.path(), 1);
    let first = first.unwrap();
    assert!((500..3000).contains(&first), "{first}");
    assert_eq!((run.thinned, run.missing), (first, 0));
    let reader = LedgerReader::open(folder.path()).unwrap();
    let digests: Vec<_> = reader.steps(RunId(1)).map(|step| step.unwrap().digest).collect();
    assert!(digests.into_iter().eq((0..3000).map(digest)));
    assert_eq!(reader.shards(RunId(1), 0..3000).count() as u64, 16 * (3000 - first), "whole steps");
    assert_eq!(reader.step(RunId(1), 7).unwrap().unwrap().digest, digest(7));
    assert_eq!(reader.step(RunId(1), 3000).unwrap(), None);
    assert!(Ledger::open(folder.path()).unwrap().0.is_thinned(), "that is known later, too");
}

#[test]
fn what_was_thinned_is_not_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = with_bound(folder.path(), 2 << 20);
    ledger.record(&[Record::Run(RunRow { steps: 3000, ..run(1) })]).unwrap();
    steps(&mut ledger, 1, 0..100, 16);
    steps(&mut ledger, 1, 130..2000, 16);
    let (first, run) = found(folder.path(), 1);
    assert_eq!((run.thinned, run.missing), (first.unwrap() - 30, 30));
    // A run that goes back records later steps again, with their shards.
    ledger.record(&[Record::Rewind { run: RunId(1), step: 50 }]).unwrap();
    steps(&mut ledger, 1, 50..60, 16);
    let (first, run) = found(folder.path(), 1);
    assert_eq!((first, run.thinned, run.missing), (Some(50), 50, 0));
}

#[test]
fn runs_that_are_over_are_thinned_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = with_bound(folder.path(), 2 << 20);
    let runs = [run(1), run(2), run(3)].map(Record::Run);
    ledger.record(&runs).unwrap();
    for number in 1..=3 {
        steps(&mut ledger, number, 0..300, 16);
    }
    ledger.record(&[2, 3].map(|number| Record::Ended(ended(number)))).unwrap();
    let all = bytes(folder.path());
    // The first run goes on, and is the oldest.
    steps(&mut ledger, 1, 300..2000, 16);
    assert!(all < 2 << 20 && bytes(folder.path()) <= 2 << 20);
    let thinned = |number| found(folder.path(), number).1.thinned;
    assert_eq!((thinned(2), thinned(3)), (300, 300));
    assert!(thinned(1) < 2000);
}

#[test]
fn events_of_steps_go_once_there_are_no_shards_and_the_last_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let more = 4000;
    let mut ledger = with_bound(folder.path(), u64::MAX);
    ledger.record(&[run(1), run(2)].map(Record::Run)).unwrap();
    steps(&mut ledger, 1, 0..1000, 2);
    ledger.record(&[Record::Ended(ended(1))]).unwrap();
    steps(&mut ledger, 2, 0..RUN_EVENTS as u64 + more, 1);
    let before = bytes(folder.path());
    let events = |number| {
        let reader = LedgerReader::open(folder.path()).unwrap();
        reader.run_events(RunId(number)).unwrap().len()
    };
    assert_eq!((events(1), events(2)), (1001, RUN_EVENTS));
    // Nothing is enough for this bound: all goes that may.
    ledger.set_bound(1 << 20);
    (0..200).for_each(|_| ledger.record(&[Record::Ended(ended(1))]).unwrap());
    assert_eq!((events(1), events(2)), (1, RUN_EVENTS), "an end is told");
    assert!(bytes(folder.path()) < before * 9 / 10, "{before} {}", bytes(folder.path()));
    let reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(reader.shards(RunId(2), 0..u64::MAX).count(), 0);
    let all: Vec<_> = reader.steps(RunId(2)).map(|step| step.unwrap().digest).collect();
    assert!(all.into_iter().eq((0..RUN_EVENTS as u64 + more).map(digest)));
    let kept = Connection::open(folder.path().join(FILE)).unwrap();
    let count = |run: u64| -> u64 {
        let sql = "SELECT COUNT(*) FROM rounds WHERE run = ? AND event <> ''";
        kept.query_row(sql, [run as i64], |row| row.get(0)).unwrap()
    };
    assert_eq!((count(1), count(2)), (0, RUN_EVENTS as u64));
    assert!(FIRST_WITH_SHARDS.contains(&i64::MAX.to_string()));
}

#[test]
fn all_that_clients_were_told_stays_while_there_are_shards() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 2 << 20;
    let mut ledger = with_bound(folder.path(), bound);
    ledger.record(&[run(1), run(2)].map(Record::Run)).unwrap();
    steps(&mut ledger, 1, 0..300, 16);
    ledger.record(&[Record::Ended(ended(1))]).unwrap();
    steps(&mut ledger, 2, 0..1500, 16);
    assert!(ledger.is_thinned() && bytes(folder.path()) <= bound);
    let reader = LedgerReader::open(folder.path()).unwrap();
    assert!(reader.shards(RunId(2), 0..u64::MAX).next().is_some(), "some are left");
    // Of the run that is over, its end as well.
    let told = |number| reader.run_events(RunId(number)).unwrap().len();
    assert_eq!((told(1), told(2)), (301, 1500));
}

/// Whoever lowers a bound does not hold up the coordinator.
#[test]
fn a_lowered_bound_is_reached_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = with_bound(folder.path(), u64::MAX);
    ledger.record(&[Record::Run(run(1))]).unwrap();
    steps(&mut ledger, 1, 0..2000, 16);
    let before = bytes(folder.path());
    ledger.set_bound(3 << 19);
    ledger.record(&[Record::Run(run(2))]).unwrap();
    let after = bytes(folder.path());
    assert!((before / 2..before).contains(&after), "{before} {after}");
    (0..100).for_each(|_| ledger.record(&[Record::Run(run(2))]).unwrap());
    assert!(bytes(folder.path()) <= 3 << 19);
}
