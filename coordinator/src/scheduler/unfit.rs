//! Workers that cannot work on the active run: their build lacks what it
//! needs. They stay for other runs, get nothing of this one, and count for
//! nothing in it.

use std::time::Instant;

use common::id::{RunId, WorkerId};

use super::event::WorkerNote;
use super::planted::Plant;
use super::state::Scheduler;

impl Scheduler {
    /// A worker cannot work on a run. What it was given of it goes to others.
    pub(super) fn worker_cannot(
        &mut self,
        now: Instant,
        worker: WorkerId,
        run: RunId,
        reason: String,
    ) {
        // A planted bug: it is not believed.
        if self.has(Plant::UnfitServed) {
            return;
        }
        let Some(active) = self.active.as_mut().filter(|active| active.run == run) else { return };
        let Some(member) = self.members.get_mut(&worker) else { return };
        if std::mem::replace(&mut member.unfit, true) {
            return;
        }
        if let Some(gather) = &mut active.gather {
            gather.answered(worker);
        }
        self.note(worker, WorkerNote::Cannot, reason);
        self.give_up_on(worker);
        self.end_gathering(now);
        self.hand_out(now);
    }

    /// Takes all back that a worker has, or keeps, of the step under way: it
    /// waits for others from now on.
    fn give_up_on(&mut self, worker: WorkerId) {
        let Some(step) = self.step_mut() else { return };
        let held = step.hands.take(worker, |_| true);
        step.audit.copies_ended(&held);
        let kept = step.cover.kept_by(worker);
        for block in &kept {
            step.cover.remove(*block);
        }
        for block in held.into_iter().map(|it| it.block).chain(kept) {
            step.release(block);
        }
        self.pause_if_broken();
    }

    /// Workers that count for the active run.
    fn fit(&self) -> usize {
        self.members.values().filter(|member| !member.draining && !member.unfit).count()
    }

    /// Whether the active run began with workers that cannot work on it, and
    /// now lacks some of those that it was to wait for. What is in hands goes
    /// on; nothing more is handed out of its first step.
    pub(super) fn is_short(&self) -> bool {
        let Some(active) = &self.active else { return false };
        let has_unfit = self.members.values().any(|member| member.unfit);
        has_unfit && self.fit() < active.min_workers as usize
    }
}
