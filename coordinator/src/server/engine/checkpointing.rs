//! Checkpoints: when the active run's state is written, and the result of writing it.

use common::digest::Digest;
use common::id::{RunId, StepId};
use common::plan::StepKind;
use common::wire::event::TOLD;
use common::wire::handshake::BUILD;
use common::wire::message::RunEvent;
use tracing::{debug, error, info, warn};

use super::Engine;
use crate::ledger::EventKind;
use crate::runs::CheckpointRecord;
use crate::server::persistence::{Checkpoint, Checkpointed, Saved};
use crate::server::step::ActiveRun;
use crate::server::wall_clock::now_ms;

impl Engine {
    /// Starts a checkpoint if one is due.
    pub(super) fn checkpoint_if_due(&mut self) {
        let Some(journal) = &self.journal else { return };
        let Some(active) = self.step.active() else { return };
        let Some(run) = self.runs.get(active.run()) else { return };
        let every = run.settings().checkpoint_every.unwrap_or(journal.config().checkpoint_every);
        if active.is_checkpoint_due(every, run.round(), self.now) {
            self.begin_checkpoint(None);
        }
    }

    /// Starts writing the active run's state; `digest` is the digest of the state, if known.
    pub(super) fn begin_checkpoint(&mut self, digest: Option<Digest>) {
        let Some(journal) = &self.journal else { return };
        let Some(active) = self.step.active_mut() else { return };
        let Some(run) = self.runs.get(active.run()) else { return };
        let Some(submission) = run.submission_record().cloned() else { return };
        let record = CheckpointRecord {
            submission,
            round: run.round(),
            step: active.base_step(),
            at_ms: now_ms(),
            digest: Digest::of(b""),
            bytes: 0,
            build: BUILD.into(),
            workers: self.peers.worker_count() as u32,
            progress: active.progress(run, self.now),
        };
        active.begin_checkpoint(run.round(), self.now);
        let keep = run.settings().keep_checkpoints.unwrap_or(journal.config().keep_checkpoints);
        let state = active.state().clone();
        journal.checkpoint(Checkpoint { record, digest, state, keep });
    }

    /// Saves the progress that the active run would lose, before it ends without a final state.
    pub(super) fn save_what_is_there(&mut self) {
        if self.step.active().is_some_and(ActiveRun::is_unsaved) {
            self.begin_checkpoint(None);
        }
    }

    /// Handles a checkpoint that is durable, or could not be written.
    pub(super) fn on_checkpointed(&mut self, done: Checkpointed) {
        let Checkpointed { run, round, step, outcome } = done;
        let is_told = self.log_checkpoint(run, round, &outcome);
        if outcome.is_ok() {
            self.forget_starts(run);
        }
        let Some(of) = self.runs.get_mut(run) else { return };
        let event = match &outcome {
            Ok(saved) => {
                of.set_checkpoint(round);
                let (digest, bytes, ms) = (saved.digest, saved.bytes, saved.ms);
                RunEvent::Checkpoint { run, round, digest, bytes, ms }
            }
            Err(error) => {
                of.set_unsaved(error.clone());
                RunEvent::CheckpointFailed { run, round, error: error.clone() }
            }
        };
        if let Err(error) = &outcome {
            let detail = format!("round {round}: {error}");
            self.record_event(run, EventKind::CheckpointFailed, None, detail);
        }
        // If the run is over, its last event has been sent. A checkpoint of the run's previous life
        // was written before the run was read from the folder.
        let Some(active) = self.step.active_run_mut(run) else { return };
        active.end_checkpoint();
        let (saving, is_last) = (active.saving(), active.is_last_base(step));
        if is_told {
            self.publish(run, event);
        }
        match (saving, outcome) {
            // The written checkpoint may be of an earlier round than the last.
            (Some(digest), _) if !is_last => self.begin_checkpoint(Some(digest)),
            (_, Err(error)) if self.stops_on_checkpoint_errors() => {
                self.give_up(&format!(
                    "the checkpoint of round {round} cannot be written: {error}; free disk space \
                     or repair the runs folder, then `coordinator resume {run}`"
                ));
            }
            (Some(digest), _) => self.finish_run(run, digest),
            (None, _) => {}
        }
    }

    fn stops_on_checkpoint_errors(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.stops_on_checkpoint_errors())
    }

    /// Logs the result of a checkpoint. Repeated failures are rate-limited. Returns whether the
    /// result is to be reported: a success, or a failure that was logged.
    fn log_checkpoint(&mut self, run: RunId, round: u64, outcome: &Result<Saved, String>) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        let error = match outcome {
            Ok(saved) => {
                debug!("run {run}: round {round} is on disk after {:.1} ms", saved.ms);
                if let Some(failed) = journal.failures().end() {
                    warn!(
                        "run {run}: checkpoints can be written again, after {failed} that failed"
                    );
                }
                return true;
            }
            Err(error) => error,
        };
        let text = format!("run {run}: the checkpoint of round {round} cannot be written: {error}");
        let noted = journal.failures().note(self.now.into_std());
        match noted {
            Some(0) => error!(target: TOLD, "{text}"),
            Some(more) => error!(target: TOLD, "{text} ({more} more since the last line)"),
            None => debug!("{text}"),
        }
        noted.is_some()
    }

    /// The command that runs a failed shard again, to append to the reason of a failure.
    pub(super) fn replay_hint(&self, (step, replica): (StepId, u32)) -> String {
        let StepId { run, index } = step;
        if self.journal.is_none() {
            return "; to see it again, run the same spec with `--local 1 --log-level debug`"
                .into();
        }
        let place = match self.step.active_run(run).map(ActiveRun::kind) {
            Some(StepKind::Train { round, .. }) => format!("--round {}", round + 1),
            _ => format!("--step {index}"),
        };
        format!("; `coordinator replay {run} {place} --replica {replica}` runs that shard alone")
    }

    /// Saves the progress of the active run before this coordinator stops. Runs that were started,
    /// or were about to start, did not kill the coordinator, so their starts are forgotten.
    pub(super) fn save_before_going(&mut self) {
        match (self.step.active().map(ActiveRun::run), &self.journal) {
            (Some(run), Some(_)) => {
                info!(
                    "run {run} continues when a coordinator is started on this runs folder again"
                );
                self.save_what_is_there();
            }
            (Some(run), None) => warn!("run {run} ends with this coordinator"),
            (None, _) => {}
        }
        let begun = self.runs.iter().filter(|run| run.is_counted() && !run.phase().is_over());
        for run in begun.map(|run| run.id()).collect::<Vec<_>>() {
            self.forget_starts(run);
        }
        if let Some(journal) = &self.journal {
            journal.forget_memory();
        }
    }
}
