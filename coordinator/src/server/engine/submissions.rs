//! From a client's submission to a queued run. If there is a runs folder, the submission is made
//! durable first, so that no accepted run can be lost.

use common::id::{RunId, SubmissionKey};
use common::state::NetworkState;
use common::wire::message::{NUMERIC_PROFILE, ToClient};
use tracing::info;

use super::{Engine, Found, Written};
use crate::runs::SubmissionRecord;
use crate::scheduler::{self, RejoinWait};
use crate::server::intake::{self, Complete, Effect, Request};
use crate::server::net::ClientId;
use crate::server::run_table::{Run, RunDefinition};
use crate::server::wall_clock::now_ms;

/// A complete submission that is durable, or could not be written.
#[derive(Debug)]
pub(super) struct Submitted {
    /// The client that sent it.
    client: ClientId,
    run: Box<Run>,
    origin: Origin,
    outcome: Result<(), String>,
}

/// The origin of a queued run.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A client sent it.
    Sent,
    /// It starts from the state of another run, after this number of rounds.
    Forked(RunId, u64),
    /// It had ended, and continues.
    Resumed,
}

impl Engine {
    /// Starts a submission.
    ///
    /// # Errors
    /// The reason to close the client's connection.
    pub(super) fn submit(&mut self, client: ClientId, request: Request) -> Result<(), String> {
        if self.intake.is_submitting(client) {
            return Err("out of turn: a submission while another is under way".into());
        }
        if self.answer_known(client, request.key) {
            self.intake.skip(client);
            return Ok(());
        }
        let waiting = self.runs.iter().filter(|run| !run.phase().is_over()).count();
        let effect = self.intake.begin(client, request, waiting);
        self.perform_intake(client, [effect]);
        Ok(())
    }

    /// Handles the result of a submission's job.
    pub(super) fn on_intake_done(&mut self, done: intake::Done) {
        let (client, effects) = self.intake.on_done(done);
        self.perform_intake(client, effects);
    }

    /// Performs the effects of a client's submission.
    pub(super) fn perform_intake(
        &mut self,
        client: ClientId,
        effects: impl IntoIterator<Item = Effect>,
    ) {
        for effect in effects {
            match effect {
                Effect::Run(job) => self.jobs.spawn(move || Found::Intake(job())),
                Effect::Send(message) => self.peers.send_client(client, message),
                Effect::Complete(complete) => self.accept(client, complete),
                Effect::Reject(error) => {
                    self.reject(client, error.is_bad_input(), error.to_string());
                }
            }
        }
    }

    /// Makes a run from a complete submission.
    fn accept(&mut self, client: ClientId, mut complete: Complete) {
        // The client may have sent it on another connection in the meantime.
        if self.answer_known(client, complete.key()) {
            return self.intake.drop_complete(&complete);
        }
        let number = match self.runs.next_number() {
            Ok(number) => number,
            Err(reason) => {
                self.intake.drop_complete(&complete);
                return self.reject(client, false, reason);
            }
        };
        match complete.make_run(number) {
            Ok(mut run) => {
                run.set_submitter(client);
                self.keep_submission(client, run, None);
            }
            Err(error) => {
                self.intake.drop_complete(&complete);
                let effect = self.intake.reject(client, error);
                self.perform_intake(client, [effect]);
            }
        }
    }

    /// Whether a submission with this key is known. If so, the client is told the number of its run
    /// once that run is durable.
    fn answer_known(&mut self, client: ClientId, key: SubmissionKey) -> bool {
        if self.intake.joins_writing(key, client) {
            return true;
        }
        let Some(known) = self.runs.find(key) else { return false };
        known.set_submitter(client);
        let run = known.id();
        info!("client {client} submits run {run} again");
        self.peers.send_client(client, ToClient::Accepted { run, passed_over: None });
        true
    }

    /// Writes a complete submission, then queues it.
    pub(super) fn keep_submission(
        &mut self,
        client: ClientId,
        run: Run,
        forked_from: Option<(RunId, u64)>,
    ) {
        let mut run = Box::new(run);
        if let Some(key) = run.key() {
            self.intake.begin_writing(key);
        }
        let origin = forked_from.map_or(Origin::Sent, |(run, round)| Origin::Forked(run, round));
        let Some(journal) = self.journal.as_ref().filter(|_| !run.is_replay()) else {
            return self.on_submitted(Submitted { client, run, origin, outcome: Ok(()) });
        };
        let Some(submission) = run.submission().cloned() else { return };
        let record = record(&run, &submission, forked_from);
        run.set_submission_record(record.clone());
        // A state that the model made is not written: the model makes it again.
        let start = run.state().cloned().filter(|_| submission.initial.is_some());
        // Chunks that were in the store before may have come with a run that is not kept.
        let chunks = self.intake.store().contents([&submission.train, &submission.test]);
        journal.enqueue(move |folder| {
            let start = start.as_deref() as Option<&NetworkState>;
            let mut chunks = chunks.iter();
            let outcome = chunks
                .try_for_each(|(digest, content)| folder.write_chunk(*digest, content))
                .and_then(|()| folder.write_submission(&record, start))
                .map_err(|error| error.to_string());
            Written::Submitted(Submitted { client, run, origin, outcome })
        });
    }

    /// Writes that an ended run continues, then queues it. The run counts as over until all of that
    /// is on disk.
    pub(super) fn keep_resumed(&mut self, client: ClientId, run: Run, record: SubmissionRecord) {
        let (run, origin) = (Box::new(run), Origin::Resumed);
        let Some(journal) = &self.journal else { return };
        journal.enqueue(move |folder| {
            let outcome = folder
                .update_submission(&record)
                .and_then(|()| folder.forget_starts(record.run))
                .and_then(|()| folder.remove_outcome(record.run))
                .map_err(|error| error.to_string());
            Written::Submitted(Submitted { client, run, origin, outcome })
        });
    }

    /// Queues a run that is durable.
    pub(super) fn on_submitted(&mut self, submitted: Submitted) {
        let Submitted { client, mut run, origin, outcome } = submitted;
        let id = run.id();
        if let Some(before) = self.runs.get_mut(id) {
            before.set_rereading(false);
        }
        let others = run.key().map(|key| self.intake.end_writing(key)).unwrap_or_default();
        if let Some(last) = others.last() {
            // The other clients may be gone.
            run.set_submitter(*last);
        }
        let clients = std::iter::once(client).chain(others);
        if let Err(error) = outcome {
            self.let_go(&run);
            let reason = format!("the run cannot be kept: {error}; repair the runs folder");
            clients.for_each(|client| self.reject(client, false, reason.clone()));
            return;
        }
        info!("run {id} is queued: model {}", run.model_name());
        let passed_over = run.passed_over().cloned();
        self.runs.insert(*run);
        match origin {
            Origin::Sent | Origin::Resumed => self.record_run(id, None),
            Origin::Forked(of, round) => self.record_run(id, Some((of, round))),
        }
        self.runs.forget_old();
        for client in clients {
            let passed_over = passed_over.clone();
            self.peers.send_client(client, ToClient::Accepted { run: id, passed_over });
        }
        self.queue_run(id);
    }

    /// Puts a known run into the queue.
    pub(super) fn queue_run(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id) else { return };
        let min_workers = run.min_workers();
        let rejoin_wait = match (run.restart(), &self.journal) {
            (Some(restart), Some(journal)) if !run.is_replay() => {
                let (workers, wait) = (restart.workers, journal.config().resume_wait);
                Some(RejoinWait { workers, wait })
            }
            _ => None,
        };
        self.publish_waiting(id);
        self.tell(scheduler::Event::RunSubmitted { run: id, min_workers, rejoin_wait });
    }

    /// Releases a run's share of the store.
    fn let_go(&mut self, run: &Run) {
        let store = self.intake.store_mut();
        store.unreserve(run.reserved());
        if let Some(submission) = run.submission() {
            store.release_both(&submission.train, &submission.test);
        }
    }
}

/// The record of a submission.
fn record(
    run: &Run,
    submission: &RunDefinition,
    forked_from: Option<(RunId, u64)>,
) -> SubmissionRecord {
    SubmissionRecord {
        run: run.id(),
        key: run.key(),
        identity: submission.identity,
        at_ms: now_ms(),
        spec: submission.text.clone(),
        schema: submission.schema.clone(),
        settings: run.settings().clone(),
        initial: submission.initial,
        forked_from,
        numeric_profile: NUMERIC_PROFILE.into(),
        model_version: submission.model.version(),
        train: submission.train.clone(),
        test: submission.test.clone(),
    }
}
