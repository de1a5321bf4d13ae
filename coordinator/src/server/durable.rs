//! What the engine has written to the runs folder, and when.

use std::str::FromStr;
use std::sync::mpsc;
use std::time::Duration;

use common::digest::Digest;
use common::id::{RunId, StepId};
use common::limits;
use common::plan::StepKind;
use common::run_settings::CheckpointEvery;
use common::wire::event::TOLD;
use common::wire::handshake::BUILD;
use common::wire::message::{RunEvent, ToClient};
use serde::{Deserialize, Serialize};
use tracing::{debug, error, info, warn};

use super::ending;
use super::engine::{Engine, Event};
use super::recorder::{Checkpoint, Checkpointed, Recorder, Saved, now_ms};
use super::run::{Ending, Phase};
use super::seldom::Seldom;
use crate::ledger::{EventKind, HISTORY_BYTES};
use crate::runs::{CheckpointRecord, Outcome, OutcomeState, RunsFolder};

/// Checkpoints that are kept of a run, unless configured.
pub const KEEP_CHECKPOINTS: u32 = 3;

/// Where runs are kept, and how.
#[derive(Clone, Debug)]
pub struct RunsConfig {
    /// The folder.
    pub folder: RunsFolder,
    /// When to write checkpoints, beside the one at a run's end.
    pub checkpoint_every: CheckpointEvery,
    /// Checkpoints to keep of a run, the last ones; at least 1.
    pub keep_checkpoints: u32,
    /// What a run does when a checkpoint cannot be written.
    pub on_checkpoint_error: OnCheckpointError,
    /// Longest wait of a run that goes on for the workers that it had.
    pub resume_wait: Duration,
    /// Bytes that the history is held to, about: rows of shards make room.
    pub history_bytes: u64,
}

impl RunsConfig {
    /// What suits most.
    pub fn new(folder: RunsFolder) -> Self {
        Self {
            folder,
            checkpoint_every: CheckpointEvery::default(),
            keep_checkpoints: KEEP_CHECKPOINTS,
            on_checkpoint_error: OnCheckpointError::default(),
            resume_wait: limits::RECONNECT_MAX,
            history_bytes: HISTORY_BYTES,
        }
    }
}

/// What a run does when a checkpoint cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCheckpointError {
    /// It goes on, says so, and tries again when the next one is due.
    #[default]
    Continue,
    /// It fails.
    Stop,
}

impl FromStr for OnCheckpointError {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "continue" => Ok(Self::Continue),
            "stop" => Ok(Self::Stop),
            _ => Err("expected continue or stop".into()),
        }
    }
}

/// The runs folder and who writes there.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) config: RunsConfig,
    pub(super) recorder: Recorder,
    /// Checkpoints that could not be written, since the last one that could.
    pub(super) failures: Seldom,
}

/// A run whose end is durable, or cannot be.
#[derive(Debug)]
pub(super) struct Ended {
    run: RunId,
    /// What could not be written, and why.
    unkept: Option<(Box<Outcome>, String)>,
}

/// Where the checkpoints of the active run stand.
#[derive(Debug)]
pub(super) struct Saving {
    /// When the last one was begun, and of which round.
    pub(super) begun: (tokio::time::Instant, u64),
    /// Whether one is being written.
    pub(super) under_way: bool,
    /// The step that begins from the last one that was begun.
    pub(super) step: Option<u64>,
}

impl Engine {
    /// Has a checkpoint written if it is time for one.
    pub(super) fn checkpoint_if_due(&mut self) {
        let Some(durable) = &self.durable else { return };
        let Some(active) = &self.active else { return };
        let Some(run) = self.runs.get(&active.run) else { return };
        let saving = &active.saving;
        if saving.under_way || !active.is_kept() || active.base_step >= active.steps.end {
            return;
        }
        let every = run.settings.checkpoint_every.unwrap_or(durable.config.checkpoint_every);
        let (begun, round) = saving.begun;
        if every.is_due(run.round.saturating_sub(round), self.now - begun) {
            self.begin_checkpoint(None);
        }
    }

    /// Has the active run's state written.
    pub(super) fn begin_checkpoint(&mut self, digest: Option<Digest>) {
        let Some(durable) = &self.durable else { return };
        let Some(active) = &mut self.active else { return };
        let Some(run) = self.runs.get(&active.run) else { return };
        let Some(submission) = run.record.clone() else { return };
        let record = CheckpointRecord {
            submission,
            round: run.round,
            step: active.base_step,
            at_ms: now_ms(),
            digest: Digest::of(b""),
            bytes: 0,
            build: BUILD.into(),
            workers: self.workers.len() as u32,
            progress: active.progress(run, self.now),
        };
        active.saving =
            Saving { begun: (self.now, run.round), under_way: true, step: Some(active.base_step) };
        let keep = run.settings.keep_checkpoints.unwrap_or(durable.config.keep_checkpoints);
        let state = active.state.clone();
        durable.recorder.checkpoint(Checkpoint { record, digest, state, keep });
    }

    /// Has written what the active run would lose, before it ends without a
    /// final state.
    pub(super) fn save_what_is_there(&mut self) {
        let is_news = |active: &super::active::ActiveRun| {
            active.is_kept() && active.base_step > 0 && active.saving.step != Some(active.base_step)
        };
        if self.active.as_ref().is_some_and(is_news) {
            self.begin_checkpoint(None);
        }
    }

    /// Has written how a run ended, if it is kept.
    pub(super) fn keep_outcome(&mut self, run: RunId, phase: Phase, event: &RunEvent) {
        let reason = match event {
            RunEvent::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        match self.outcome(run, phase, reason) {
            Some(outcome) => {
                let outcome = Box::new(outcome);
                self.write_outcome(run, outcome, |engine| engine.record_end(run, phase, event));
            }
            None => {
                self.record_end(run, phase, event);
                self.on_ended(Ended { run, unkept: None });
            }
        }
    }

    /// What is kept of the end of a run; nothing of one that is not kept.
    fn outcome(&self, run: RunId, phase: Phase, reason: Option<String>) -> Option<Outcome> {
        let ended = self.runs.get(&run).filter(|run| self.durable.is_some() && !run.is_replay)?;
        let state = match phase {
            Phase::Finished => OutcomeState::Finished,
            Phase::Failed => OutcomeState::Failed,
            Phase::Cancelled => OutcomeState::Cancelled,
            Phase::Queued | Phase::Running => return None,
        };
        let identity = ended.record.as_ref()?.identity;
        let active = self.active.as_ref().filter(|active| active.run == run);
        Some(Outcome {
            run,
            identity,
            at_ms: now_ms(),
            state,
            round: ended.round,
            loss: ended.loss,
            digest: ended.digest,
            reason,
            progress: active.map(|active| active.progress(ended, self.now)),
            unsaved: ended.unsaved.clone(),
        })
    }

    /// Writes the end of a run, has it recorded, and only then tells of it: whoever
    /// hears that a run is over finds it so in the history as well.
    fn write_outcome(&self, run: RunId, outcome: Box<Outcome>, record: impl FnOnce(&Self)) {
        let Some(durable) = &self.durable else { return };
        let (result, written) = mpsc::sync_channel(1);
        durable.recorder.perform(move |folder| {
            let error = folder.write_outcome(run, &outcome).err();
            // It is over: what is counted of it means nothing any more.
            let _ = folder.forget_starts(run);
            // It is received below.
            let _ = result.send(error.map(|error| (outcome, error.to_string())));
        });
        record(self);
        durable.recorder.enqueue(move |_| {
            let unkept = written.recv().unwrap_or_default();
            Event::Ended(Ended { run, unkept })
        });
    }

    /// Tries once more to write the end of a run that could not be written, for
    /// a client who wants it to be over; says whether there is such an end.
    pub(super) fn keep_outcome_again(&mut self, run: RunId) -> bool {
        let Some(of) = self.runs.get_mut(&run) else { return false };
        let Some(outcome) = of.unkept.take() else { return false };
        // It said that the end is not on disk.
        of.events.pop();
        of.unsaved = outcome.unsaved.clone();
        let event = ending::of_outcome(run, of.rounds, &outcome);
        of.ending = Some(Ending { was: of.phase, event, waiting: Default::default() });
        self.write_outcome(run, outcome, |_| ());
        true
    }

    /// Tells how a run ended: it is on disk, or cannot be.
    pub(super) fn on_ended(&mut self, ended: Ended) {
        let Ended { run, unkept } = ended;
        let Some(of) = self.runs.get_mut(&run) else { return };
        let Some(Ending { mut event, waiting, .. }) = of.ending.take() else { return };
        let mut lost = None;
        if let Some((outcome, error)) = unkept {
            error!("how run {run} ended cannot be kept: {error}");
            event = ending::not_kept(event, &error);
            (of.unkept, of.unsaved) = (Some(outcome), Some(error.clone()));
            lost = Some(ending::unkept_text(&error));
        }
        self.publish(run, event);
        if let Some(of) = self.runs.get_mut(&run) {
            of.followers.clear();
        }
        for client in waiting {
            match &lost {
                None => self.send_client(client, ToClient::Cancelled { run }),
                Some(reason) => self.reject(client, false, format!("run {run}: {reason}")),
            }
        }
        self.forget_old_runs();
    }

    /// Takes in what came of a checkpoint.
    pub(super) fn on_checkpointed(&mut self, done: Checkpointed) {
        let Checkpointed { run, round, step, outcome } = done;
        let is_told = self.log_checkpoint(run, round, &outcome);
        if outcome.is_ok() {
            self.forget_starts(run);
        }
        let Some(of) = self.runs.get_mut(&run) else { return };
        let event = match &outcome {
            Ok(saved) => {
                (of.checkpoint, of.unsaved) = (Some(round), None);
                let (digest, bytes, ms) = (saved.digest, saved.bytes, saved.ms);
                RunEvent::Checkpoint { run, round, digest, bytes, ms }
            }
            Err(error) => {
                of.unsaved = Some(error.clone());
                RunEvent::CheckpointFailed { run, round, error: error.clone() }
            }
        };
        if let Err(error) = &outcome {
            let detail = format!("round {round}: {error}");
            self.record_event(run, EventKind::CheckpointFailed, None, detail);
        }
        let Some(active) = self.active.as_mut().filter(|active| active.run == run) else {
            // The run is over, and its last event is told.
            return;
        };
        // Of this life of the run: what was begun in the one before was done
        // before this one was read from the folder.
        active.saving.under_way = false;
        let final_digest = active.final_digest;
        let is_last = step >= active.steps.end;
        if is_told {
            self.publish(run, event);
        }
        match (final_digest, outcome) {
            // What was written may be of a round before the last one.
            (Some(digest), _) if !is_last => self.begin_checkpoint(Some(digest)),
            (_, Err(error)) if self.stops_on_checkpoint_errors() => {
                self.give_up(&format!(
                    "the checkpoint of round {round} cannot be written: {error}; make room or \
                     mend the runs folder, then `coordinator resume {run}`"
                ));
            }
            (Some(digest), _) => self.finish_run(run, digest),
            (None, _) => {}
        }
    }

    /// Logs what came of a checkpoint; of those that fail one after another, few.
    /// Whether it was one of these, or did not fail.
    fn log_checkpoint(&mut self, run: RunId, round: u64, outcome: &Result<Saved, String>) -> bool {
        let Some(durable) = &mut self.durable else { return true };
        let error = match outcome {
            Ok(saved) => {
                debug!("run {run}: round {round} is on disk after {:.1} ms", saved.ms);
                if let Some(failed) = durable.failures.end() {
                    warn!(
                        "run {run}: checkpoints can be written again, after {failed} that failed"
                    );
                }
                return true;
            }
            Err(error) => error,
        };
        let text = format!("run {run}: the checkpoint of round {round} cannot be written: {error}");
        let noted = durable.failures.note(self.now.into_std());
        match noted {
            Some(0) => error!(target: TOLD, "{text}"),
            Some(more) => error!(target: TOLD, "{text} ({more} more since the last line)"),
            None => debug!("{text}"),
        }
        noted.is_some()
    }

    /// How to see a shard fail again, behind the reason of the failure.
    pub(super) fn replay_hint(&self, (step, replica): (StepId, u32)) -> String {
        let run = step.run;
        let index = step.index;
        if self.durable.is_none() {
            return "; to see it again, run the same spec with `--local 1 --log-level debug`"
                .into();
        }
        let kind = self.active.as_ref().filter(|active| active.run == run).map(|it| it.step.kind);
        let place = match kind {
            Some(StepKind::Train { round, .. }) => format!("--round {}", round + 1),
            _ => format!("--step {index}"),
        };
        format!("; `coordinator replay {run} {place} --replica {replica}` runs that shard alone")
    }

    fn stops_on_checkpoint_errors(&self) -> bool {
        let stops =
            |durable: &Durable| durable.config.on_checkpoint_error == OnCheckpointError::Stop;
        self.durable.as_ref().is_some_and(stops)
    }

    /// Saves what an active run has come to before this coordinator goes. What it has
    /// begun, or was about to, did not kill it.
    pub(super) fn save_before_going(&mut self) {
        match (self.active.as_ref().map(|active| active.run), &self.durable) {
            (Some(run), Some(_)) => {
                info!("run {run} goes on when a coordinator is started on this runs folder again");
                self.save_what_is_there();
            }
            (Some(run), None) => warn!("run {run} ends with this coordinator"),
            (None, _) => {}
        }
        let begun = self.runs.values().filter(|run| run.is_counted && !run.phase.is_over());
        for run in begun.map(|run| run.id).collect::<Vec<_>>() {
            self.forget_starts(run);
        }
    }
}
