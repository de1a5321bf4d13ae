//! Workers that cannot work on the active run, for example because their build lacks its model.
//! They stay connected for other runs, get no work of this one, and do not count for it.

use std::time::Instant;

use common::id::{RunId, WorkerId};
use common::worker_event::WorkerEvent;

use super::injected_bugs::InjectedBug;
use super::reason::Detail;
use super::state::Scheduler;

impl Scheduler {
    /// Records that a worker cannot work on a run. Its assignments go to others.
    pub(super) fn worker_cannot(
        &mut self,
        now: Instant,
        worker: WorkerId,
        run: RunId,
        reason: String,
    ) {
        // An injected bug: the message is ignored.
        if self.has(InjectedBug::UnfitServed) {
            return;
        }
        let Some(active) = self.active.as_mut().filter(|active| active.run == run) else { return };
        let Some(member) = self.members.get_mut(&worker) else { return };
        if std::mem::replace(&mut member.unfit, true) {
            return;
        }
        if let Some(gather) = &mut active.rejoin {
            gather.answered(worker);
        }
        self.note(worker, WorkerEvent::Cannot, Detail::Text(reason));
        self.give_up_on(worker);
        self.end_rejoin_wait(now);
        self.hand_out(now);
    }

    /// Revokes all blocks of the current step that a worker has or keeps: they wait for other
    /// workers from now on.
    fn give_up_on(&mut self, worker: WorkerId) {
        let Some(step) = self.step_mut() else { return };
        let held = step.in_flight.take(worker, |_| true);
        step.audit.copies_ended(&held);
        let kept = step.completed.kept_by(worker);
        for block in &kept {
            step.completed.remove(*block);
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

    /// Whether the active run started with workers that cannot work on it, and now has fewer
    /// workers than it waits for. Assigned blocks continue; no further blocks of its first step
    /// are handed out.
    pub(super) fn is_short(&self) -> bool {
        let Some(active) = &self.active else { return false };
        let has_unfit = self.members.values().any(|member| member.unfit);
        has_unfit && self.fit() < active.min_workers as usize
    }
}
