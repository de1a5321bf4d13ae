//! Which run is active: one at a time, first come, first served.

use common::id::{RunId, StepId};
use common::limits::RUNS;

use super::gather::{Gather, Gathering};
use super::step::Step;
use super::{Action, Scheduler};

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

impl Scheduler {
    pub(super) fn run_submitted(&mut self, queued: Queued) {
        let run = queued.run;
        let is_known = self.queue.iter().any(|queued| queued.run == run)
            || self.active.as_ref().is_some_and(|active| active.run == run);
        if is_known {
            return;
        }
        if self.queue.len() >= RUNS {
            let reason = format!("run {run}: {RUNS} runs wait already; submit it again later");
            self.actions.push_back(Action::FailRun { run, reason, shard: None });
            return;
        }
        self.queue.push_back(queued);
        self.start_next();
    }

    pub(super) fn run_cancelled(&mut self, run: RunId) {
        if self.active.as_ref().is_some_and(|active| active.run == run) {
            self.drop_active();
        } else {
            let before = self.queue.len();
            self.queue.retain(|queued| queued.run != run);
            if self.queue.len() == before {
                return;
            }
        }
        self.actions.push_back(Action::RunCancelled { run });
        self.start_next();
    }

    pub(super) fn run_ended(&mut self, run: RunId) {
        if self.active.as_ref().is_some_and(|active| active.run == run) {
            self.drop_active();
            self.start_next();
        }
    }

    /// Gives the active run up.
    pub(super) fn fail_run(&mut self, reason: String, shard: Option<(StepId, u32)>) {
        let Some(run) = self.active.as_ref().map(|active| active.run) else { return };
        self.drop_active();
        self.actions.push_back(Action::FailRun { run, reason, shard });
        self.start_next();
    }

    /// Whether enough workers are there for the run at the head of the queue.
    pub(super) fn next_may_start(&self) -> bool {
        let workers = self.members.values().filter(|member| !member.draining).count();
        let enough = |queued: &Queued| workers >= queued.min_workers.max(1) as usize;
        self.active.is_none() && self.queue.front().is_some_and(enough)
    }

    /// Makes the head of the queue the active run, if none is active and
    /// enough workers are there.
    pub(super) fn start_next(&mut self) {
        if !self.next_may_start() {
            return;
        }
        if let Some(Queued { run, min_workers, gathering }) = self.queue.pop_front() {
            let gather = gathering.map(Gather::new);
            self.active = Some(Active { run, step: None, last: None, gather, min_workers });
            self.actions.push_back(Action::StartRun { run });
        }
    }

    /// Revokes all that is in workers' hands and forgets the run.
    fn drop_active(&mut self) {
        self.revoke_all();
        self.active = None;
        self.members.values_mut().for_each(|member| member.unfit = false);
    }

    /// The step under way.
    pub(super) fn step(&self) -> Option<&Step> {
        self.active.as_ref()?.step.as_ref()
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut Step> {
        self.active.as_mut()?.step.as_mut()
    }
}
