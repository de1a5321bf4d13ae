//! Runs that their coordinator does not survive: a model that ends the process, or
//! takes all its memory, would do so again at every restart. Each start of a run is
//! counted on disk before it, and forgotten once a checkpoint is there, the run is
//! over, or the coordinator leaves in order.

use common::id::RunId;
use common::wire::message::RunEvent;
use tracing::warn;

use super::engine::{Engine, Event};
use crate::runs::{RunsError, RunsFolder, SubmissionRecord};

/// Starts from one checkpoint after which a run is set aside, if its coordinator was
/// there no more before the next one.
pub(super) const STARTS: u32 = 3;

/// A start that is counted, or cannot be.
#[derive(Debug)]
pub(super) struct Counted {
    run: RunId,
    unkept: Option<String>,
}

impl Engine {
    /// Whether a run may start now. If its start is to be counted first, it starts
    /// once that is on disk.
    pub(super) fn is_start_counted(&mut self, run: RunId) -> bool {
        let Some(of) = self.runs.get(&run) else { return true };
        let Some(durable) = self.durable.as_ref().filter(|_| !of.is_replay && !of.is_counted)
        else {
            return true;
        };
        let Some(record) = of.record.clone() else { return true };
        let step = of.restart.as_ref().map_or(0, |restart| restart.step);
        durable.recorder.enqueue(move |folder| {
            let unkept = folder.count_start(&record, step).err();
            Event::Counted(Counted { run, unkept: unkept.map(|error| error.to_string()) })
        });
        false
    }

    /// Starts a run whose start is counted, unless it has ended meanwhile.
    pub(super) fn on_counted(&mut self, counted: Counted) {
        let Counted { run, unkept } = counted;
        if let Some(error) = unkept {
            warn!("run {run} starts, and that is not on disk: {error}");
        }
        let Some(of) = self.runs.get_mut(&run).filter(|of| !of.phase.is_over()) else { return };
        of.is_counted = true;
        self.start_run(run);
    }

    /// Forgets the starts of a run that has gone on, or is left in order.
    pub(super) fn forget_starts(&mut self, run: RunId) {
        let Some(of) = self.runs.get_mut(&run).filter(|of| of.is_counted) else { return };
        let Some(durable) = &self.durable else { return };
        of.is_counted = false;
        durable.recorder.enqueue(move |folder| {
            if let Err(error) = folder.forget_starts(run) {
                warn!("that run {run} has gone on cannot be noted: {error}");
            }
            Event::Recorded
        });
    }
}

/// Why a run is set aside that its coordinators did not survive; nothing where it may
/// start at this step.
pub(super) fn not_survived(
    folder: &RunsFolder,
    record: &SubmissionRecord,
    (step, round): (u64, u64),
) -> Result<Option<RunEvent>, RunsError> {
    let starts = folder.starts(record, step)?;
    if starts < STARTS {
        return Ok(None);
    }
    let run = record.run;
    let reason = format!(
        "it is set aside: {starts} times it was begun after round {round}, and each time its \
         coordinator died before the next checkpoint; the coordinator's log, or the system's, says \
         of what; once that is mended, `coordinator resume {run}` tries it again"
    );
    Ok(Some(RunEvent::Failed { run, reason }))
}
