//! Protection against runs that kill their coordinator: a model that ends the process, or uses all
//! its memory, would do so again after every restart. Each start of a run is counted on disk
//! beforehand, and forgotten when a checkpoint is written, the run ends, or the coordinator stops
//! in order.

use common::wire::message::RunEvent;

use super::predecessor::Predecessor;
use crate::runs::{RunsError, RunsFolder, SubmissionRecord};

/// Starts from one checkpoint after which a run is set aside, if its coordinator died after each of
/// them.
pub(in crate::server) const STARTS: u32 = 3;

/// The reason why a run that killed its coordinators is set aside; `None` if it may start at this
/// step.
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
    let last = Predecessor::of(folder);
    let last = last.as_ref().and_then(|last| last.memory(run));
    let last = last.map(|memory| format!("; the last time {memory}")).unwrap_or_default();
    let reason = format!(
        "it is set aside: it was started {starts} times after round {round}, and each time its \
         coordinator died before the next checkpoint{last}; look for the cause in the log of the \
         coordinator or of the system, repair it, then `coordinator resume {run}`"
    );
    Ok(Some(RunEvent::Failed { run, reason }))
}
