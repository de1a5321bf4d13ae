//! The end of a run: written first, then reported.

use std::sync::mpsc;

use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::{RunEvent, ToClient};
use tracing::error;

use super::{Engine, Written};
use crate::runs::Outcome;
use crate::server::run_table::{not_kept, of_outcome, unkept_text};
use crate::server::wall_clock::now_ms;

/// A run whose end is durable, or could not be written.
#[derive(Debug)]
pub(super) struct Ended {
    run: RunId,
    /// The record that could not be written, and the error.
    unkept: Option<(Box<Outcome>, String)>,
}

impl Engine {
    /// Writes how a run ended, if the run is kept.
    pub(super) fn keep_outcome(&mut self, run: RunId, state: RunEnd, event: &RunEvent) {
        let reason = match event {
            RunEvent::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        match self.outcome(run, state, reason) {
            Some(outcome) => {
                let outcome = Box::new(outcome);
                self.write_outcome(run, outcome, |engine| engine.record_end(run, state, event));
            }
            None => {
                self.record_end(run, state, event);
                self.on_ended(Ended { run, unkept: None });
            }
        }
    }

    /// The record of the end of a run; `None` for a run that is not kept.
    fn outcome(&self, run: RunId, state: RunEnd, reason: Option<String>) -> Option<Outcome> {
        let ended = self.runs.get(run).filter(|it| self.journal.is_some() && !it.is_replay())?;
        Some(Outcome {
            run,
            identity: ended.submission_record()?.identity,
            at_ms: now_ms(),
            state,
            round: ended.round(),
            loss: ended.loss(),
            digest: ended.digest(),
            reason,
            progress: self.step.active_run(run).map(|active| active.progress(ended, self.now)),
            unsaved: ended.unsaved().cloned(),
        })
    }

    /// Writes the end of a run, records it in the history, and only then reports it: a client that
    /// learns that a run is over finds the same in the history.
    fn write_outcome(&self, run: RunId, outcome: Box<Outcome>, record: impl FnOnce(&Self)) {
        let Some(journal) = &self.journal else { return };
        let (result, written) = mpsc::sync_channel(1);
        journal.perform(move |folder| {
            let error = folder.write_outcome(run, &outcome).err();
            // The run is over: its counted starts no longer matter.
            let _ = folder.forget_starts(run);
            // The result is handled below.
            let _ = result.send(error.map(|error| (outcome, error.to_string())));
        });
        record(self);
        journal.enqueue(move |_| {
            let unkept = written.recv().unwrap_or_default();
            Written::Ended(Ended { run, unkept })
        });
    }

    /// Tries again to write the end of a run, for a client that cancels a run whose end could not
    /// be written.
    pub(super) fn keep_outcome_again(&mut self, run: RunId) {
        let Some(of) = self.runs.get_mut(run) else { return };
        let event = |rounds: u64, outcome: &Outcome| of_outcome(run, rounds, outcome);
        if let Some(outcome) = of.retry_end(event) {
            self.write_outcome(run, outcome, |_| ());
        }
    }

    /// Reports how a run ended, when this is on disk or cannot be written.
    pub(super) fn on_ended(&mut self, ended: Ended) {
        let Ended { run, unkept } = ended;
        let Some(of) = self.runs.get_mut(run) else { return };
        let Some(ending) = of.take_ending() else { return };
        let mut event = ending.event;
        let mut lost = None;
        if let Some((outcome, error)) = unkept {
            error!("the end of run {run} cannot be written: {error}");
            event = not_kept(event, &error);
            lost = Some(unkept_text(&error));
            of.keep_unwritten(outcome, error);
        }
        self.publish(run, event);
        if let Some(of) = self.runs.get_mut(run) {
            of.clear_followers();
        }
        for client in ending.waiting {
            match &lost {
                None => self.peers.send_client(client, ToClient::Cancelled { run }),
                Some(reason) => self.reject(client, false, format!("run {run}: {reason}")),
            }
        }
        self.runs.forget_old();
    }
}
