use std::sync::mpsc::channel;

use common::wire::message::RunEvent;

use super::*;
use crate::ledger::{HISTORY_BYTES, LedgerReader, RunRow, ShardRow, StepRow};

const RUN: RunId = RunId(1);

/// Shards of a step that counts as a little more than 2 MiB.
const SHARDS: u32 = 8192;

fn run() -> Record {
    let (model, spec, dataset) = ("toy".to_owned(), String::new(), Digest::of(b"data"));
    let (at_ms, rounds, steps) = (1, 20, 20);
    Record::Run(RunRow { run: RUN, at_ms, model, spec, dataset, rounds, steps, forked_from: None })
}

fn step(step: u64) -> Record {
    let event = RunEvent::Labelled { run: RUN, epochs: 1, examples: 1 };
    let digest = Digest::of(b"shard");
    let shard =
        |replica| ShardRow { replica, worker: "w".into(), attempt: 1, digest, compute_us: 1 };
    let shards = (0..SHARDS).map(shard).collect();
    Record::Step(StepRow { run: RUN, step, at_ms: 1, event, digest, shards })
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_and_nothing_of_it_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = RunsFolder::open(scratch.path()).unwrap();
    let (events, mut inbox) = mpsc::channel::<Event<()>>(64);
    let history = HistoryQueue::open(&folder, HISTORY_BYTES);
    let writer = Writer::start(folder, history, events).unwrap();
    let (go_on, may_go_on) = channel::<()>();
    writer.enqueue(move |_| {
        let _ = may_go_on.recv();
    });
    writer.record(run());
    (0..7).for_each(|index| writer.record(step(index)));
    assert!(!writer.is_full(), "the number of records does not matter");
    writer.record(step(7));
    assert!(writer.is_full());
    go_on.send(()).unwrap();
    while writer.is_full() {
        assert!(matches!(inbox.recv().await, Some(Event::Recorded | Event::Done(()))));
    }
    drop(writer);
    let steps = LedgerReader::open(scratch.path()).unwrap();
    let steps: Vec<u64> = steps.steps(RUN).map(|step| step.unwrap().step).collect();
    assert_eq!(steps, (0..8).collect::<Vec<_>>());
}
