//! A run that is restored after a restart: before its first step is handed out, workers get time
//! to reconnect and report the blocks that they have finished, so that these are not computed
//! twice.

use std::time::Instant;

use common::id::{RunId, WorkerId};

use super::state::Scheduler;

impl Scheduler {
    /// A worker has opened the run, and offered its kept blocks.
    pub(super) fn run_opened(&mut self, now: Instant, worker: WorkerId, run: RunId) {
        if !self.members.contains_key(&worker) {
            return;
        }
        if let Some(active) = self.active.as_mut().filter(|active| active.run == run)
            && let Some(gather) = &mut active.rejoin
        {
            gather.answered(worker);
        }
        self.end_rejoin_wait(now);
    }

    /// The step of the gathered partials is ready.
    pub(super) fn begin_rejoin_wait(&mut self, now: Instant) {
        if let Some(gather) = self.active.as_mut().and_then(|active| active.rejoin.as_mut()) {
            gather.until.get_or_insert(now + gather.what.wait);
        }
    }

    /// Hands out the step if all workers are back, or the wait is over.
    pub(super) fn end_rejoin_wait(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        if active.rejoin.take_if(|gather| gather.is_over(now)).is_some() {
            self.hand_out(now);
        }
    }

    pub(super) fn rejoin_deadline(&self) -> Option<Instant> {
        self.active.as_ref()?.rejoin.as_ref()?.until
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.rejoin.is_some())
    }
}
