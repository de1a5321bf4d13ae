//! What a coordinator finds in the runs folder as it starts: runs that have
//! ended, to be told of, and runs that have not, which go on.

use common::id::RunId;
use common::limits;
use common::plan::RunPlan;
use common::spec::RunSpec;
use common::wire::message::RunEvent;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::durable::{Durable, RunsConfig};
use super::ending;
use super::engine::{Engine, Event};
use super::recorder::{History, Recorder};
use super::remember::remember;
use super::run::{Phase, Restart, Run};
use super::seldom::Seldom;
use super::starts::not_survived;
use crate::ledger::{EndRow, RunRow, RunState};
use crate::runs::{Outcome, OutcomeState, RunsError, RunsFolder, SubmissionRecord, dataset_digest};

/// A run of the folder, whole.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) run: Run,
    /// Bytes of the state that it goes on from, by the checkpoint's manifest.
    pub(super) state_bytes: Option<u64>,
    /// The run, as the history has it; nothing where its records are damaged.
    pub(super) row: Option<RunRow>,
    /// How it ended, as the history has it, if it has.
    pub(super) ended: Option<EndRow>,
    /// What its followers are told last, if it is over.
    pub(super) end: Option<RunEvent>,
}

impl Recovered {
    /// A run of which nothing but its submission is read.
    fn new(run: Run, row: Option<RunRow>) -> Self {
        Self { run, state_bytes: None, row, ended: None, end: None }
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    #[error(transparent)]
    Folder(#[from] RunsError),
    #[error(transparent)]
    Spec(#[from] common::spec::SpecError),
    #[error(transparent)]
    State(#[from] common::state::StateError),
    #[error("{0}")]
    Model(String),
}

/// All runs of a folder that are remembered, in order, and their history. What is
/// wrong with one keeps none of the others from going on. The history is held to
/// `history_bytes`, about.
pub(super) fn recover(folder: &RunsFolder, history_bytes: u64) -> (Vec<Recovered>, History) {
    if let Err(error) = folder.clean() {
        warn!("the runs folder is not tidied: {error}");
    }
    let runs = folder.runs().unwrap_or_else(|error| {
        error!("no run is taken up: {error}");
        Vec::new()
    });
    let old = runs.len().saturating_sub(limits::RUNS);
    let runs = runs[old..].iter().map(|run| recover_run(folder, *run));
    let mut runs: Vec<Recovered> = runs.collect();
    let history = remember(folder, history_bytes, &mut runs);
    (runs, history)
}

fn recover_run(folder: &RunsFolder, id: RunId) -> Recovered {
    let (record, restored) = match folder.restore_submission(id) {
        Ok(known) => known,
        Err(error) => return set_aside(id, None, &error.to_string()),
    };
    let (outcome, damaged) = match folder.outcome(&record) {
        Ok(outcome) => (outcome, None),
        // The run does its last steps again, to the same end.
        Err(error) if error.is_damage() => (None, Some(error)),
        Err(error) => return set_aside(id, Some(&record), &error.to_string()),
    };
    let restored = restored.map(|error| format!("{error}; it is restored from a checkpoint"));
    let damaged = damaged.map(|error| format!("{error}; the run goes on from its checkpoints"));
    let named: Vec<String> = restored.into_iter().chain(damaged).collect();
    for what in &named {
        warn!("run {id}: a damaged record is passed over: {what}");
    }
    let Some(outcome) = outcome else {
        let recovered = recover_unfinished(folder, &record, named);
        return recovered.unwrap_or_else(|end| aside(id, Some(&record), *end));
    };
    let (phase, state) = match outcome.state {
        OutcomeState::Finished => (Phase::Finished, RunState::Finished),
        OutcomeState::Failed => (Phase::Failed, RunState::Failed),
        OutcomeState::Cancelled => (Phase::Cancelled, RunState::Cancelled),
    };
    let run = Run {
        round: outcome.round,
        loss: outcome.loss,
        digest: outcome.digest,
        checkpoint: folder.checkpoints(id).ok().and_then(|rounds| rounds.last().copied()),
        ..remembered(&record, phase)
    };
    let event = ending::of_outcome(id, run.rounds, &outcome);
    let Outcome { at_ms, digest, reason, .. } = outcome;
    let ended = EndRow { run: id, at_ms, state, digest, reason, event: event.clone() };
    let (row, ended, end) = (Some(row(&record)), Some(ended), Some(event));
    Recovered { ended, end, ..Recovered::new(run, row) }
}

/// A run that waits for its turn, and of which this was passed over; or its last
/// event, where it is set aside.
fn recover_unfinished(
    folder: &RunsFolder,
    record: &SubmissionRecord,
    mut named: Vec<String>,
) -> Result<Recovered, Box<RunEvent>> {
    let stuck = |error: RecoverError| Box::new(cannot_go_on(record.run, &error.to_string()));
    let mut recovered = waiting(folder, record).map_err(stuck)?;
    let run = &mut recovered.run;
    let step = run.restart.as_ref().map_or(0, |restart| restart.step);
    match not_survived(folder, record, (step, run.round)) {
        Ok(None) => {}
        Ok(Some(end)) => return Err(Box::new(end)),
        Err(error) if error.is_damage() => {
            warn!("run {}: a damaged record is passed over: {error}", run.id);
            named.push(error.to_string());
        }
        Err(error) => return Err(stuck(error.into())),
    }
    let all = named.into_iter().chain(run.passed_over.take());
    run.passed_over = all.reduce(|all, one| format!("{all}; {one}"));
    Ok(recovered)
}

/// A run that cannot go on here and now.
fn set_aside(id: RunId, record: Option<&SubmissionRecord>, error: &str) -> Recovered {
    aside(id, record, cannot_go_on(id, error))
}

/// A run that is set aside: it keeps what is on disk, and clients are told why.
fn aside(id: RunId, record: Option<&SubmissionRecord>, end: RunEvent) -> Recovered {
    let reason = match &end {
        RunEvent::Failed { reason, .. } => reason.clone(),
        _ => String::new(),
    };
    error!("run {id}: {reason}");
    let mut run = match record {
        Some(record) => remembered(record, Phase::Failed),
        None => Run::new(id, Phase::Failed),
    };
    (run.unsaved, run.is_aside) = (Some(reason), true);
    Recovered { end: Some(end), ..Recovered::new(run, record.map(row)) }
}

/// What the history has of a run from its submission.
fn row(record: &SubmissionRecord) -> RunRow {
    let (spec, plan) = plan_of(record).unzip();
    RunRow {
        run: record.run,
        at_ms: record.at_ms,
        model: spec.map(|spec| spec.model).unwrap_or_default(),
        spec: record.spec.clone(),
        dataset: dataset_digest(&record.train, &record.test),
        rounds: plan.as_ref().map_or(0, RunPlan::rounds),
        steps: plan.as_ref().map_or(0, RunPlan::steps),
        forked_from: record.forked_from,
    }
}

/// The spec and the plan of a run, if this version can read them.
fn plan_of(record: &SubmissionRecord) -> Option<(RunSpec, RunPlan)> {
    let spec = RunSpec::from_toml(&record.spec).ok()?;
    let plan = RunPlan::new(&spec, record.train.size(), record.test.examples).ok()?;
    Some((spec, plan))
}

/// The last event of a run that is not over, but cannot go on here and now.
pub(super) fn cannot_go_on(run: RunId, error: &str) -> RunEvent {
    let reason = format!(
        "it cannot go on: {error}; once that is mended, start the coordinator again, or \
         `coordinator resume {run}`"
    );
    RunEvent::Failed { run, reason }
}

/// What is known of every run.
pub(super) fn remembered(record: &SubmissionRecord, phase: Phase) -> Run {
    let (spec, plan) = plan_of(record).unzip();
    Run {
        settings: record.settings.clone(),
        key: record.key,
        record: Some(record.clone()),
        model_name: spec.map(|spec| spec.model).unwrap_or_default(),
        rounds: plan.map_or(0, |plan| plan.rounds()),
        ..Run::new(record.run, phase)
    }
}

/// A run that waits for its turn, by its manifests: its state and its examples are
/// read when it comes.
fn waiting(folder: &RunsFolder, record: &SubmissionRecord) -> Result<Recovered, RecoverError> {
    record.check_numeric_profile()?;
    let spec = RunSpec::from_toml(&record.spec)?;
    RunPlan::new(&spec, record.train.size(), record.test.examples)?;
    for manifest in [&record.train, &record.test] {
        folder.check_chunks(manifest)?;
    }
    let mut run = remembered(record, Phase::Queued);
    let last = folder.last_checkpoint_record(record)?;
    let state_bytes = last.as_ref().map(|last| last.bytes);
    run.restart = Some(match last {
        Some(last) => {
            (run.round, run.loss) = (last.round, last.progress.loss);
            run.checkpoint = Some(last.round);
            let (step, workers, progress) = (last.step, last.workers, last.progress);
            Restart { step, workers, progress }
        }
        None => Restart { workers: run.min_workers(), ..Restart::default() },
    });
    Ok(Recovered { state_bytes, ..Recovered::new(run, Some(row(record))) })
}

impl Engine {
    /// Keeps runs from now on, and takes in those that were kept.
    pub(super) fn keep_runs(
        &mut self,
        config: RunsConfig,
        events: mpsc::Sender<Event>,
        history: History,
        recovered: Vec<Recovered>,
    ) -> std::io::Result<()> {
        // Whatever is in a run's folder, its number is taken.
        let numbers = config.folder.numbers().map_err(std::io::Error::other)?;
        self.last_run = numbers.last().map_or(0, |last| last.0);
        let recorder = Recorder::start(config.folder.clone(), history, events)?;
        self.durable = Some(Durable { config, recorder, failures: Seldom::default() });
        self.take_up(recovered);
        Ok(())
    }

    /// Takes in what the runs folder has.
    fn take_up(&mut self, recovered: Vec<Recovered>) {
        for recovered in recovered {
            let id = recovered.run.id;
            let is_queued = recovered.run.phase == Phase::Queued;
            self.runs.insert(id, recovered.run);
            if is_queued {
                self.queue_run(id);
            }
        }
    }
}
