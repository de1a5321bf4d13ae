//! Records in the history of runs.

use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;

use super::Engine;
use crate::ledger::{EndRow, EventKind, EventRow, Record, StepRow};
use crate::server::persistence::run_row;
use crate::server::wall_clock::now_ms;

impl Engine {
    /// Whether the next step must wait until more of the history is written.
    pub(super) fn is_journal_full(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_full())
    }

    /// Records an event of a run that is kept.
    fn record(&self, run: RunId, record: impl FnOnce() -> Record) {
        let is_kept = self.runs.get(run).is_some_and(|run| !run.is_replay());
        if let Some(journal) = self.journal.as_ref().filter(|_| is_kept) {
            journal.record(record());
        }
    }

    /// Records that a run is queued.
    pub(super) fn record_run(&self, id: RunId, forked_from: Option<(RunId, u64)>) {
        if let Some(run) = self.runs.get(id)
            && let Some(submission) = run.submission()
            && let Some(record) = run.submission_record()
        {
            let (model, rounds) = (run.model_name().to_owned(), run.rounds());
            let row = || run_row(record, model, rounds, submission.plan.steps());
            self.record(id, || Record::Run(crate::ledger::RunRow { forked_from, ..row() }));
        }
    }

    /// Records that a run continues from a step.
    pub(super) fn record_resumed(&self, run: RunId, step: u64, round: u64) {
        self.record(run, || Record::Rewind { run, step });
        let memory = self.journal.as_ref().and_then(|journal| journal.predecessor_memory(run));
        let memory = memory.map(|memory| format!("; {memory}")).unwrap_or_default();
        self.record_event(run, EventKind::Resumed, None, format!("after round {round}{memory}"));
    }

    /// Records the active run's merged step; `event` was sent to clients.
    pub(super) fn record_step(&self, event: &RunEvent) {
        let Some(active) = self.step.active() else { return };
        let (run, step) = (active.run(), active.step_id().index);
        self.record(run, || {
            let (digest, shards) = active.shard_rows();
            let (at_ms, event) = (now_ms(), event.clone());
            Record::Step(StepRow { run, step, at_ms, event, digest, shards })
        });
    }

    /// Records an event.
    pub(super) fn record_event(
        &self,
        run: RunId,
        kind: EventKind,
        worker: Option<String>,
        detail: String,
    ) {
        let step = self.step.active_run(run).map(|active| active.step_id().index);
        self.record(run, || {
            Record::Event(EventRow { run, at_ms: now_ms(), step, kind, worker, detail })
        });
    }

    /// Records how a run ended.
    pub(super) fn record_end(&self, run: RunId, state: RunEnd, event: &RunEvent) {
        let Some(ended) = self.runs.get(run) else { return };
        let reason = match event {
            RunEvent::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let (digest, event) = (ended.digest(), event.clone());
        self.record(run, || {
            Record::Ended(EndRow { run, at_ms: now_ms(), state, digest, reason, event })
        });
    }
}
