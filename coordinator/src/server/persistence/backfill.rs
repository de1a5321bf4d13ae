//! Completes the history when a coordinator starts: missing runs of the folder are added to the
//! history, and recovered runs get their events from it.

use std::time::Instant;

use common::wire::message::RunEvent;
use tracing::warn;

use super::history_queue::HistoryQueue;
use super::recovered::Recovered;
use crate::ledger::{LedgerError, LedgerReader, Record};
use crate::runs::RunsFolder;
use crate::server::run_table::RUNS_WITH_EVENTS;

/// Opens the history of the folder's runs, bounded to this many bytes, and completes it from the
/// folder. Gives runs the events that were published before.
pub(super) fn backfill(folder: &RunsFolder, bytes: u64, runs: &mut [Recovered]) -> HistoryQueue {
    let mut history = HistoryQueue::open(folder, bytes);
    let known = LedgerReader::open(folder.path());
    let records = runs.iter().flat_map(|run| of_run(run, known.as_ref().ok()));
    history.write(records, Instant::now());
    let told = known.and_then(|known| tell(&known, &history, runs));
    if let Err(error) = told {
        warn!("followers of runs do not get earlier events: {error}");
    }
    for Recovered { run, end, .. } in runs {
        if let Some(end) = end.take() {
            run.record(end);
        }
    }
    history
}

/// The missing record of a run: that the run continues, and from where; or how it ended, if the
/// history lacks that.
fn of_run(recovered: &Recovered, known: Option<&LedgerReader>) -> Vec<Record> {
    let Recovered { run, row, ended, .. } = recovered;
    let Some(row) = row.clone().map(Record::Run) else { return Vec::new() };
    if let Some(ended) = ended {
        let is_known = |known: &LedgerReader| known.has_end(run.id(), ended.state).unwrap_or(true);
        return match known {
            Some(known) if !is_known(known) => vec![row, Record::Ended(ended.clone())],
            _ => Vec::new(),
        };
    }
    if run.phase().is_over() {
        // The run cannot continue, and keeps its records.
        return vec![row];
    }
    let step = run.restart().map_or(0, |restart| restart.step);
    vec![row, Record::Rewind { run: run.id(), step }]
}

/// Gives runs the events that were published before, except the last one: the history may lack
/// that, or be lost.
fn tell(
    known: &LedgerReader,
    history: &HistoryQueue,
    runs: &mut [Recovered],
) -> Result<(), LedgerError> {
    for (age, Recovered { run, state_bytes, .. }) in runs.iter_mut().rev().enumerate() {
        let is_over = run.phase().is_over();
        if is_over && age >= RUNS_WITH_EVENTS {
            continue;
        }
        // Later events than the step from which the run continues are not removed yet.
        if !is_over && history.is_failing() {
            continue;
        }
        let events = known.run_events(run.id())?;
        if let (Some(state_bytes), false) = (*state_bytes, events.is_empty()) {
            let (id, model, rounds) = (run.id(), run.model_name().to_owned(), run.rounds());
            run.record(RunEvent::Started { run: id, model, rounds, state_bytes, workers: 0 });
            run.set_told_of();
        }
        let events = events.into_iter().filter(|event| !event.is_last());
        events.for_each(|event| drop(run.record(event)));
    }
    Ok(())
}
