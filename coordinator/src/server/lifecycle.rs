//! The life of a run: it starts, ends, and is forgotten.

use common::id::{RunId, WorkerId};
use common::limits;
use common::wire::codec::encode;
use common::wire::message::{RunEvent, ToWorker};
use tracing::{info, warn};

use super::active::ActiveRun;
use super::engine::Engine;
use super::run::{Ending, Phase, Provenance, Restart, Run};
use crate::ledger::EventKind;
use crate::scheduler;

/// Final states of ended runs that are kept to be fetched.
const KEPT_STATES: usize = 8;

/// Bytes of kept final states together; the last one is kept whatever its
/// size.
const KEPT_STATE_BYTES: u64 = 1 << 30;

/// Ended runs whose events are all kept; of those that ended before, only the
/// last few.
pub(super) const RUNS_WITH_EVENTS: usize = 16;

impl Engine {
    /// Makes a queued run the active one.
    pub(super) fn start_run(&mut self, run: RunId) {
        if !self.is_start_counted(run) {
            return;
        }
        let Some(started) = self.runs.get_mut(&run) else { return };
        if started.submission.is_none() && !started.phase.is_over() {
            return self.load(run);
        }
        let (Some(submission), Some(state)) = (started.submission.clone(), started.state.take())
        else {
            return;
        };
        started.phase = Phase::Running;
        if let (Some(log_by), Some(filter)) = (self.config.log_by, &started.settings.log_level)
            && let Err(error) = log_by(Some(filter))
        {
            warn!("run {run}: {error}");
        }
        let freed = std::mem::take(&mut started.reserved);
        let (round, rounds) = (started.round, started.rounds);
        let waits_for_some = started.min_workers() > 1;
        let restart = started.restart.take();
        let is_told = std::mem::replace(&mut started.is_told_of, true);
        let passed_over = started.passed_over.take();
        self.store.unreserve(freed);
        info!("run {run} starts: model {}, {rounds} rounds", submission.model_name);
        if !is_told {
            let (model, workers) = (submission.model_name.clone(), self.workers.len() as u32);
            let state_bytes = state.bytes();
            self.publish(run, RunEvent::Started { run, model, rounds, state_bytes, workers });
        }
        if let Some(what) = &passed_over {
            self.record_event(run, EventKind::PassedOver, None, what.clone());
        }
        if restart.is_some() && !submission.is_replay {
            let step = restart.as_ref().map_or(0, |restart| restart.step);
            self.record_resumed(run, step, round);
            self.publish(run, RunEvent::Resumed { run, round, rounds, passed_over });
        }
        let goes_on = restart.is_some();
        let Restart { step, progress, .. } = restart.unwrap_or_default();
        self.incarnation = self.incarnation.next();
        let of = (run, self.incarnation);
        self.active = ActiveRun::new(of, submission, state, step, &progress, self.now);
        match &mut self.active {
            Some(active) if active.is_done() => self.digest(),
            Some(active) => {
                active.goes_on = goes_on && active.is_kept();
                active.is_first_step = active.goes_on;
                let (is_first_step, ready) = (active.is_first_step, active.step_ready());
                // Who cannot work on it does not count among those that it waits
                // for: all are asked.
                if is_first_step || waits_for_some {
                    self.open_everywhere();
                }
                self.pending.push_back(ready);
            }
            None => {
                self.fail_run(run, "its plan has no steps".into());
                self.pending.push_back(scheduler::Event::RunEnded { run });
            }
        }
    }

    /// Opens the active run at all workers: they may have kept some of it, or lack
    /// what it needs.
    fn open_everywhere(&mut self) {
        let Some(active) = &self.active else { return };
        let (run, open) = (active.run, active.open.clone());
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            if let Some(about) = self.workers.get_mut(&worker) {
                about.run = Some(run);
            }
            self.send_worker_frame(worker, open.clone());
            self.note_small_cache(worker);
        }
    }

    /// Ends a run that was cancelled.
    pub(super) fn cancel_run(&mut self, run: RunId) {
        info!("run {run} is cancelled");
        self.end_run(run, Phase::Cancelled, RunEvent::Cancelled { run });
    }

    /// Ends a run with its last event, and lets go of all that it held. Its
    /// followers are told once its end is on disk.
    pub(super) fn end_run(&mut self, run: RunId, phase: Phase, event: RunEvent) {
        let Some(ended) = self.runs.get_mut(&run) else { return };
        if ended.phase.is_over() {
            return;
        }
        if phase != Phase::Finished && self.active.as_ref().is_some_and(|it| it.run == run) {
            self.save_what_is_there();
        }
        let Some(ended) = self.runs.get_mut(&run) else { return };
        let was = std::mem::replace(&mut ended.phase, phase);
        ended.ending = Some(Ending { was, event: event.clone(), waiting: Default::default() });
        if phase != Phase::Finished {
            ended.state = None;
        }
        let active = self.active.as_ref().filter(|active| active.run == run);
        let (submission, freed) = (ended.submission.take(), std::mem::take(&mut ended.reserved));
        self.store.unreserve(freed);
        if let Some(submission) = submission {
            let active = active.filter(|_| ended.state.is_some());
            ended.provenance = active.map(|it| Provenance::new(&submission.text, &it.history));
            self.store.release(&submission.train);
            self.store.release(&submission.test);
        }
        self.record_audits(run);
        self.keep_outcome(run, phase, &event);
        if self.active.as_ref().is_some_and(|active| active.run == run) {
            self.active = None;
            self.advance = false;
            let has_filter = |run: &Run| run.settings.log_level.is_some();
            if self.runs.get(&run).is_some_and(has_filter)
                && let Some(log_by) = self.config.log_by
                && let Err(error) = log_by(None)
            {
                warn!("run {run}: {error}");
            }
            self.close_run(run);
        }
        self.forget_old_runs();
        self.publish_queued();
    }

    /// Tells all workers that a run is over.
    fn close_run(&mut self, run: RunId) {
        let frame = encode(ToWorker::CloseRun { run });
        let mut told = Vec::new();
        for (worker, about) in &mut self.workers {
            about.assignments.retain(|_, (step, _)| step.run != run);
            about.given.clear();
            if about.run == Some(run) {
                about.link.outbox.drop_run(run);
                told.push(*worker);
                (about.run, about.base, about.cannot) = (None, None, None);
            }
        }
        for worker in told {
            self.send_worker_frame(worker, frame.clone());
        }
    }

    /// Bounds what is remembered of runs that are over.
    pub(super) fn forget_old_runs(&mut self) {
        let mut bytes = 0;
        let over = self.runs.values_mut().rev().filter(|run| run.told_phase().is_over());
        for (age, run) in over.enumerate() {
            if age >= RUNS_WITH_EVENTS {
                run.events.age();
            }
            bytes += run.state.as_ref().map_or(0, |state| state.bytes());
            if age >= KEPT_STATES || (age > 0 && bytes > KEPT_STATE_BYTES) {
                (run.state, run.provenance) = (None, None);
            }
        }
        while self.runs.len() > limits::RUNS {
            let oldest =
                self.runs.values().find(|run| run.told_phase().is_over()).map(|run| run.id);
            let Some(oldest) = oldest else { return };
            self.runs.remove(&oldest);
        }
    }
}
