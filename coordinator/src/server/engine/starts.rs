//! The starts of a run are counted on disk before the run starts, as its coordinator may not
//! survive it, and so is the memory of the coordinator.

use common::id::RunId;
use tracing::warn;

use super::{Engine, Written};

/// A start that is counted, or could not be.
#[derive(Debug)]
pub(super) struct Counted {
    run: RunId,
    unkept: Option<String>,
}

impl Engine {
    /// Whether a run may start now. If its start must be counted first, it starts once the count is
    /// on disk.
    pub(super) fn is_start_counted(&mut self, run: RunId) -> bool {
        let Some(of) = self.runs.get(run) else { return true };
        let must_count = !of.is_replay() && !of.is_counted();
        let Some(journal) = self.journal.as_ref().filter(|_| must_count) else { return true };
        let Some(record) = of.submission_record().cloned() else { return true };
        let step = of.restart().map_or(0, |restart| restart.step);
        journal.note_memory(run);
        journal.enqueue(move |folder| {
            let unkept = folder.count_start(&record, step).err();
            Written::Counted(Counted { run, unkept: unkept.map(|error| error.to_string()) })
        });
        false
    }

    /// Starts a run whose start is counted, unless the run has ended in the meantime.
    pub(super) fn on_counted(&mut self, counted: Counted) {
        let Counted { run, unkept } = counted;
        if let Some(error) = unkept {
            warn!("run {run} starts, but its start cannot be recorded on disk: {error}");
        }
        let Some(of) = self.runs.get_mut(run).filter(|of| !of.phase().is_over()) else { return };
        of.set_counted(true);
        self.start_run(run);
    }

    /// Forgets the counted starts of a run that has made progress, or that this coordinator leaves
    /// in order.
    pub(super) fn forget_starts(&mut self, run: RunId) {
        let Some(of) = self.runs.get_mut(run).filter(|of| of.is_counted()) else { return };
        let Some(journal) = &self.journal else { return };
        of.set_counted(false);
        journal.forget_starts(run);
    }
}
