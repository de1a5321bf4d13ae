//! What is said of runs that went one way or another.

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::worker_event::WorkerEvent;

use super::super::runs::tests::run;
use super::account::Account;
use super::sentences::explain;
use crate::ledger::{
    CheckpointRow, EventKind, EventRow, KILLED_FOR_MEMORY, ShardRow, StepName, StoredRun,
    StoredShard, StoredStep,
};

const ROUNDS: u64 = 120;

/// A run of ten seconds: 120 rounds of 80 ms, computed by three workers.
struct Case(Account);

impl Case {
    fn new() -> Self {
        Self(Account::new(run()))
    }

    fn state(mut self, state: Option<RunEnd>, reason: Option<&str>) -> Self {
        let reason = reason.map(str::to_owned);
        self.0.run = StoredRun { state, reason, round: 7, ..self.0.run };
        self
    }

    fn rounds(mut self, compute_ms: f64, synchronisation_ms: f64) -> Self {
        for step in 0..ROUNDS {
            self.0.take_step(&StoredStep {
                run: RunId(3),
                step,
                kind: StepName::Train,
                round: Some(step + 1),
                epoch: 1,
                examples: 80,
                loss: None,
                accuracy: None,
                metrics: Default::default(),
                compute_ms: Some(compute_ms),
                synchronisation_ms: Some(synchronisation_ms),
                bytes: Some(2 << 20),
                workers: Some(3),
                digest: Digest::of(b""),
                at_ms: 951_782_400_000 + 80 * (step + 1),
            });
        }
        self
    }

    /// One shard of each round by each worker, of so many ms.
    fn shards(mut self, workers: &[(&str, u64)], attempt: impl Fn(u64) -> u32) -> Self {
        for step in 0..ROUNDS {
            for (replica, (worker, ms)) in workers.iter().enumerate() {
                let shard = ShardRow {
                    replica: replica as u32,
                    worker: (*worker).into(),
                    attempt: attempt(step),
                    digest: Digest::of(b""),
                    compute_us: ms * 1000,
                };
                let (run, round) = (RunId(3), Some(step + 1));
                self.0.take_shard(&StoredShard { run, step, round, shard });
            }
        }
        self
    }

    fn event(mut self, kind: EventKind, worker: Option<&str>, detail: &str) -> Self {
        self.0.take_event(EventRow {
            run: RunId(3),
            at_ms: 951_782_405_000,
            step: Some(17),
            kind,
            worker: worker.map(str::to_owned),
            detail: detail.into(),
        });
        self
    }

    fn checkpoints(mut self, count: u64) -> Self {
        for round in 1..=count {
            let (run, digest) = (RunId(3), Digest::of(b""));
            let (at_ms, step, bytes, ms) = (0, round, 1 << 20, 12.0);
            self.0.take_checkpoint(&CheckpointRow { run, at_ms, round, step, digest, bytes, ms });
        }
        self
    }

    /// That all of these are lines, or beginnings of lines, in this order.
    fn says(&self, lines: &[&str]) {
        let text = explain(&self.0);
        let mut rest = text.lines();
        for line in lines {
            assert!(rest.any(|found| found.starts_with(line)), "expected {line:?} in:\n{text}");
        }
    }

    fn never_says(&self, words: &[&str]) {
        let text = explain(&self.0);
        for word in words {
            assert!(!text.contains(word), "{word:?} in:\n{text}");
        }
    }
}

const EQUAL: [(&str, u64); 3] = [("one", 12), ("two", 13), ("three", 14)];

fn healthy() -> Case {
    Case::new().rounds(72.0, 8.0).shards(&EQUAL, |_| 1).checkpoints(4)
}

#[test]
fn a_healthy_run() {
    let text = "\
Run 3 (mlp) finished: 120 rounds, 10.0 s from queued to ended, digest ba7816bf8f01….
Its 120 rounds took 9.6 s: 90 % computing, 10 % synchronisation (sending, merging, waiting).
3 workers were about equally fast: 12.0 (one) to 14.0 ms (three) per shard.
No shard was handed out more than once.
4 checkpoints took 12.0 ms on average to write, in parallel to the rounds: 0.5 % of their time.
Nothing delayed it.
";
    assert_eq!(explain(&healthy().0), text);
}

#[test]
fn a_run_without_rounds_is_not_measured_by_them() {
    let case = Case::new().checkpoints(2);
    case.says(&["It has no recorded rounds.", "2 checkpoints took 12.0 ms on average to write."]);
    case.never_says(&["of their time", "inf", "NaN"]);
}

#[test]
fn a_run_that_synchronisation_held_up() {
    let case = Case::new().rounds(20.0, 60.0).shards(&EQUAL, |_| 1);
    case.says(&[
        "Synchronisation was the bottleneck. Its 120 rounds took 9.6 s: 25 % computing, 75 %",
    ]);
    let text = explain(&case.0);
    assert!(text.contains("Each round merged 2.0 MiB") && text.contains("`update_interval`"));
    case.never_says(&["Nothing delayed it"]);
}

#[test]
fn a_run_that_waited() {
    let case = Case::new().rounds(20.0, 5.0);
    case.says(&["Outside of its rounds it took 7.0 s: in the queue, waiting for workers"]);
}

#[test]
fn one_slow_worker() {
    let slow = [("one", 12), ("two", 14), ("three", 39)];
    let case = Case::new()
        .rounds(72.0, 8.0)
        .shards(&slow, |step| if step < 4 { 2 } else { 1 })
        .event(
            EventKind::Worker(WorkerEvent::Slow),
            Some("three"),
            "8 shards of step 17 went to one too",
        )
        .event(
            EventKind::Worker(WorkerEvent::Slow),
            Some("three"),
            "4 shards of step 18 went to one too",
        )
        .event(EventKind::Worker(WorkerEvent::Duplicate), Some("three"), "4 shards of step 17");
    case.says(&[
        "Worker three was slow: 39.0 ms per shard, 3.0 times as long as the others' 13.0 ms. It \
         computed 120 of 360 shards of rounds.",
        "12 of 360 shards were handed out more than once, at most 2 times. Recorded causes: 12 slow \
         shards.",
        "4 shards arrived twice and counted once.",
    ]);
    case.never_says(&["equally", "Nothing delayed it"]);
    let alone = Case::new().rounds(72.0, 8.0).shards(&slow[2..], |_| 1);
    alone.says(&["One worker, three, computed 120 shards of rounds in 39.0 ms each."]);
}

#[test]
fn a_worker_of_a_build_without_the_model() {
    let lacks = "model `x` is unknown: start your own worker binary";
    let case = healthy().event(EventKind::Worker(WorkerEvent::Cannot), Some("two"), lacks);
    case.says(&[
        "A worker could not work on it: two, 2000-02-29 00:00:05 UTC at step 17: model `x` is \
         unknown: start your own worker binary.",
    ]);
    case.never_says(&["Nothing delayed it"]);
}

#[test]
fn lost_workers() {
    let mut case = healthy().shards(&EQUAL, |step| if step == 0 { 3 } else { 1 });
    for _ in 0..7 {
        case = case.event(
            EventKind::Worker(WorkerEvent::Lost),
            Some("two"),
            "it was silent for 10.0 s",
        );
    }
    case = case
        .event(EventKind::Resumed, None, "")
        .event(EventKind::Resumed, None, "")
        .event(EventKind::Worker(WorkerEvent::Offered), Some("one"), "9 shards of step 17")
        .event(EventKind::Worker(WorkerEvent::Offered), Some("two"), "3 shards of step 17");
    case.says(&[
        "3 of 720 shards were handed out more than once, at most 3 times. Recorded causes: 7 lost \
         workers.",
        "Lost: two, 2000-02-29 00:00:05 UTC at step 17: it was silent for 10.0 s.",
        "Workers were lost 2 times more: see `coordinator show 3 --events`.",
        "It was resumed 2 times; 12 finished shards were delivered and not computed again.",
    ]);
    case.never_says(&["memory", "Nothing delayed it"]);
    let offered =
        healthy().event(EventKind::Worker(WorkerEvent::Offered), Some("one"), "2 shards of step 3");
    offered.says(&["After workers had lost their connection, 2 finished shards were delivered"]);
}

#[test]
fn a_worker_that_may_have_been_killed_for_memory() {
    let used = "closed by the peer; it had used 250 of 256 MiB of memory";
    let detail = format!("{used} and {KILLED_FOR_MEMORY}");
    healthy().event(EventKind::Worker(WorkerEvent::Lost), Some("two"), &detail).says(&[
        "Lost: two, 2000-02-29 00:00:05 UTC at step 17: closed by the peer; it had used 250 \
         of 256 MiB of memory and may have been killed for that. Give it more memory, or lower its \
         --memory-limit",
    ]);
    let other = healthy().event(EventKind::Worker(WorkerEvent::Lost), Some("two"), used);
    other.says(&["Lost: two, 2000-02-29 00:00:05 UTC at step 17: closed by the peer; it had"]);
    other.never_says(&["Give it more memory", "Nothing delayed it"]);
}

#[test]
fn a_coordinator_that_may_have_been_killed_for_memory() {
    let used = "after round 3; its coordinator was ended; it had used up to 60 of 64 MiB of memory";
    let detail = format!("{used} and {KILLED_FOR_MEMORY}");
    healthy().event(EventKind::Resumed, None, &detail).says(&[
        "It was resumed once.",
        "Resumed: 2000-02-29 00:00:05 UTC at step 17: after round 3; its coordinator was ended; it \
         had used up to 60 of 64 MiB of memory and may have been killed for that. Give the \
         coordinator more memory: it needs",
    ]);
    healthy().event(EventKind::Resumed, None, used).never_says(&["more memory"]);
}

#[test]
fn a_run_that_failed() {
    let reason = "run 3 step 6: replica 5 failed 2 times: loss is NaN; `coordinator replay 3 \
                  --round 7 --replica 5` runs it alone";
    let case = healthy()
        .state(Some(RunEnd::Failed), Some(reason))
        .event(EventKind::Worker(WorkerEvent::Failed), Some("one"), "replica 5: loss is\nNaN")
        .event(EventKind::Worker(WorkerEvent::Failed), Some("two"), "replica 5: loss is\nNaN");
    case.says(&[
        "Run 3 (mlp) failed after 7 of 120 rounds: run 3 step 6: replica 5 failed 2 times",
        "To run the shard alone, with its complete log: coordinator replay 3 \
         --round 7 --replica 5",
        "The last error: two, 2000-02-29 00:00:05 UTC at step 17: replica 5: loss is NaN.",
    ]);
    let mut elsewhere = case;
    elsewhere.0.flag = " --runs /srv/runs".into();
    elsewhere
        .says(&["To run the shard alone, with its complete log: coordinator replay 3 --round 7 \
         --replica 5 --runs /srv/runs"]);
    let case = Case::new().state(Some(RunEnd::Failed), Some("no worker is left"));
    case.says(&[
        "Run 3 (mlp) failed after 7 of 120 rounds: no worker is left",
        "It has no recorded rounds",
    ]);
    case.never_says(&["To run the shard", "Nothing delayed it", "checkpoint"]);
}

#[test]
fn other_ends_and_other_troubles() {
    healthy().state(Some(RunEnd::Cancelled), None).says(&["Run 3 (mlp) was cancelled after 7"]);
    let mut case = healthy().state(None, None);
    (case.0.run.forked_from, case.0.run.forked_round) = (Some(RunId(1)), Some(20));
    case.says(&[
        "Run 3 (mlp) is unfinished, after 7 of 120 rounds: `coordinator status`",
        "It was \
                 forked from run 1 after round 20.",
    ]);
    let case = healthy()
        .event(EventKind::CheckpointFailed, None, "no space left on the device")
        .event(EventKind::PassedOver, None, "round-9.safetensors: bits")
        .event(EventKind::Audit, Some("one"), "replica 2 of step 17 differs from two's");
    case.says(&[
        "A damaged checkpoint was skipped: 2000-02-29 00:00:05 UTC at step 17: round-9",
        "1 checkpoint could not be written; the last time: 2000-02-29 00:00:05 UTC at step 17: no \
         space left on the device.",
        "Two workers computed differently: one, 2000-02-29 00:00:05 UTC at step 17: replica 2",
    ]);
    let case = healthy()
        .event(EventKind::Audited, None, "2 shards had the same bits on two workers")
        .event(EventKind::Audited, None, "9 shards had the same bits on two workers")
        .event(EventKind::Unaudited, None, "1 shard could not be given to a second worker");
    case.says(&[
        "Audited: 9 shards had the same bits on two workers.",
        "Not audited: 1 shard could not be given to a second worker.",
    ]);
}

#[test]
fn what_was_thinned_is_told_apart_from_what_is_missing() {
    let case = |missing, thinned| {
        let mut case = Case::new().rounds(70.0, 10.0).shards(&EQUAL, |_| 1);
        case.0.run = StoredRun { missing, thinned, ..case.0.run };
        case
    };
    let thinned = "The history has dropped the shards of 40 steps";
    case(0, 40).says(&["Run 3 (mlp) finished", thinned, "Nothing delayed it"]);
    case(0, 40).never_says(&["missing in the history"]);
    case(5, 40).says(&["5 of 125 steps are missing in the history", thinned]);
    case(5, 0).never_says(&["has dropped the shards"]);
}

#[test]
fn a_cache_that_is_smaller_than_the_window_is_named() {
    let detail = "its cache holds 8 MiB, but the examples of a round span 64 MiB of chunks";
    let case = Case::new().rounds(70.0, 10.0).event(EventKind::SmallCache, Some("one"), detail);
    case.says(&["Small cache: one, "]);
    let text = explain(&case.0);
    assert!(text.contains("its cache holds 8 MiB") && text.contains("--cache-limit"), "{text}");
    case.never_says(&["Nothing delayed it"]);
}
