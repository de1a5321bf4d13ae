//! Recovery of the runs folder when a coordinator starts: runs that have ended stay visible, and
//! unfinished runs continue.

use common::id::RunId;
use common::limits;
use common::plan::RunPlan;
use common::run_state::RunState;
use common::spec::RunSpec;
use common::wire::message::RunEvent;
use tracing::{error, warn};

use super::backfill::backfill;
use super::history_queue::HistoryQueue;
use super::recovered::{Known, RecoverError, Recovered, cannot_continue};
use super::starts::not_survived;
use crate::ledger::{EndRow, RunRow};
use crate::runs::{Outcome, RunsFolder, SubmissionRecord};
use crate::server::run_table::{NewRun, Restart, of_outcome};

/// All remembered runs of a folder, in order, and their history. A damaged run does not keep others
/// from continuing. The history is bounded to about `history_bytes`.
pub(in crate::server) fn recover(
    folder: &RunsFolder,
    history_bytes: u64,
) -> (Vec<Recovered>, HistoryQueue) {
    if let Err(error) = folder.clean() {
        warn!("the runs folder cannot be cleaned up: {error}");
    }
    let runs = folder.runs().unwrap_or_else(|error| {
        error!("no run is recovered: {error}");
        Vec::new()
    });
    let old = runs.len().saturating_sub(limits::RUNS);
    let runs = runs[old..].iter().map(|run| recover_run(folder, *run));
    let mut runs: Vec<Recovered> = runs.collect();
    let history = backfill(folder, history_bytes, &mut runs);
    (runs, history)
}

fn recover_run(folder: &RunsFolder, id: RunId) -> Recovered {
    let (record, restored) = match folder.restore_submission(id) {
        Ok(known) => known,
        Err(error) => return set_aside(id, None, &error.to_string()),
    };
    let (outcome, damaged) = match folder.outcome(&record) {
        Ok(outcome) => (outcome, None),
        // The run repeats its last steps, with the same result.
        Err(error) if error.is_damage() => (None, Some(error)),
        Err(error) => return set_aside(id, Some(&record), &error.to_string()),
    };
    let restored = restored.map(|error| format!("{error}; it is restored from a checkpoint"));
    let damaged = damaged.map(|error| format!("{error}; the run continues from its checkpoints"));
    let named: Vec<String> = restored.into_iter().chain(damaged).collect();
    for what in &named {
        warn!("run {id}: a damaged record is skipped: {what}");
    }
    let Some(outcome) = outcome else {
        let recovered = recover_unfinished(folder, &record, named);
        return recovered.unwrap_or_else(|end| aside(id, Some(&record), *end));
    };
    let known = Known::new(&record);
    let run = NewRun {
        round: outcome.round,
        loss: outcome.loss,
        digest: outcome.digest,
        checkpoint: folder.checkpoints(id).ok().and_then(|rounds| rounds.last().copied()),
        ..known.run(outcome.state.into())
    };
    let event = of_outcome(id, run.rounds, &outcome);
    let Outcome { at_ms, digest, reason, state, .. } = outcome;
    let ended = EndRow { run: id, at_ms, state, digest, reason, event: event.clone() };
    let (row, ended, end) = (Some(known.row()), Some(ended), Some(event));
    Recovered { ended, end, ..Recovered::new(run, row) }
}

/// A run that is queued again, and the damaged files that were skipped for it; or its last event,
/// if it is set aside.
fn recover_unfinished(
    folder: &RunsFolder,
    record: &SubmissionRecord,
    mut named: Vec<String>,
) -> Result<Recovered, Box<RunEvent>> {
    let stuck = |error: RecoverError| Box::new(cannot_continue(record.run, &error.to_string()));
    let (mut run, state_bytes, row) = waiting(folder, record).map_err(stuck)?;
    let step = run.restart.as_ref().map_or(0, |restart| restart.step);
    match not_survived(folder, record, (step, run.round)) {
        Ok(None) => {}
        Ok(Some(end)) => return Err(Box::new(end)),
        Err(error) if error.is_damage() => {
            warn!("run {}: a damaged record is skipped: {error}", run.id);
            named.push(error.to_string());
        }
        Err(error) => return Err(stuck(error.into())),
    }
    named.extend(run.passed_over.take());
    run.pass_over(named);
    Ok(Recovered { state_bytes, ..Recovered::new(run, Some(row)) })
}

/// A run that cannot continue now.
fn set_aside(id: RunId, record: Option<&SubmissionRecord>, error: &str) -> Recovered {
    aside(id, record, cannot_continue(id, error))
}

/// A run that is set aside: its files are kept, and clients are told the reason.
fn aside(id: RunId, record: Option<&SubmissionRecord>, end: RunEvent) -> Recovered {
    let reason = match &end {
        RunEvent::Failed { reason, .. } => reason.clone(),
        _ => String::new(),
    };
    error!("run {id}: {reason}");
    let known = record.map(Known::new);
    let run = match &known {
        Some(known) => known.run(RunState::SetAside),
        None => NewRun { phase: RunState::SetAside, ..NewRun::queued(id) },
    };
    let run = NewRun { unsaved: Some(reason), ..run };
    Recovered { end: Some(end), ..Recovered::new(run, known.map(|known| known.row())) }
}

/// A queued run, known by its manifests, the bytes of the state from which it continues, and its
/// row: state and examples are read when its turn comes.
fn waiting(
    folder: &RunsFolder,
    record: &SubmissionRecord,
) -> Result<(NewRun, Option<u64>, RunRow), RecoverError> {
    record.check_numeric_profile()?;
    let spec = RunSpec::from_toml(&record.spec)?;
    let plan = RunPlan::new(&spec, record.train.size(), record.test.examples)?;
    let known = Known { record, spec: Some(spec), plan: Some(plan) };
    for manifest in [&record.train, &record.test] {
        folder.check_chunks(manifest)?;
    }
    let mut run = known.run(RunState::Queued);
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
    Ok((run, state_bytes, known.row()))
}
