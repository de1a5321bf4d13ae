//! The start and the end of a run.

use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::event::TOLD;
use common::wire::message::RunEvent;
use tracing::{error, info, warn};

use super::Engine;
use crate::ledger::EventKind;
use crate::scheduler;
use crate::server::run_table::Started;
use crate::server::step::Start;

impl Engine {
    /// Makes a queued run the active one.
    pub(super) fn start_run(&mut self, run: RunId) {
        if !self.is_start_counted(run) {
            return;
        }
        let Some(of) = self.runs.get_mut(run) else { return };
        if of.needs_loading() {
            return self.load(run);
        }
        let Some(started) = of.start() else { return };
        let (round, rounds, min_workers) = (of.round(), of.rounds(), of.min_workers());
        let filter = of.settings().log_level.clone();
        if filter.is_some() {
            self.log_by(run, filter.as_deref());
        }
        self.intake.store_mut().unreserve(started.reserved);
        self.publish_start(run, (round, rounds), &started);
        let Started { submission, state, restart, .. } = started;
        let goes_on = restart.is_some();
        let restart = restart.unwrap_or_default();
        self.incarnation = self.incarnation.next();
        let incarnation = self.incarnation;
        let (step, progress) = (restart.step, restart.progress);
        let start = Start { run, incarnation, submission, state, step, goes_on, progress };
        match self.step.start(start, self.now) {
            Some(active) if active.is_done() => {
                let effect = self.step.digest();
                self.perform_step(effect);
            }
            Some(active) => {
                let (is_resumed, ready) = (active.is_resumed_step(), active.step_ready());
                // Workers that cannot work on the run do not count among those that it waits for:
                // all are asked.
                if is_resumed || min_workers > 1 {
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

    /// Logs, records and publishes that a run starts, or continues after `round`.
    fn publish_start(&mut self, run: RunId, (round, rounds): (u64, u64), started: &Started) {
        let Started { submission, state, restart, passed_over, was_told, .. } = started;
        info!("run {run} starts: model {}, {rounds} rounds", submission.spec.model);
        if !was_told {
            let model = submission.spec.model.clone();
            let (workers, state_bytes) = (self.peers.worker_count() as u32, state.bytes());
            self.publish(run, RunEvent::Started { run, model, rounds, state_bytes, workers });
        }
        if let Some(what) = passed_over {
            self.record_event(run, EventKind::PassedOver, None, what.clone());
        }
        if let Some(restart) = restart.as_ref().filter(|_| !submission.is_replay) {
            self.record_resumed(run, restart.step, round);
            let passed_over = passed_over.clone();
            self.publish(run, RunEvent::Resumed { run, round, rounds, passed_over });
        }
    }

    /// Logs with a run's own filter, if it has one; otherwise restores the server's filter.
    fn log_by(&self, run: RunId, filter: Option<&str>) {
        if let Some(log_by) = self.config.log_by
            && let Err(error) = log_by(filter)
        {
            warn!("run {run}: {error}");
        }
    }

    /// Fails the active run for a reason that the scheduler does not know.
    pub(super) fn give_up(&mut self, reason: &str) {
        let Some(run) = self.step.active().map(|active| active.run()) else { return };
        self.fail_run(run, reason.to_owned());
        self.pending.push_back(scheduler::Event::RunEnded { run });
    }

    /// Ends a run that failed.
    pub(super) fn fail_run(&mut self, run: RunId, reason: String) {
        error!(target: TOLD, "run {run} failed: {reason}");
        self.end_run(run, RunEnd::Failed, RunEvent::Failed { run, reason });
    }

    /// Ends a run that was cancelled.
    pub(super) fn cancel_run(&mut self, run: RunId) {
        info!("run {run} is cancelled");
        self.end_run(run, RunEnd::Cancelled, RunEvent::Cancelled { run });
    }

    /// Ends a run with its last event, and releases all its resources. Its followers are told once
    /// its end is on disk.
    pub(super) fn end_run(&mut self, run: RunId, end: RunEnd, event: RunEvent) {
        if self.runs.get(run).is_none_or(|run| run.phase().is_over()) {
            return;
        }
        let is_active = self.step.active_run(run).is_some();
        if end != RunEnd::Finished && is_active {
            self.save_what_is_there();
        }
        let history = self.step.active_run(run).map(|active| active.history());
        let Some(ended) = self.runs.get_mut(run) else { return };
        let has_filter = ended.settings().log_level.is_some();
        let Some((submission, reserved)) = ended.end(end, event.clone(), history) else { return };
        let store = self.intake.store_mut();
        store.unreserve(reserved);
        if let Some(submission) = submission {
            store.release_both(&submission.train, &submission.test);
        }
        self.record_audits(run);
        self.keep_outcome(run, end, &event);
        if is_active {
            self.step.stop();
            if has_filter {
                self.log_by(run, None);
            }
            self.peers.close_run(run);
        }
        self.runs.forget_old();
        self.publish_queued();
    }
}
