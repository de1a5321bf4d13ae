//! The commands that read the history of runs, with the real binary, on a
//! history that a coordinator of another day has left.

use std::path::Path;
use std::process::{Command, Output};

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;
use common::worker_event::WorkerEvent;
use coordinator::ledger::{
    CheckpointRow, EndRow, EventKind, EventRow, Ledger, Record, RunRow, ShardRow, StepRow,
};
use serde_json::Value;
use tests::binaries::binaries;

const RUN: RunId = RunId(3);

/// Rounds of the run: more than a page of rows.
const ROUNDS: u64 = 1500;

fn coordinator(runs: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(&binaries().coordinator);
    command.args(args).env("SAMEBIT_RUNS", runs).output().expect("the command runs")
}

fn text(runs: &Path, args: &[&str]) -> String {
    let output = coordinator(runs, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(runs: &Path, args: &[&str]) -> Vec<Value> {
    let text = text(runs, &[args, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The names of an object's fields, in their order.
fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn error(runs: &Path, args: &[&str]) -> String {
    let output = coordinator(runs, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn step(index: u64) -> Record {
    let (run, digest, at_ms) = (RUN, Digest::of(&index.to_le_bytes()), 1000 + index);
    let event = RunEvent::Round {
        run,
        round: index + 1,
        rounds: ROUNDS,
        epoch: 1,
        examples: 80,
        loss: Some(0.5),
        accuracy: None,
        metrics: [("spikes".to_owned(), 0.5)].into(),
        partial_bytes: 4096,
        compute_ms: 0.75,
        synchronisation_ms: 0.25,
        examples_per_second: 80_000.0,
        workers: 2,
    };
    let shard = |(replica, worker): (u32, &str)| {
        let worker = worker.to_owned();
        ShardRow { replica, worker, attempt: 1, digest, compute_us: 750 }
    };
    let shards = [(0, "one"), (1, "two")].map(shard).into();
    Record::Step(StepRow { run, step: index, at_ms, event, digest, shards })
}

fn record(folder: &Path) {
    let (mut ledger, _) = Ledger::open(folder).expect("a history");
    let reason = "replica 1 failed; `coordinator replay 3 --round 7 --replica 1` runs it alone";
    let (run, digest, step_of) = (RUN, Digest::of(b"abc"), Some(ROUNDS));
    let begun = RunRow {
        run,
        at_ms: 1000,
        model: "mlp".into(),
        spec: "model = \"mlp\"\n".into(),
        dataset: digest,
        rounds: ROUNDS,
        steps: ROUNDS,
        forked_from: None,
    };
    let (kind, worker, detail) =
        (EventKind::Worker(WorkerEvent::Lost), Some("two".to_owned()), "silent".to_owned());
    let lost = EventRow { run, at_ms: 2000, step: step_of, kind, worker, detail };
    let (round, step, bytes, ms) = (ROUNDS, ROUNDS, 1 << 20, 3.5);
    let checkpoint = CheckpointRow { run, at_ms: 2000, round, step, digest, bytes, ms };
    let event = RunEvent::Failed { run, reason: reason.into() };
    let (state, reason) = (RunEnd::Failed, Some(reason.into()));
    let ended = EndRow { run, at_ms: 3000, state, digest: None, reason, event };
    let mut records = vec![Record::Run(begun.clone())];
    records.extend((0..ROUNDS).map(self::step));
    records.extend([Record::Event(lost), Record::Checkpoint(checkpoint), Record::Ended(ended)]);
    records.push(Record::Run(RunRow { run: RunId(4), ..begun }));
    ledger.record(&records).expect("room");
}

#[test]
fn a_history_is_read_when_no_coordinator_runs() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path();
    record(runs);

    let list = text(runs, &["runs"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("3    mlp    failed      1500/1500  0.5000"), "{list}");
    assert!(list.contains("4    mlp    unfinished  0/1500"), "{list}");

    let shown = text(runs, &["show", "3"]);
    assert!(shown.contains("checkpoint  round 1500\n") && shown.contains("round 1491"), "{shown}");
    assert!(!shown.contains("round 1490"), "{shown}");
    for (what, lines) in
        [("--rounds", 1500), ("--shards", 3000), ("--events", 1), ("--checkpoints", 1)]
    {
        let table = text(runs, &["show", "3", what]);
        assert_eq!(table.lines().count(), lines + 1, "{what}: {table}");
        assert_eq!(json(runs, &["show", "3", what]).len(), lines);
        assert_eq!(json(runs, &["show", "4", what]).len(), 0);
    }
    assert_eq!(text(runs, &["show", "4", "--shards"]), "no shards\n");

    let said = text(runs, &["explain", "3"]);
    assert!(said.contains("75 % computing") && said.contains("Lost: two, "), "{said}");
    let replay = "its complete log: coordinator replay 3 --round 7 --replica 1 --runs ";
    assert!(said.contains(&format!("{replay}{}\n", runs.display())), "{said}");
}

/// `docs/CLI.md` promises these names.
#[test]
fn json_has_the_documented_fields() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path());
    let documented = std::fs::read_to_string(tests::binaries::workspace().join("docs/CLI.md"));
    let documented = documented.expect("the document");
    for (command, args) in [
        ("runs", &["runs"][..]),
        ("show --rounds", &["show", "3", "--rounds"]),
        ("show --shards", &["show", "3", "--shards"]),
        ("show --events", &["show", "3", "--events"]),
        ("show --checkpoints", &["show", "3", "--checkpoints"]),
    ] {
        let objects = json(folder.path(), args);
        let row = documented.lines().find(|line| line.starts_with(&format!("| `{command}")));
        let row = row.unwrap_or_else(|| panic!("no row for {command}"));
        for name in fields(&objects[0]) {
            assert!(row.contains(&format!("`{name}`")), "{command}: {name} is not documented");
        }
    }
    let run = &json(folder.path(), &["show", "3"])[0];
    assert_eq!((&run["state"], &run["round"]), (&"failed".into(), &1500.into()));
    assert_eq!(run["spec"], "model = \"mlp\"\n");
    let shard = &json(folder.path(), &["show", "3", "--shards"])[1];
    assert_eq!((&shard["worker"], &shard["compute_us"]), (&"two".into(), &750.into()));
}

#[test]
fn what_cannot_be_read_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path();
    for args in [&["runs"][..], &["show", "3"], &["explain", "3"]] {
        let message = error(runs, args);
        assert!(message.contains("history.sqlite: expected the history of runs"), "{message}");
    }
    record(runs);
    let message = error(runs, &["show", "77"]);
    assert!(message.contains("run 77 is unknown") && message.contains("are 3, 4"), "{message}");
    assert!(error(runs, &["explain", "77"]).contains("are 3, 4"));
    let both = error(runs, &["show", "3", "--rounds", "--shards"]);
    assert!(both.contains("cannot be used with"), "{both}");
    std::fs::write(runs.join("history.sqlite"), "text").unwrap();
    let message = error(runs, &["runs"]);
    assert!(message.contains("damage") && message.contains("coordinator serve"), "{message}");
    for args in [&["runs"][..], &["show", "3"], &["explain", "3"], &["verify", "3"]] {
        std::fs::remove_file(runs.join("history.sqlite")).unwrap();
        std::fs::create_dir(runs.join("history.sqlite")).unwrap();
        let message = error(runs, args);
        assert!(message.contains("the history cannot be used"), "{args:?}: {message}");
        std::fs::remove_dir(runs.join("history.sqlite")).unwrap();
        std::fs::write(runs.join("history.sqlite"), "text").unwrap();
    }
    let message = error(&runs.join("history.sqlite"), &["runs"]);
    assert!(message.contains("history"), "{message}");
}
