//! The turn of a run that is in the runs folder. What was found there as the coordinator
//! started is known by its manifests alone, so that a long queue costs no memory: state
//! and examples are read when the run's turn comes, each chunk once, under the bound of
//! `data_memory`.

use common::id::RunId;
use tracing::{error, info};

use super::Engine;
use super::loading::Purpose;
use crate::scheduler;
use crate::server::intake::StoreFull;
use crate::server::persistence::cannot_go_on;
use crate::server::run_table::NewRun;

/// Runs for which there was no room when their turn came.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    runs: Vec<RunId>,
    /// Bytes of the store that were taken then.
    taken: u64,
}

impl Engine {
    /// Has a queued run read; it starts once that is done. What is read for it counts
    /// for nothing once its turn is over.
    pub(super) fn load(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let Some(record) = run.submission_record().cloned() else { return };
        self.incarnation = self.incarnation.next();
        run.begin_loading(self.incarnation);
        self.draft(Purpose::Turn(self.incarnation), record);
    }

    /// Starts a run that was read.
    pub(super) fn on_loaded(&mut self, id: RunId, read: NewRun) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.load(read);
        self.start_run(id);
    }

    /// Lets others go before a run for which there is no room now: those that hold it
    /// may wait behind this run, or be on their way here.
    pub(super) fn put_off(&mut self, id: RunId, cause: &StoreFull) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stop_loading();
        info!("run {id} lets others go first, until there is room for it: {cause}");
        self.put_off.runs.push(id);
        self.put_off.taken = self.intake.store().bytes();
        self.forget_starts(id);
        self.pending.push_back(scheduler::Event::RunEnded { run: id });
    }

    /// Has runs that were put off wait for their turn again, once there is more room.
    pub(super) fn queue_put_off(&mut self) {
        if !self.put_off.runs.is_empty() && self.intake.store().bytes() < self.put_off.taken {
            self.queue_all_put_off();
        }
    }

    /// The same, whatever room there is.
    pub(super) fn queue_all_put_off(&mut self) {
        for run in std::mem::take(&mut self.put_off.runs) {
            self.queue_run(run);
        }
    }

    /// Sets aside a run that cannot be read now: nothing on disk says that it is
    /// over, so that it goes on once that is mended.
    pub(super) fn cannot_start(&mut self, id: RunId, reason: String) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.phase().is_over()) else { return };
        error!("run {id} cannot go on: {reason}");
        let event = cannot_go_on(id, &reason);
        run.set_aside(reason);
        self.publish(id, event);
        self.pending.push_back(scheduler::Event::RunEnded { run: id });
        self.publish_queued();
    }
}
