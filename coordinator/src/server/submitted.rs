//! From a complete submission to a queued run: made durable first, where
//! there is a runs folder, so that no run is accepted that could be lost.

use common::id::{RunId, SubmissionKey};
use common::state::NetworkState;
use common::wire::message::{NUMERIC_PROFILE, ToClient};
use tracing::info;

use super::connection::ClientId;
use super::engine::{Engine, Event};
use super::recorder::now_ms;
use super::run::{Run, Submission};
use crate::runs::{LAST_NUMBER, SubmissionRecord};
use crate::scheduler::{self, Gathering};

/// A complete submission that is durable, or cannot be.
#[derive(Debug)]
pub(super) struct Submitted {
    /// Who sent it.
    client: ClientId,
    run: Box<Run>,
    origin: Origin,
    outcome: Result<(), String>,
}

/// Where a queued run comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A client sent it.
    Sent,
    /// It starts from the state of another run, after so many rounds.
    Forked(RunId, u64),
    /// It was over, and goes on.
    Resumed,
}

impl Engine {
    /// The number of the next run. It is taken, whatever comes of it. The error says
    /// why there is none.
    pub(super) fn next_run(&mut self) -> Result<RunId, String> {
        if self.last_run >= LAST_NUMBER {
            return Err(format!(
                "no number is left for a run: the last one is {LAST_NUMBER}; remove the folder of \
                 that name from the runs folder while no coordinator runs, if it is no run"
            ));
        }
        self.last_run += 1;
        Ok(RunId(self.last_run))
    }

    /// Whether a submission is known by its key: then its client is answered by the
    /// run that it became, once that is durable.
    pub(super) fn answer_known(&mut self, client: ClientId, key: SubmissionKey) -> bool {
        if let Some(others) = self.submitting.get_mut(&key) {
            others.insert(client);
            return true;
        }
        // A replay ends with whoever follows it, and is then done once more.
        let is_known =
            |run: &&mut Run| run.key == Some(key) && !(run.is_replay && run.phase.is_over());
        let Some(known) = self.runs.values_mut().find(is_known) else { return false };
        known.submitter = Some(client);
        let run = known.id;
        info!("client {} submits run {run} again", client.0);
        self.send_client(client, ToClient::Accepted { run, passed_over: None });
        true
    }

    /// Keeps a complete submission, then queues it.
    pub(super) fn keep_submission(
        &mut self,
        client: ClientId,
        run: Run,
        forked_from: Option<(RunId, u64)>,
    ) {
        let mut run = Box::new(run);
        if let Some(key) = run.key {
            self.submitting.entry(key).or_default();
        }
        let origin = forked_from.map_or(Origin::Sent, |(run, round)| Origin::Forked(run, round));
        let Some(durable) = self.durable.as_ref().filter(|_| !run.is_replay) else {
            return self.on_submitted(Submitted { client, run, origin, outcome: Ok(()) });
        };
        let Some(submission) = run.submission.clone() else { return };
        let record = record(&run, &submission, forked_from);
        run.record = Some(record.clone());
        // Where the model makes the state, it will again.
        let start = run.state.clone().filter(|_| submission.initial.is_some());
        // Those that were here before may have come with a run that is not
        // kept.
        let chunks = self.store.contents([&submission.train, &submission.test]);
        durable.recorder.enqueue(move |folder| {
            let start = start.as_deref() as Option<&NetworkState>;
            let mut chunks = chunks.iter();
            let outcome = chunks
                .try_for_each(|(digest, content)| folder.write_chunk(*digest, content))
                .and_then(|()| folder.write_submission(&record, start))
                .map_err(|error| error.to_string());
            Event::Submitted(Submitted { client, run, origin, outcome })
        });
    }

    /// Keeps that a run which was over goes on, then queues it. It is over until
    /// all of that is on disk.
    pub(super) fn keep_resumed(&mut self, client: ClientId, run: Run, record: SubmissionRecord) {
        let (run, origin) = (Box::new(run), Origin::Resumed);
        let Some(durable) = &self.durable else { return };
        durable.recorder.enqueue(move |folder| {
            let outcome = folder
                .update_submission(&record)
                .and_then(|()| folder.forget_starts(record.run))
                .and_then(|()| folder.remove_outcome(record.run))
                .map_err(|error| error.to_string());
            Event::Submitted(Submitted { client, run, origin, outcome })
        });
    }

    /// Queues a run that is durable.
    pub(super) fn on_submitted(&mut self, submitted: Submitted) {
        let Submitted { client, mut run, origin, outcome } = submitted;
        let id = run.id;
        if let Some(before) = self.runs.get_mut(&id) {
            before.is_rereading = false;
        }
        let others = run.key.and_then(|key| self.submitting.remove(&key)).unwrap_or_default();
        // The last one of them is there still.
        let submitter = others.last().copied().or(run.submitter);
        let clients = std::iter::once(client).chain(others);
        if let Err(error) = outcome {
            self.let_go(&run);
            let reason = format!("the run cannot be kept: {error}; mend the runs folder");
            clients.for_each(|client| self.reject(client, false, reason.clone()));
            return;
        }
        run.submitter = submitter;
        if let Some(before) = self.runs.remove(&id) {
            run.events = before.events;
            // The last one said that it was over.
            run.events.pop();
            run.is_told_of = before.is_told_of;
        }
        info!("run {id} is queued: model {}", run.model_name);
        let passed_over = run.passed_over.clone();
        self.runs.insert(id, *run);
        match origin {
            Origin::Sent | Origin::Resumed => self.record_run(id, None),
            Origin::Forked(of, round) => self.record_run(id, Some((of, round))),
        }
        self.forget_old_runs();
        for client in clients {
            let passed_over = passed_over.clone();
            self.send_client(client, ToClient::Accepted { run: id, passed_over });
        }
        self.queue_run(id);
    }

    /// Has a known run wait for its turn.
    pub(super) fn queue_run(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let min_workers = run.min_workers();
        let gathering = match (&run.restart, &self.durable) {
            (Some(restart), Some(durable)) if !run.is_replay => {
                let (workers, wait) = (restart.workers, durable.config.resume_wait);
                Some(Gathering { workers, wait })
            }
            _ => None,
        };
        self.publish_waiting(id);
        self.tell(scheduler::Event::RunSubmitted { run: id, min_workers, gathering });
    }

    /// Gives back what a run holds of the store.
    fn let_go(&mut self, run: &Run) {
        self.store.unreserve(run.reserved);
        if let Some(submission) = &run.submission {
            self.store.release(&submission.train);
            self.store.release(&submission.test);
        }
    }
}

/// What is kept of a submission.
fn record(
    run: &Run,
    submission: &Submission,
    forked_from: Option<(RunId, u64)>,
) -> SubmissionRecord {
    SubmissionRecord {
        run: run.id,
        key: run.key,
        identity: submission.identity,
        at_ms: now_ms(),
        spec: submission.text.clone(),
        settings: run.settings.clone(),
        initial: submission.initial,
        forked_from,
        numeric_profile: NUMERIC_PROFILE.into(),
        model_version: submission.model.version(),
        train: submission.train.clone(),
        test: submission.test.clone(),
    }
}
