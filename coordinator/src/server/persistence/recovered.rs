//! A run as it is found in the runs folder, before its state is read.

use common::id::RunId;
use common::plan::RunPlan;
use common::run_state::RunState;
use common::spec::RunSpec;
use common::wire::message::RunEvent;

use crate::ledger::{EndRow, RunRow};
use crate::runs::{RunsError, SubmissionRecord, dataset_digest};
use crate::server::run_table::{NewRun, Run};

/// A run of the folder whose records are intact.
#[derive(Debug)]
pub(in crate::server) struct Recovered {
    pub(in crate::server) run: Run,
    /// Bytes of the state from which it continues, by the checkpoint's manifest.
    pub(in crate::server) state_bytes: Option<u64>,
    /// The run for the history; `None` if its records are damaged.
    pub(in crate::server) row: Option<RunRow>,
    /// The end of the run for the history, if it has ended.
    pub(in crate::server) ended: Option<EndRow>,
    /// The last event for its followers, if it is over.
    pub(in crate::server) end: Option<RunEvent>,
}

impl Recovered {
    /// A run of which only the submission is read.
    pub(super) fn new(run: NewRun, row: Option<RunRow>) -> Self {
        Self { run: Run::new(run), state_bytes: None, row, ended: None, end: None }
    }
}

/// The reason why a run cannot continue.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum RecoverError {
    #[error(transparent)]
    Folder(#[from] RunsError),
    #[error(transparent)]
    Spec(#[from] common::spec::SpecError),
    #[error(transparent)]
    State(#[from] common::state::StateError),
    #[error("{0}")]
    Model(String),
}

/// The spec and the plan of a run, if this version can read them.
pub(super) struct Known<'a> {
    pub(super) record: &'a SubmissionRecord,
    pub(super) spec: Option<RunSpec>,
    pub(super) plan: Option<RunPlan>,
}

impl<'a> Known<'a> {
    pub(super) fn new(record: &'a SubmissionRecord) -> Self {
        let spec = RunSpec::from_toml(&record.spec).ok();
        let plan = |spec| RunPlan::new(spec, record.train.size(), record.test.examples).ok();
        let plan = spec.as_ref().and_then(plan);
        Self { record, spec, plan }
    }

    /// The run for the history.
    pub(super) fn row(&self) -> RunRow {
        let steps = self.plan.as_ref().map_or(0, RunPlan::steps);
        let model = self.spec.as_ref().map(|spec| spec.model.clone()).unwrap_or_default();
        run_row(self.record, model, self.plan.as_ref().map_or(0, RunPlan::rounds), steps)
    }

    /// The run for the run table.
    pub(super) fn run(&self, phase: RunState) -> NewRun {
        let model = self.spec.as_ref().map(|spec| spec.model.clone()).unwrap_or_default();
        recorded(self.record, model, self.plan.as_ref().map_or(0, RunPlan::rounds), phase)
    }
}

/// The run for the history, with this many rounds and steps.
pub(in crate::server) fn run_row(
    record: &SubmissionRecord,
    model: String,
    rounds: u64,
    steps: u64,
) -> RunRow {
    RunRow {
        run: record.run,
        // This distinguishes the run from another one that had its number.
        at_ms: record.at_ms,
        model,
        spec: record.spec.clone(),
        dataset: dataset_digest(&record.train, &record.test),
        rounds,
        steps,
        forked_from: record.forked_from,
    }
}

/// The run for the run table, with this many rounds, from its submission.
pub(super) fn recorded(
    record: &SubmissionRecord,
    model_name: String,
    rounds: u64,
    phase: RunState,
) -> NewRun {
    NewRun {
        phase,
        settings: record.settings.clone(),
        key: record.key,
        record: Some(record.clone()),
        model_name,
        rounds,
        ..NewRun::queued(record.run)
    }
}

/// The last event of a run that is not over, but cannot continue now.
pub(in crate::server) fn cannot_continue(run: RunId, error: &str) -> RunEvent {
    let reason = format!(
        "it cannot continue: {error}; fix the cause, then start the coordinator again, or run \
         `coordinator resume {run}`"
    );
    RunEvent::Failed { run, reason }
}
