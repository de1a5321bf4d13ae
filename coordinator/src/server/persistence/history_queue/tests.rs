use common::digest::Digest;
use common::model::Registry;
use common::results::Results;
use common::run_settings::RunSettings;
use common::run_state::RunEnd;
use common::spec::{RunSpec, Split};
use common::wire::message::RunEvent;

use std::path::Path;

use super::*;
use crate::client::{Client, Submission};
use crate::ledger::test_faults::hold;
use crate::ledger::{EndRow, FILE, HISTORY_BYTES, LedgerReader, ShardRow, StepRow};
use crate::server::{RunsConfig, ServerConfig, serve};

const RUN: RunId = RunId(1);

fn run(run: RunId) -> Record {
    let (model, spec, dataset) = ("toy".to_owned(), String::new(), Digest::of(b"data"));
    let (at_ms, rounds, steps) = (1, 20, 20);
    Record::Run(RunRow { run, at_ms, model, spec, dataset, rounds, steps, forked_from: None })
}

fn step_of(step: u64, shards: u32) -> Record {
    let event = RunEvent::Labelled { run: RUN, epochs: 1, examples: 1 };
    let (worker, digest) = (String::from("w"), Digest::of(b"shard"));
    let shard = |replica| {
        let worker = worker.clone();
        ShardRow { replica, worker, attempt: 1, digest, compute_us: 1 }
    };
    let shards = (0..shards).map(shard).collect();
    Record::Step(StepRow { run: RUN, step, at_ms: 1, event, digest, shards })
}

fn step(step: u64) -> Record {
    step_of(step, 1)
}

fn ended() -> Record {
    let (at_ms, state, event) = (2, RunEnd::Cancelled, RunEvent::Cancelled { run: RUN });
    Record::Ended(EndRow { run: RUN, at_ms, state, digest: None, reason: None, event })
}

/// The records of the run: its steps, and its end.
fn recorded(folder: &Path) -> (Vec<u64>, Option<RunEnd>) {
    let reader = LedgerReader::open(folder).unwrap();
    let steps = reader.steps(RUN).map(|step| step.unwrap().step).collect();
    (steps, reader.run(RUN).unwrap().and_then(|run| run.state))
}

/// A history with the run and its first step, which does not wait for the file.
fn begun(folder: &Path) -> HistoryQueue {
    let mut history = HistoryQueue::open(&RunsFolder::open(folder).unwrap(), HISTORY_BYTES);
    history.ledger.set_patience(Duration::ZERO);
    history.write([run(RUN), step(0)], Instant::now());
    assert_eq!(recorded(folder), (vec![0], None));
    history
}

#[test]
fn what_cannot_be_written_is_written_later() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let mut history = begun(folder);
    let condition = history.condition();
    let other = hold(folder);
    let start = Instant::now();
    history.write([step(1)], start);
    assert!(history.is_failing());
    let unrecorded = || condition.lock().unwrap().unrecorded.clone();
    assert!(unrecorded().unwrap().contains("holds the file"));

    drop(other);
    history.write([step(2)], start + RETRY / 2);
    assert_eq!(recorded(folder).0, [0], "it is not tried again at once");
    history.write([], start + RETRY);
    assert_eq!(recorded(folder).0, [0, 1, 2]);
    assert!(!history.is_failing() && unrecorded().is_none());

    let other = hold(folder);
    history.ledger.set_patience(Duration::ZERO);
    history.write([step(3)], start);
    drop(other);
    history.write([ended()], start);
    assert_eq!(recorded(folder), (vec![0, 1, 2, 3], Some(RunEnd::Cancelled)), "at once");
}

#[test]
fn the_end_of_the_recorder_is_a_last_try() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let mut history = begun(folder);
    let other = hold(folder);
    history.write([step(1)], Instant::now());
    drop(other);
    history.close();
    assert_eq!(recorded(folder).0, [0, 1]);
}

#[test]
fn a_long_wait_costs_the_oldest_records_and_no_run() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let mut history = begun(folder);
    let other = hold(folder);
    let start = Instant::now();
    history.write([run(RunId(2))], start);
    let shards = (KEPT_BYTES / ROW_BYTES / 2) as u32;
    history.write([step_of(1, shards), step_of(2, shards)], start);
    assert_eq!(history.backlog.lost, 2, "the second run, and the first step");
    assert!(history.backlog.bytes <= KEPT_BYTES);
    drop(other);
    history.write([ended()], start);
    assert_eq!(recorded(folder), (vec![0, 2], Some(RunEnd::Cancelled)));
    let known = LedgerReader::open(folder).unwrap();
    let runs: Vec<RunId> = known.runs().map(|run| run.unwrap().run).collect();
    assert_eq!(runs, [RUN, RunId(2)]);
    assert_eq!(history.backlog.lost, 0, "each is counted once");
}

#[test]
fn a_confusion_matrix_is_reckoned_with_its_size() {
    let Record::Step(mut row) = step(1) else { unreachable!() };
    let counts = [("confusion".to_owned(), vec![0; 65_536])].into();
    let results = Results { counts, ..Results::default() };
    let (run, epochs, split, loss, accuracy) = (RUN, 1, Split::Test, None, None);
    row.event = RunEvent::Evaluation { run, epochs, split, results, loss, accuracy };
    assert!(bytes(&Record::Step(row)) > 65_536 * 8);
}

#[test]
fn a_history_that_is_moved_keeps_all_it_had_and_another_one_begins_when_it_can() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, elsewhere) = (scratch.path(), tempfile::tempdir().unwrap());
    let mut history = begun(folder);
    std::fs::rename(folder.join(FILE), elsewhere.path().join(FILE)).unwrap();
    // The present file cannot be opened, at first.
    std::fs::create_dir(folder.join(FILE)).unwrap();
    let start = Instant::now();
    history.write([step(1)], start);
    assert!(history.is_failing());
    std::fs::remove_dir(folder.join(FILE)).unwrap();
    history.write([step(2)], start + RETRY);
    assert_eq!(recorded(folder), (vec![1, 2], None), "in a new file, which knows the run");
    assert_eq!(recorded(elsewhere.path()), (vec![0], None), "nothing is lost of the old one");
}

#[test]
fn a_history_that_is_removed_or_replaced_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let mut history = begun(folder);
    history.write([run(RunId(2)), run(RUN), step(1)], Instant::now());
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.join(format!("{FILE}{end}"))).unwrap();
    }
    history.write([step(2)], Instant::now());
    assert_eq!(recorded(folder), (vec![2], None), "in a new file, which knows the run");
    history.write([step(3)], Instant::now());
    assert_eq!(recorded(folder), (vec![2, 3], None));
    let known = LedgerReader::open(folder).unwrap();
    assert_eq!(known.runs().count(), 2, "and the other one");

    // Replaced by an older one with its own steps, while a reader has it open.
    let other = tempfile::tempdir().unwrap();
    let mut older = HistoryQueue::open(&RunsFolder::open(other.path()).unwrap(), HISTORY_BYTES);
    older.write([run(RUN), step(7)], Instant::now());
    drop(older);
    std::fs::rename(other.path().join(FILE), folder.join(FILE)).unwrap();
    history.write([step(8)], Instant::now());
    assert_eq!(recorded(folder), (vec![7, 8], None));
}

#[test]
fn the_history_of_a_folder_that_is_another_coordinators_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("runs");
    let mut history = begun(&folder);
    std::fs::rename(&folder, scratch.path().join("away")).unwrap();
    let mut other = begun(&folder);
    other.write([step(1)], Instant::now());
    let start = Instant::now();
    history.write([step(5)], start);
    let trouble = history.condition().lock().unwrap().unrecorded.clone().unwrap();
    assert!(trouble.contains("removed or replaced"), "{trouble}");
    history.write([ended()], start + RETRY);
    history.close();
    drop(history);
    other.write([step(2)], Instant::now());
    assert_eq!(recorded(&folder), (vec![0, 1, 2], None));
    assert_eq!(recorded(&scratch.path().join("away")), (vec![0], None));
}

#[test]
fn a_history_that_grows_to_its_bound_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = RunsFolder::open(scratch.path()).unwrap();
    let mut history = HistoryQueue::open(&folder, 1 << 20);
    history.write([run(RUN)], Instant::now());
    assert!(!history.condition().lock().unwrap().is_thinned);
    history.write((0..200).map(|index| step_of(index, 100)), Instant::now());
    assert!(history.condition().lock().unwrap().is_thinned);
    drop(history);
    let later = HistoryQueue::open(&folder, 1 << 30);
    assert!(later.condition().lock().unwrap().is_thinned, "it still lacks shards");
}

#[tokio::test]
async fn a_coordinator_holds_its_history_to_the_bound_that_it_was_given() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = RunsFolder::open(scratch.path()).unwrap();
    let mut history = HistoryQueue::open(&folder, HISTORY_BYTES);
    let steps = (0..200).map(|index| step_of(index, 100));
    history.write([run(RUN)].into_iter().chain(steps), Instant::now());
    drop(history);
    // The number of the run is taken.
    std::fs::create_dir(scratch.path().join(RUN.to_string())).unwrap();
    assert!(!Ledger::open(scratch.path()).unwrap().0.is_thinned());

    let runs = Some(RunsConfig { history_bytes: 1 << 20, ..RunsConfig::new(folder) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let config = ServerConfig { runs, ..ServerConfig::default() };
    let server = tokio::spawn(serve(listener, Registry::standard(), config, async {
        let _ = stopped.await;
    }));
    // A run that is accepted is recorded.
    let (spec, settings) = (RunSpec::default_digits(), RunSettings::default());
    let submission = Submission::prepare(&Registry::standard(), spec, None, settings).unwrap();
    let mut client = Client::connect(&address, None).await.unwrap();
    client.submit(&submission).await.unwrap();
    drop(stop);
    server.await.unwrap().unwrap();
    assert!(Ledger::open(scratch.path()).unwrap().0.is_thinned());
}
