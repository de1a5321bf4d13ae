//! What the scheduler reports, in sentences: for the log, for clients, for workers and for the
//! history. Pure.

use crate::scheduler::{Detail, LossReason, RunFailure, UnauditedReason};
use crate::server::text::shards;

/// Number of a lost worker's blocks that are named.
const NAMED_BLOCKS: usize = 16;

/// The details of an event of a worker.
pub(super) fn detail(detail: Detail) -> String {
    match detail {
        Detail::Text(text) => text,
        Detail::Slots(1) => "it has 1 slot".into(),
        Detail::Slots(slots) => format!("it has {slots} slots"),
        Detail::GivenUp(reason) => loss(reason),
        Detail::HandedOver { shards: count, blocks } => {
            let count = shards(count.into());
            let named: Vec<String> =
                blocks.iter().take(NAMED_BLOCKS).map(ToString::to_string).collect();
            let named = named.join(", ");
            let more = if blocks.len() > NAMED_BLOCKS { ", …" } else { "" };
            format!("{count}, replicas {named}{more}, handed to other workers")
        }
        Detail::DoneAlready { shards: count, block } => {
            format!("{}, replicas {block}, already done", shards(count.into()))
        }
        Detail::Duplicated { shards: count, block, after } => format!(
            "{}, replicas {block}, after {:.1} s: duplicated on idle workers",
            shards(count.into()),
            after.as_secs_f64()
        ),
        Detail::AuditOverdue { block, after } => {
            format!("1 shard, replica {block}, audited, after {:.1} s", after.as_secs_f64())
        }
        Detail::ShardFailed { replica, error } => format!("replica {replica}: {error}"),
        Detail::SetAside { steps, wait } => format!(
            "it failed in {steps} steps: it gets no work for {} s while there are other workers",
            wait.as_secs()
        ),
    }
}

/// Why a worker was given up: for the worker, the log and the event `lost`.
pub(super) fn loss(reason: LossReason) -> String {
    match reason {
        LossReason::Silent { timeout } => {
            format!("it was silent for {:.1} s", timeout.as_secs_f64())
        }
        LossReason::MissingPartials { partials } => {
            format!("it lacked {partials} partials that it had reported")
        }
    }
}

/// Why a run failed, and what to do.
pub(super) fn failure(reason: &RunFailure) -> String {
    match reason {
        RunFailure::QueueFull { run, limit } => {
            format!("run {run}: the queue is full with {limit} runs; submit it again later")
        }
        RunFailure::ShardFailed { step, replica, errors, worker, fatal, error } => {
            let times = match (fatal, errors) {
                (true, 1) => "with an error that a retry cannot help".to_owned(),
                _ => format!("{errors} times, the last time on worker {worker}"),
            };
            format!(
                "{step}: replica {replica} failed {times}: {error}; the shard fails in the same \
                 way every time: correct the model, its parameters or the data, then submit the \
                 run again"
            )
        }
        RunFailure::Altered { error, times, worker } => format!(
            "{error}; this happened {times} times, the last time on worker {worker}: remove that \
             machine from the cluster, test its memory, install the same build as on the others, \
             and use keys, which protect bytes in transit; then resume the run"
        ),
        RunFailure::Crashes { step, replicas, workers } => {
            let workers =
                if *workers == 1 { "1 worker".into() } else { format!("{workers} workers") };
            let replicas: Vec<String> = replicas.iter().map(u32::to_string).collect();
            format!(
                "{step}: {workers} died while running replica {}, so this shard probably kills \
                 its workers: look at their last log lines (out of memory, or a crash in the \
                 model), then resume the run",
                replicas.join(", ")
            )
        }
        RunFailure::Losses { step, times } => format!(
            "{step}: workers were lost {times} times in this step, and no shard is known to be \
             the cause: look at their last log lines and at the network, then resume the run"
        ),
    }
}

/// Why a shard was not audited.
pub(super) fn unaudited(reason: UnauditedReason) -> &'static str {
    match reason {
        UnauditedReason::NoWorker => "there is no second worker",
        UnauditedReason::NoRoom => {
            "all other workers have the maximum of second copies in this step"
        }
        UnauditedReason::NoResult => "no worker that had its second copy gave a result",
        UnauditedReason::ShardFailed => "it had failed on a worker, or killed one, in this step",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::id::{Block, RunId, StepId, WorkerId};

    use super::*;

    const STEP: StepId = StepId { run: RunId(1), index: 0 };

    #[test]
    fn details_of_events_are_sentences() {
        let block = Block { level: 1, index: 2 };
        let one = Block::of_replica(7);
        let after = Duration::from_millis(1300);
        let blocks = |count: u32| (0..count).map(Block::of_replica).collect::<Vec<_>>();
        let named: Vec<String> = blocks(16).iter().map(ToString::to_string).collect();
        let all = format!("16 shards, replicas {}, handed to other workers", named.join(", "));
        let cut = format!("17 shards, replicas {}, …, handed to other workers", named.join(", "));
        let timeout = Duration::from_secs(10);
        let cases = [
            (Detail::Text("closed by the peer".into()), "closed by the peer"),
            (Detail::Slots(1), "it has 1 slot"),
            (Detail::Slots(4), "it has 4 slots"),
            (Detail::GivenUp(LossReason::Silent { timeout }), "it was silent for 10.0 s"),
            (
                Detail::GivenUp(LossReason::MissingPartials { partials: 8 }),
                "it lacked 8 partials that it had reported",
            ),
            (
                Detail::HandedOver { shards: 3, blocks: vec![block, one] },
                "3 shards, replicas [4, 6), [7, 8), handed to other workers",
            ),
            (Detail::HandedOver { shards: 16, blocks: blocks(16) }, &all),
            (Detail::HandedOver { shards: 17, blocks: blocks(17) }, &cut),
            (
                Detail::DoneAlready { shards: 1, block: one },
                "1 shard, replicas [7, 8), already done",
            ),
            (
                Detail::Duplicated { shards: 2, block, after },
                "2 shards, replicas [4, 6), after 1.3 s: duplicated on idle workers",
            ),
            (
                Detail::AuditOverdue { block: one, after },
                "1 shard, replica [7, 8), audited, after 1.3 s",
            ),
            (
                Detail::ShardFailed { replica: 5, error: "loss is NaN".into() },
                "replica 5: loss is NaN",
            ),
            (
                Detail::SetAside { steps: 5, wait: Duration::from_secs(60) },
                "it failed in 5 steps: it gets no work for 60 s while there are other workers",
            ),
        ];
        for (data, sentence) in cases {
            assert_eq!(detail(data), sentence);
        }
    }

    #[test]
    fn the_reason_of_a_failed_run_names_its_cause_and_says_what_to_do() {
        let shard_failed = |errors, fatal| RunFailure::ShardFailed {
            step: STEP,
            replica: 5,
            errors,
            worker: WorkerId(2),
            fatal,
            error: "loss is NaN".into(),
        };
        let crashes = |replicas, workers| RunFailure::Crashes { step: STEP, replicas, workers };
        let every_time = "loss is NaN; the shard fails in the same way every time: correct the \
                          model, its parameters or the data, then submit the run again";
        let kills = "so this shard probably kills its workers: look at their last log lines (out \
                     of memory, or a crash in the model), then resume the run";
        let cases = [
            (
                RunFailure::QueueFull { run: RunId(9), limit: 3 },
                "run 9: the queue is full with 3 runs; submit it again later".into(),
            ),
            (
                shard_failed(1, true),
                format!(
                    "run 1 step 0: replica 5 failed with an error that a retry cannot help: {every_time}"
                ),
            ),
            (
                shard_failed(2, true),
                format!(
                    "run 1 step 0: replica 5 failed 2 times, the last time on worker w2: {every_time}"
                ),
            ),
            (
                shard_failed(1, false),
                format!(
                    "run 1 step 0: replica 5 failed 1 times, the last time on worker w2: {every_time}"
                ),
            ),
            (
                RunFailure::Altered {
                    error: "a bit flipped".into(),
                    times: 2,
                    worker: WorkerId(3),
                },
                "a bit flipped; this happened 2 times, the last time on worker w3: remove that \
                 machine from the cluster, test its memory, install the same build as on the \
                 others, and use keys, which protect bytes in transit; then resume the run"
                    .into(),
            ),
            (
                crashes(vec![4], 1),
                format!("run 1 step 0: 1 worker died while running replica 4, {kills}"),
            ),
            (
                crashes(vec![0, 6], 3),
                format!("run 1 step 0: 3 workers died while running replica 0, 6, {kills}"),
            ),
            (
                RunFailure::Losses { step: STEP, times: 30 },
                "run 1 step 0: workers were lost 30 times in this step, and no shard is known to \
                 be the cause: look at their last log lines and at the network, then resume the run"
                    .into(),
            ),
        ];
        for (data, sentence) in cases {
            assert_eq!(failure(&data), sentence);
        }
    }

    #[test]
    fn the_reason_of_a_missing_audit_is_told() {
        let cases = [
            (UnauditedReason::NoWorker, "there is no second worker"),
            (
                UnauditedReason::NoRoom,
                "all other workers have the maximum of second copies in this step",
            ),
            (UnauditedReason::NoResult, "no worker that had its second copy gave a result"),
            (
                UnauditedReason::ShardFailed,
                "it had failed on a worker, or killed one, in this step",
            ),
        ];
        for (data, sentence) in cases {
            assert_eq!(unaudited(data), sentence);
        }
    }
}
