//! The run that is worked on, and those that wait.

use std::collections::BTreeSet;
use std::time::Instant;

use common::id::{RunId, StepId, WorkerId};

use super::event::Gathering;
use super::step::Step;

/// A run that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) run: RunId,
    /// Workers that it waits for.
    pub(super) min_workers: u32,
    /// What its first step waits for.
    pub(super) gathering: Option<Gathering>,
}

/// The run that is worked on.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) run: RunId,
    /// The step under way; none while the driver prepares one.
    pub(super) step: Option<Step>,
    /// The last step, under way or merged.
    pub(super) last: Option<StepId>,
    /// While workers say what they kept of its first step.
    pub(super) gather: Option<Gather>,
    /// Workers that its first step waits for, also where some of those that
    /// were there turn out not to be fit for it; 0 from the second step on.
    pub(super) min_workers: u32,
}

/// A run that gathers.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) what: Gathering,
    /// Set when the step is ready.
    pub(super) until: Option<Instant>,
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

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let all = self.opened.len() >= self.what.workers as usize;
        self.until.is_some_and(|until| all || until <= now)
    }
}
