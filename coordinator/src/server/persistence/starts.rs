//! Runs that their coordinator does not survive: a model that ends the process, or takes
//! all its memory, would do so again at every restart. Each start of a run is counted on
//! disk before it, and forgotten once a checkpoint is there, the run is over, or the
//! coordinator stops in order.

use common::wire::message::RunEvent;

use crate::runs::{RunsError, RunsFolder, SubmissionRecord};

/// Starts from one checkpoint after which a run is set aside, if its coordinator was
/// there no more before the next one.
pub(in crate::server) const STARTS: u32 = 3;

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
