//! Records to test with.

use common::id::RunId;
use common::results::Results;
use common::run_state::RunEnd;
use common::spec::Split;
use common::wire::message::RunEvent;

use super::super::*;
use super::digest;

pub(super) fn run(number: u64) -> RunRow {
    RunRow {
        run: RunId(number),
        at_ms: 1,
        model: "mlp".into(),
        spec: "model = \"mlp\"\n".into(),
        dataset: digest(7),
        rounds: 20,
        steps: 30,
        forked_from: None,
    }
}

pub(super) fn step(run: u64, step: u64, shards: Vec<ShardRow>) -> StepRow {
    let event = RunEvent::Round {
        run: RunId(run),
        round: step.saturating_add(1),
        rounds: 20,
        epoch: 1,
        examples: 80,
        loss: Some(0.5),
        accuracy: None,
        metrics: [("spikes".to_owned(), 0.1)].into(),
        partial_bytes: 4096,
        compute_ms: 12.5,
        synchronisation_ms: 0.1,
        examples_per_second: 1234.5,
        workers: 2,
    };
    StepRow { run: RunId(run), step, at_ms: 10 + step % 1000, event, digest: digest(step), shards }
}

pub(super) fn labelling(run: u64, index: u64) -> StepRow {
    let event = RunEvent::Labelled { run: RunId(run), epochs: 1, examples: 60 };
    StepRow { event, ..step(run, index, vec![]) }
}

pub(super) fn evaluation(run: u64, index: u64, accuracy: f64) -> StepRow {
    let results = Results {
        examples: 4,
        sums: [("loss".to_owned(), 1.1)].into(),
        counts: [("correct".to_owned(), vec![3])].into(),
        ..Results::default()
    };
    let event = RunEvent::Evaluation {
        run: RunId(run),
        epochs: 1,
        split: Split::Test,
        loss: results.loss(),
        accuracy: Some(accuracy),
        results,
    };
    StepRow { event, ..step(run, index, vec![]) }
}

pub(super) fn shard(replica: u32, worker: &str, attempt: u32) -> ShardRow {
    let digest = digest(u64::from(replica) << 32);
    ShardRow { replica, worker: worker.into(), attempt, digest, compute_us: 1500 }
}

pub(super) fn checkpoint(run: u64, step: u64) -> CheckpointRow {
    let (round, digest) = (step - step / 2, digest(step));
    CheckpointRow { run: RunId(run), at_ms: 20, round, step, digest, bytes: 1 << 20, ms: 3.25 }
}

pub(super) fn ended(run: u64) -> EndRow {
    let event = RunEvent::Finished {
        run: RunId(run),
        digest: digest(99),
        rounds: 20,
        examples: 1600,
        seconds: 1.5,
        loss: Some(0.1),
        accuracy: None,
        synchronisation_share: 0.25,
        warnings: [("mute".to_owned(), 3)].into(),
        offered: 12,
        audited: 5,
        unaudited: 1,
        unsaved: None,
    };
    let (state, digest) = (RunEnd::Finished, Some(digest(99)));
    EndRow { run: RunId(run), at_ms: 99, state, digest, reason: None, event }
}
