//! The history as a whole: what goes in comes out, whatever happens to the
//! file.

mod cases;
mod damage;
mod keys;
mod thin;
mod versions;

use std::fs;
use std::path::Path;

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::worker_event::WorkerEvent;

use super::*;
use cases::*;

#[test]
fn all_that_is_recorded_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, notice) = Ledger::open(folder.path()).unwrap();
    assert_eq!(notice, None);
    let shards = vec![shard(0, "one", 1), shard(1, "two", 2)];
    let event = EventRow {
        run: RunId(3),
        at_ms: 5,
        step: Some(1),
        kind: EventKind::Worker(WorkerEvent::Lost),
        worker: Some("one".into()),
        detail: "silent for 10 s".into(),
    };
    let quiet = EventRow { step: None, kind: EventKind::Resumed, worker: None, ..event.clone() };
    let forked = RunRow { forked_from: Some((RunId(3), 9)), ..run(4) };
    let mut records = vec![Record::Run(run(3)), Record::Run(forked.clone())];
    records.extend(
        [step(3, 0, shards.clone()), labelling(3, 1), evaluation(3, 2, 0.75)].map(Record::Step),
    );
    records.extend([event.clone(), quiet.clone()].map(Record::Event));
    records.extend([checkpoint(3, 1), checkpoint(3, 3)].map(Record::Checkpoint));
    records.push(Record::Ended(ended(3)));
    ledger.record(&records).unwrap();
    ledger.record(&[]).unwrap();

    let reader = LedgerReader::open(folder.path()).unwrap();
    let found = reader.run(RunId(3)).unwrap().unwrap();
    assert_eq!(found.spec.as_deref(), Some(run(3).spec.as_str()));
    assert_eq!((found.state, found.ended_ms), (Some(RunEnd::Finished), Some(99)));
    assert_eq!((found.round, found.rounds, found.steps, found.missing), (20, 20, 30, 27));
    assert_eq!((found.loss, found.accuracy, found.checkpoint), (Some(0.275), Some(0.75), Some(2)));
    assert_eq!((found.digest, found.dataset), (Some(digest(99)), digest(7)));
    let other = reader.run(RunId(4)).unwrap().unwrap();
    assert_eq!((other.forked_from, other.forked_round), (Some(RunId(3)), Some(9)));
    assert_eq!((other.state_name(), other.round, other.loss), ("unfinished", 0, None));
    assert_eq!(reader.run(RunId(5)).unwrap(), None);
    let runs: Vec<_> = reader.runs().map(Result::unwrap).collect();
    let listed = |run: StoredRun| StoredRun { spec: None, ..run };
    assert_eq!(runs, [listed(found), listed(other)]);

    let steps: Vec<_> = reader.steps(RunId(3)).map(Result::unwrap).collect();
    let kinds: Vec<_> = steps.iter().map(|step| (step.step, step.kind, step.round)).collect();
    let expected =
        [(0, StepName::Train, Some(1)), (1, StepName::Label, None), (2, StepName::Evaluate, None)];
    assert_eq!(kinds, expected);
    assert_eq!((steps[0].compute_ms, steps[0].bytes), (Some(12.5), Some(4096)));
    assert_eq!(steps[0].metrics["spikes"], 0.1);
    assert_eq!((steps[0].digest, steps[2].compute_ms), (digest(0), None));
    assert_eq!(reader.last_steps(RunId(3), 2).unwrap(), steps[1..]);

    let found: Vec<_> = reader.shards(RunId(3), 0..u64::MAX).map(Result::unwrap).collect();
    assert!(found.iter().all(|shard| (shard.step, shard.round) == (0, Some(1))));
    assert!(found.iter().map(|found| &found.shard).eq(&shards));
    assert_eq!(reader.events(RunId(3)).map(Result::unwrap).collect::<Vec<_>>(), [event, quiet]);
    let checkpoints: Vec<_> = reader.checkpoints(RunId(3)).map(Result::unwrap).collect();
    assert_eq!(checkpoints, [checkpoint(3, 1), checkpoint(3, 3)]);
    let told: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Step(row) => Some(row.event.clone()),
            Record::Ended(row) => Some(row.event.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(reader.run_events(RunId(3)).unwrap(), told);
    assert_eq!(reader.run_events(RunId(4)).unwrap(), []);
}

/// The folder of the run that had it before was removed.
#[test]
fn a_number_that_is_given_again_has_nothing_of_the_run_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    let shards = vec![shard(0, "one", 1)];
    let lost = EventRow {
        run: RunId(3),
        at_ms: 5,
        step: None,
        kind: EventKind::Worker(WorkerEvent::Lost),
        worker: None,
        detail: String::new(),
    };
    for number in [2, 3] {
        let records = [
            Record::Run(run(number)),
            Record::Step(step(number, 0, shards.clone())),
            Record::Event(EventRow { run: RunId(number), ..lost.clone() }),
            Record::Checkpoint(checkpoint(number, 1)),
            Record::Ended(ended(number)),
        ];
        ledger.record(&records).unwrap();
    }
    // Taken up again, it keeps what it has.
    ledger.record(&[Record::Run(run(2))]).unwrap();
    let other = RunRow { at_ms: run(3).at_ms + 1, model: "other".into(), ..run(3) };
    ledger.record(&[Record::Run(other)]).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    for (number, left) in [(2, 1), (3, 0)] {
        let id = RunId(number);
        assert_eq!(reader.steps(id).count(), left);
        assert_eq!(reader.shards(id, 0..u64::MAX).count(), left);
        assert_eq!(reader.events(id).count(), left);
        assert_eq!(reader.checkpoints(id).count(), left);
    }
    let found = reader.run(RunId(3)).unwrap().unwrap();
    assert_eq!((found.model.as_str(), found.state, found.round), ("other", None, 0));
}

#[test]
fn steps_that_are_missing_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    let missing = || {
        let run = LedgerReader::open(folder.path()).unwrap().run(RunId(1)).unwrap().unwrap();
        (run.round, run.missing)
    };
    ledger.record(&[Record::Run(run(1))]).unwrap();
    assert_eq!(missing(), (0, 0));
    ledger.record(&[0, 1, 4].map(|index| Record::Step(step(1, index, vec![])))).unwrap();
    assert_eq!(missing(), (5, 2));
    ledger.record(&[Record::Ended(ended(1))]).unwrap();
    assert_eq!(missing(), (20, 27), "it has done all of its 30 steps");
}

#[test]
fn a_run_that_is_taken_up_again_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    let other = RunRow { model: "other".into(), ..run(1) };
    let records = [Record::Run(run(1)), Record::Ended(ended(1)), Record::Run(other)];
    ledger.record(&records).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    let found = reader.run(RunId(1)).unwrap().unwrap();
    assert_eq!((found.state, found.ended_ms, found.digest), (None, None, None));
    assert_eq!((found.model, found.at_ms), (run(1).model, run(1).at_ms));
    assert_eq!(reader.run_events(RunId(1)).unwrap(), []);
}

#[test]
fn records_go_in_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    let no_step = StepRow { event: ended(1).event, ..step(1, 1, vec![]) };
    let records = [Record::Run(run(1)), Record::Step(no_step)];
    assert!(matches!(ledger.record(&records), Err(LedgerError::NotAStep { step: 1, .. })));
    let reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(reader.runs().count(), 0);
    ledger.record(&[Record::Run(run(1))]).unwrap();
    assert_eq!(reader.runs().count(), 1);
}

#[test]
fn what_no_column_holds_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    let mut broken = evaluation(u64::MAX, u64::MAX, f64::NAN);
    if let common::wire::message::RunEvent::Evaluation { results, loss, .. } = &mut broken.event {
        *loss = Some(f64::INFINITY);
        results.sums.insert("loss".into(), f64::NEG_INFINITY);
    }
    let slow = CheckpointRow { ms: f64::NAN, bytes: u64::MAX, ..checkpoint(u64::MAX, 1) };
    let records = [
        Record::Run(run(u64::MAX)),
        Record::Step(StepRow { shards: vec![shard(u32::MAX, "\0 é", u32::MAX)], ..broken }),
        Record::Checkpoint(slow),
    ];
    ledger.record(&records).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    let last = RunId(i64::MAX as u64);
    let step = reader.last_steps(last, 1).unwrap().remove(0);
    assert_eq!((step.step, step.loss, step.accuracy), (last.0, None, None));
    assert!(reader.checkpoints(last).next().unwrap().unwrap().ms.is_nan());
    assert_eq!(reader.run_events(last).unwrap().len(), 1);
    assert_eq!(reader.shards(last, 0..u64::MAX).count(), 0, "the last step is past the range");
}

#[test]
fn a_reader_and_a_writer_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    ledger.record(&[Record::Run(run(1))]).unwrap();
    let record = |ledger: &mut Ledger, steps: std::ops::Range<u64>| {
        let row = |index| Record::Step(step(1, index, vec![shard(0, "w", 1), shard(1, "w", 1)]));
        ledger.record(&steps.map(row).collect::<Vec<_>>())
    };
    record(&mut ledger, 0..3000).unwrap();
    let reader = LedgerReader::open(folder.path()).unwrap();
    // In the middle of a page, and of a log that is written meanwhile.
    let (mut steps, mut shards) = (reader.steps(RunId(1)), reader.shards(RunId(1), 1..5000));
    assert_eq!(steps.next().unwrap().unwrap().step, 0);
    assert_eq!(shards.next().unwrap().unwrap().step, 1);
    record(&mut ledger, 3000..4000).unwrap();
    assert!(steps.map(|step| step.unwrap().step).eq(1..4000));
    assert_eq!(shards.count(), 2 * 3999 - 1);
    assert!(reader.shards(RunId(1), 7..9).map(|shard| shard.unwrap().step).eq([7, 7, 8, 8]));

    std::thread::scope(|scope| {
        let writing = scope
            .spawn(|| (4000..4200).try_for_each(|index| record(&mut ledger, index..index + 1)));
        loop {
            let is_over = writing.is_finished();
            let reader = LedgerReader::open(folder.path()).unwrap();
            let steps = reader.last_steps(RunId(1), 1).unwrap()[0].step + 1;
            // What is there of steps is there of their shards.
            assert_eq!(reader.shards(RunId(1), 3990..steps).count() as u64, 2 * (steps - 3990));
            if is_over {
                assert_eq!(steps, 4200);
                break;
            }
        }
        writing.join().unwrap().unwrap();
    });
}

/// What lies on the disk at any time is what a coordinator leaves that is
/// killed then.
#[test]
fn what_was_recorded_survives_the_writer() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
    ledger.record(&[Record::Run(run(1))]).unwrap();
    for index in 0..50 {
        ledger.record(&[Record::Step(step(1, index, vec![shard(0, "w", 1)]))]).unwrap();
        for end in ["", "-wal"] {
            let name = format!("{FILE}{end}");
            fs::copy(folder.path().join(&name), after.path().join(&name)).unwrap();
        }
        let reader = LedgerReader::open(after.path()).unwrap();
        assert_eq!(reader.steps(RunId(1)).count() as u64, index + 1);
        drop(reader);
        let (mut ledger, notice) = Ledger::open(after.path()).unwrap();
        assert_eq!(notice, None);
        ledger.record(&[Record::Rewind { run: RunId(1), step: index }]).unwrap();
        drop(ledger);
        assert_eq!(LedgerReader::open(after.path()).unwrap().steps(RunId(1)).count() as u64, index);
    }
}

#[test]
fn a_history_that_may_only_be_read_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    // A name that would mean something in a URI.
    let runs = folder.path().join("a %41?b#c");
    fs::create_dir(&runs).unwrap();
    let (mut ledger, _) = Ledger::open(&runs).unwrap();
    ledger.record(&[Record::Run(run(1))]).unwrap();
    drop(ledger);
    let allow = |mode| fs::set_permissions(&runs, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o500);
    assert_eq!(LedgerReader::open(&runs).unwrap().runs().count(), 1);
    allow(0o700);
}

#[test]
fn a_missing_history_says_where_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let error = LedgerReader::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(FILE) && error.contains("--runs DIR"), "{error}");
    let missing = Path::new("/nowhere/at/all");
    assert!(matches!(LedgerReader::open(missing), Err(LedgerError::Missing { .. })));
    let error = Ledger::open(missing).unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all/history.sqlite"), "{error}");
}

fn digest(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}
