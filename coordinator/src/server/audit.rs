//! Two answers of a shard, compared, and how many were.

use common::id::{RunId, StepId};
use tracing::warn;

use super::engine::Engine;
use super::history::shards;
use super::shards::Difference;
use crate::ledger::EventKind;

impl Engine {
    /// Takes in that two processes have answered a shard, with the same bits.
    pub(super) fn on_audited(&mut self, step: StepId) {
        if let Some(active) = self.active.as_mut().filter(|active| active.step_id() == step) {
            active.audited += 1;
        }
    }

    /// Takes in that a shard was to be audited, and was not. Said when it
    /// happens for the first time, and counted at the run's end.
    pub(super) fn on_unaudited(&mut self, step: StepId, replica: u32, reason: &str) {
        let Some(active) = self.active.as_mut().filter(|active| active.step_id() == step) else {
            return;
        };
        if active.unaudited == 0 {
            warn!(
                "replica {replica} of {step} is not audited: {reason}; the run goes on, and \
                 `coordinator explain` says at its end how many were not"
            );
        }
        active.unaudited += 1;
    }

    /// Records how many shards of an ending run were audited.
    pub(super) fn record_audits(&self, run: RunId) {
        let Some(active) = self.active.as_ref().filter(|active| active.run == run) else { return };
        for (kind, count, what) in [
            (EventKind::Audited, active.audited, "had the same bits on two workers"),
            (EventKind::Unaudited, active.unaudited, "could not be given to a second worker"),
        ] {
            if count > 0 {
                self.record_event(run, kind, None, format!("{} {what}", shards(count)));
            }
        }
    }

    /// Fails the run of a shard that gave two workers different bits.
    pub(super) fn on_difference(&mut self, step: StepId, difference: &Difference, second: &str) {
        let Difference { replica, first, second: digest } = difference;
        let what = format!(
            "replica {replica} of {step} gave {} on worker {}, but {digest} on worker {second}",
            first.done.digest, first.worker
        );
        self.record_event(step.run, EventKind::Audit, Some(second.to_owned()), what.clone());
        let reason = format!(
            "{what}: the outcome of a shard must be the same everywhere; look for a faulty \
             machine, for two builds, or for a model that reads a clock, a thread count or the \
             environment"
        );
        self.give_up(&(reason + &self.replay_hint((step, *replica))));
    }
}
