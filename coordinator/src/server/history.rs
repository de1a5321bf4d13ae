//! What the engine has recorded in the history of runs.

use common::id::RunId;
use common::wire::message::RunEvent;

use super::engine::Engine;
use super::recorder::now_ms;
use super::run::{Phase, Run, Submission};
use crate::ledger::{EndRow, EventKind, EventRow, Record, RunRow, RunState, ShardRow, StepRow};
use crate::runs::dataset_digest;
use crate::scheduler::WorkerNote;

impl Engine {
    /// Whether the next step is to wait until more of the history is written.
    pub(super) fn recorder_is_full(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.recorder.is_full())
    }

    /// Records something of a run that is kept.
    fn record(&self, run: RunId, record: impl FnOnce() -> Record) {
        let is_kept = self.runs.get(&run).is_some_and(|run| !run.is_replay);
        if let Some(durable) = self.durable.as_ref().filter(|_| is_kept) {
            durable.recorder.record(record());
        }
    }

    /// Records that a run is queued.
    pub(super) fn record_run(&self, id: RunId, forked_from: Option<(RunId, u64)>) {
        if let Some(run) = self.runs.get(&id)
            && let Some(submission) = &run.submission
        {
            self.record(id, || Record::Run(run_row(run, submission, forked_from)));
        }
    }

    /// Records that a run goes on from a step.
    pub(super) fn record_resumed(&self, run: RunId, step: u64, round: u64) {
        self.record(run, || Record::Rewind { run, step });
        self.record_event(run, EventKind::Resumed, None, format!("after round {round}"));
    }

    /// Records the active run's merged step, of which clients are told this.
    pub(super) fn record_step(&self, event: &RunEvent) {
        let Some(active) = &self.active else { return };
        let (run, step) = (active.run, active.step.index);
        self.record(run, || {
            let shards = active.shards.all().map(|(replica, shard)| ShardRow {
                replica,
                worker: shard.worker.clone(),
                attempt: shard.attempt,
                digest: shard.done.digest,
                compute_us: shard.done.compute_us,
            });
            let (digest, shards) = (active.shards.digest(), shards.collect());
            Record::Step(StepRow {
                run,
                step,
                at_ms: now_ms(),
                event: event.clone(),
                digest,
                shards,
            })
        });
    }

    /// Records what happened to a worker.
    pub(super) fn record_note(&self, run: RunId, worker: &str, what: WorkerNote, detail: &str) {
        let kind = match what {
            WorkerNote::Joined => EventKind::Joined,
            WorkerNote::Left => EventKind::Left,
            WorkerNote::Lost => EventKind::Lost,
            WorkerNote::Slow => EventKind::Slow,
            WorkerNote::Failed => EventKind::Error,
            WorkerNote::Cannot => EventKind::Cannot,
            WorkerNote::Reassigned => EventKind::Reassigned,
            WorkerNote::Duplicate => EventKind::Duplicate,
        };
        self.record_event(run, kind, Some(worker.to_owned()), detail.to_owned());
    }

    /// Records an event.
    pub(super) fn record_event(
        &self,
        run: RunId,
        kind: EventKind,
        worker: Option<String>,
        detail: String,
    ) {
        let active = self.active.as_ref().filter(|active| active.run == run);
        let step = active.map(|active| active.step.index);
        self.record(run, || {
            Record::Event(EventRow { run, at_ms: now_ms(), step, kind, worker, detail })
        });
    }

    /// Records how a run ended.
    pub(super) fn record_end(&self, run: RunId, phase: Phase, event: &RunEvent) {
        let Some(ended) = self.runs.get(&run) else { return };
        let state = match phase {
            Phase::Finished => RunState::Finished,
            Phase::Failed => RunState::Failed,
            Phase::Cancelled => RunState::Cancelled,
            Phase::Queued | Phase::Running => return,
        };
        let reason = match event {
            RunEvent::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let (digest, event) = (ended.digest, event.clone());
        self.record(run, || {
            Record::Ended(EndRow { run, at_ms: now_ms(), state, digest, reason, event })
        });
    }
}

/// What is recorded of a queued run.
pub(super) fn run_row(
    run: &Run,
    submission: &Submission,
    forked_from: Option<(RunId, u64)>,
) -> RunRow {
    RunRow {
        run: run.id,
        // Which tells it from another one that had its number.
        at_ms: run.record.as_ref().map_or_else(now_ms, |record| record.at_ms),
        model: run.model_name.clone(),
        spec: submission.text.clone(),
        dataset: dataset_digest(&submission.train, &submission.test),
        rounds: run.rounds,
        steps: submission.plan.steps(),
        forked_from,
    }
}

/// A number of shards, as details of events begin.
pub(super) fn shards(count: u64) -> String {
    format!("{count} {}", if count == 1 { "shard" } else { "shards" })
}
