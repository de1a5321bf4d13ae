//! The active run, and the queued runs.

use std::collections::BTreeSet;
use std::time::Instant;

use common::id::{RunId, StepId, WorkerId};

use super::event::RejoinWait;
use super::step::Step;

/// A queued run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) run: RunId,
    /// Number of workers that it waits for.
    pub(super) min_workers: u32,
    /// The wait before its first step.
    pub(super) rejoin_wait: Option<RejoinWait>,
}

/// The active run.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) run: RunId,
    /// The current step; `None` while the driver prepares one.
    pub(super) step: Option<Step>,
    /// The last step, current or merged.
    pub(super) last: Option<StepId>,
    /// Set while workers report which blocks of the first step they kept.
    pub(super) rejoin: Option<Rejoin>,
    /// Number of workers that its first step waits for, even if some connected workers turn out
    /// to be unable to work on it; 0 from the second step on.
    pub(super) min_workers: u32,
}

/// The wait for kept blocks of a restored run.
#[derive(Debug)]
pub(super) struct Rejoin {
    pub(super) what: RejoinWait,
    /// Set when the step is ready.
    pub(super) until: Option<Instant>,
    /// Workers that have reported all their kept blocks.
    opened: BTreeSet<WorkerId>,
}

impl Rejoin {
    pub(super) fn new(what: RejoinWait) -> Self {
        Self { what, until: None, opened: BTreeSet::new() }
    }

    /// A worker has reported all its kept blocks.
    pub(super) fn answered(&mut self, worker: WorkerId) {
        self.opened.insert(worker);
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let all = self.opened.len() >= self.what.workers as usize;
        self.until.is_some_and(|until| all || until <= now)
    }
}
