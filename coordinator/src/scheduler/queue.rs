//! The queue of runs: one run is active at a time, in the order of submission, except that runs
//! which wait for more workers than there are let others go first.

use common::id::RunId;
use common::limits::RUNS;

use super::active::{Active, Queued, Rejoin};
use super::event::Action;
use super::reason::RunFailure;
use super::state::Scheduler;
use super::step::Step;

impl Scheduler {
    pub(super) fn run_submitted(&mut self, queued: Queued) {
        let run = queued.run;
        let is_known = self.queue.iter().any(|queued| queued.run == run)
            || self.active.as_ref().is_some_and(|active| active.run == run);
        if is_known {
            return;
        }
        if self.queue.len() >= RUNS {
            let reason = RunFailure::QueueFull { run, limit: RUNS };
            self.actions.push_back(Action::FailRun { run, reason });
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

    /// Ends the active run.
    pub(super) fn fail_run(&mut self, reason: RunFailure) {
        let Some(run) = self.active.as_ref().map(|active| active.run) else { return };
        self.drop_active();
        self.actions.push_back(Action::FailRun { run, reason });
        self.start_next();
    }

    /// The place of the first run that has enough workers, if none is active.
    pub(super) fn next_run(&self) -> Option<usize> {
        let workers = self.members.values().filter(|member| !member.draining).count();
        let enough = |queued: &Queued| workers >= queued.min_workers.max(1) as usize;
        if self.active.is_some() { None } else { self.queue.iter().position(enough) }
    }

    /// Makes the first run that may start the active one.
    pub(super) fn start_next(&mut self) {
        let next = self.next_run().and_then(|place| self.queue.remove(place));
        if let Some(Queued { run, min_workers, rejoin_wait }) = next {
            let rejoin = rejoin_wait.map(Rejoin::new);
            self.active = Some(Active { run, step: None, last: None, rejoin, min_workers });
            self.actions.push_back(Action::StartRun { run });
        }
    }

    /// Revokes all assignments and removes the run.
    fn drop_active(&mut self) {
        self.revoke_all();
        self.active = None;
        self.members.values_mut().for_each(|member| member.unfit = false);
    }

    /// The current step.
    pub(super) fn step(&self) -> Option<&Step> {
        self.active.as_ref()?.step.as_ref()
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut Step> {
        self.active.as_mut()?.step.as_mut()
    }
}
