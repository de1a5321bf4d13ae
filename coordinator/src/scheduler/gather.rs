//! A run that goes on after its coordinator was gone: before its first step is
//! handed out, workers get the time to come back and say what they have
//! finished of it, so that nothing is computed twice.

use std::time::Instant;

use common::id::{RunId, WorkerId};

use super::state::Scheduler;

impl Scheduler {
    /// A worker has opened the run, and offered what it kept of it.
    pub(super) fn run_opened(&mut self, now: Instant, worker: WorkerId, run: RunId) {
        if !self.members.contains_key(&worker) {
            return;
        }
        if let Some(active) = self.active.as_mut().filter(|active| active.run == run)
            && let Some(gather) = &mut active.gather
        {
            gather.answered(worker);
        }
        self.end_gathering(now);
    }

    /// The step is there that the gathered partials are of.
    pub(super) fn begin_gathering(&mut self, now: Instant) {
        if let Some(gather) = self.active.as_mut().and_then(|active| active.gather.as_mut()) {
            gather.until.get_or_insert(now + gather.what.wait);
        }
    }

    /// Hands the step out if all have come back, or it is time.
    pub(super) fn end_gathering(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        if active.gather.take_if(|gather| gather.is_over(now)).is_some() {
            self.hand_out(now);
        }
    }

    pub(super) fn gathering_deadline(&self) -> Option<Instant> {
        self.active.as_ref()?.gather.as_ref()?.until
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.gather.is_some())
    }
}
