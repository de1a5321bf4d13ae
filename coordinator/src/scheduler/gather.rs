//! A run that goes on after its coordinator was gone: before its first step is
//! handed out, workers get the time to come back and say what they have
//! finished of it, so that nothing is computed twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::id::{RunId, WorkerId};

use super::Scheduler;

/// What a run waits for before its first step is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Workers that it had: when as many have said what they kept, it goes on.
    pub workers: u32,
    /// Longest wait for them, from when the step is ready.
    pub wait: Duration,
}

/// A run that gathers.
#[derive(Debug)]
pub(super) struct Gather {
    what: Gathering,
    /// Set when the step is ready.
    until: Option<Instant>,
    /// Workers that have said all.
    opened: BTreeSet<WorkerId>,
}

impl Gather {
    pub(super) fn new(what: Gathering) -> Self {
        Self { what, until: None, opened: BTreeSet::new() }
    }

    /// A worker has said all that there is to say.
    pub(super) fn answered(&mut self, worker: WorkerId) {
        self.opened.insert(worker);
    }

    fn is_over(&self, now: Instant) -> bool {
        let all = self.opened.len() >= self.what.workers as usize;
        self.until.is_some_and(|until| all || until <= now)
    }
}

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
