//! The turn of a run that is in the runs folder. Runs found at the start are known by their
//! manifests alone, so a long queue costs no memory. State and examples are read when the run's
//! turn comes, each chunk once, within the bound `data_memory`.

use common::id::RunId;
use tracing::{error, info};

use super::Engine;
use super::loading::Purpose;
use crate::scheduler;
use crate::server::intake::StoreFull;
use crate::server::persistence::cannot_continue;
use crate::server::run_table::NewRun;

/// Runs for which there was not enough memory when their turn came.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    runs: Vec<RunId>,
    /// Bytes of the store that were in use then.
    taken: u64,
}

impl Engine {
    /// Starts loading a queued run; it starts once it is loaded. The result is dropped if its turn
    /// has ended by then.
    pub(super) fn load(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let Some(record) = run.submission_record().cloned() else { return };
        self.incarnation = self.incarnation.next();
        run.begin_loading(self.incarnation);
        self.draft(Purpose::Turn(self.incarnation), record);
    }

    /// Starts a run that was loaded.
    pub(super) fn on_loaded(&mut self, id: RunId, read: NewRun) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.load(read);
        self.start_run(id);
    }

    /// Puts off a run for which there is not enough memory now: the runs that use the memory may
    /// wait behind this one, or be loading themselves.
    pub(super) fn put_off(&mut self, id: RunId, cause: &StoreFull) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stop_loading();
        info!("run {id} is put off until there is memory for it: {cause}");
        self.put_off.runs.push(id);
        self.put_off.taken = self.intake.store().bytes();
        self.forget_starts(id);
        self.pending.push_back(scheduler::Event::RunEnded { run: id });
    }

    /// Returns runs that were put off to the queue, once more memory is free.
    pub(super) fn queue_put_off(&mut self) {
        if !self.put_off.runs.is_empty() && self.intake.store().bytes() < self.put_off.taken {
            self.queue_all_put_off();
        }
    }

    /// The same, whatever memory is free.
    pub(super) fn queue_all_put_off(&mut self) {
        for run in std::mem::take(&mut self.put_off.runs) {
            self.queue_run(run);
        }
    }

    /// Sets aside a run that cannot be read now: nothing on disk says that it is over, so it
    /// continues once the cause is repaired.
    pub(super) fn cannot_start(&mut self, id: RunId, reason: String) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.phase().is_over()) else { return };
        error!("run {id} cannot continue: {reason}");
        let event = cannot_continue(id, &reason);
        run.set_aside(reason);
        self.publish(id, event);
        self.pending.push_back(scheduler::Event::RunEnded { run: id });
        self.publish_queued();
    }
}
