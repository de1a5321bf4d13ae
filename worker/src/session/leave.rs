//! Leaving in order: take no more work, finish running shards, deliver partials, and exit.

use std::time::Instant;

use common::id::AssignmentId;

use super::{Action, Session};

/// A session that is leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Shards are running, or partials are waiting to be merged; the worker leaves at this time at
    /// the latest. Other workers then repeat the blocks, which costs only time.
    Draining(Instant),
    /// The last action was emitted.
    Over,
}

impl Session {
    pub(super) fn drain(&mut self, now: Instant) {
        if self.leaving.is_some() || !self.link.is_open() {
            self.leave();
            return;
        }
        self.leaving = Some(Leaving::Draining(now + self.config.drain_timeout));
        self.actions.push_back(Action::SayDraining);
        let idle = self.works.iter().filter(|(_, work)| !work.is_begun());
        let idle: Vec<AssignmentId> = idle.map(|(id, _)| *id).collect();
        for assignment in idle {
            self.hand_back(assignment);
        }
    }

    /// The coordinator refuses this worker.
    pub(super) fn give_up(&mut self) {
        self.leaving = Some(Leaving::Over);
        self.actions.push_back(Action::GiveUp);
    }

    /// Leaves, if nothing is left to do or the time is over.
    pub(super) fn leave_when_done(&mut self, now: Instant) {
        let Some(Leaving::Draining(until)) = self.leaving else { return };
        if until <= now || (self.works.is_empty() && self.kept.is_empty()) {
            self.leave();
        }
    }

    pub(super) fn leave_deadline(&self) -> Option<Instant> {
        match self.leaving {
            Some(Leaving::Draining(until)) => Some(until),
            _ => None,
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.leaving == Some(Leaving::Over)
    }

    pub(super) fn leave(&mut self) {
        self.leaving = Some(Leaving::Over);
        self.actions.push_back(Action::Leave);
    }
}
