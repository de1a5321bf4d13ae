//! The engine's view of a client, and what it makes of a client's messages.

use std::sync::Arc;

use common::digest::Digest;
use common::id::{RunId, WorkerId};
use common::limits;
use common::state::{NetworkState, shared_segment};
use common::wire::codec::encode;
use common::wire::event::TOLD;
use common::wire::handshake::BUILD;
use common::wire::message::{FromClient, RunEvent, Status, ToClient, WorkerStatus};
use tracing::{debug, info, warn};

use super::connection::{ClientId, Link, Peer, Room};
use super::engine::{Engine, Event};
use super::outbox::{StateFrames, Transfer};
use super::run::{Phase, Provenance, Run};
use super::upload::Upload;
use super::worker::Worker;
use crate::runs::{Restart, RunsError, RunsFolder};
use crate::scheduler::{self, WorkerNote};

/// A final state that was read for a client, and where it comes from; nothing
/// where it is not there any more.
#[derive(Debug)]
pub(super) struct FinalState {
    client: ClientId,
    run: RunId,
    outcome: Result<Option<(Provenance, NetworkState, Digest)>, String>,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) link: Link,
    /// The submission under way.
    pub(super) upload: Upload,
    /// Whether a run is being read for it, to be taken up.
    pub(super) is_taking_up: bool,
}

impl Client {
    pub(super) fn new(link: Link) -> Self {
        Self { link, upload: Upload::None, is_taking_up: false }
    }
}

impl Engine {
    /// Takes in a client's message. An error ends its connection.
    pub(super) fn on_client_message(
        &mut self,
        client: ClientId,
        message: FromClient,
        room: Room,
    ) -> Result<(), String> {
        match message {
            FromClient::Heartbeat => Ok(()),
            FromClient::Submit { key, spec, train, test, state, settings, replay } => {
                self.submit(client, (key, spec), train, test, state, (settings, replay))
            }
            FromClient::Resume { run, settings, fork } => {
                self.resume(client, run, settings, fork);
                Ok(())
            }
            FromClient::Chunk { split, chunk, payload } => {
                self.on_chunk(client, split, chunk, payload, room)
            }
            FromClient::StateSegment { segment, payload } => {
                self.on_state_segment(client, segment, &payload)
            }
            FromClient::Follow { run } => {
                self.follow(client, run);
                Ok(())
            }
            FromClient::Fetch { run } => {
                self.fetch(client, run, room);
                Ok(())
            }
            FromClient::Cancel { run } => {
                self.cancel(client, run);
                Ok(())
            }
            FromClient::Status => {
                let status = self.status();
                self.send_client(client, ToClient::Status(status));
                Ok(())
            }
        }
    }

    pub(super) fn reject(&mut self, client: ClientId, bad_input: bool, reason: String) {
        info!("a request of client {} is rejected: {reason}", client.0);
        self.send_client(client, ToClient::Rejected { bad_input, reason });
    }

    fn reject_unknown(&mut self, client: ClientId, run: RunId) {
        let reason = format!("run {run} is unknown: `coordinator status` names the runs");
        self.reject(client, true, reason);
    }

    /// Sends a run's events from its beginning, and those to come.
    fn follow(&mut self, client: ClientId, run: RunId) {
        let Some(followed) = self.runs.get_mut(&run) else {
            return self.reject_unknown(client, run);
        };
        if !followed.told_phase().is_over() {
            followed.followers.insert(client);
        }
        if let Some(about) = self.clients.get(&client) {
            about.link.outbox.events(followed.events.iter().cloned());
        }
        self.mark(Peer::Client(client));
    }

    /// Sends a run's final state.
    fn fetch(&mut self, client: ClientId, run: RunId, room: Room) {
        let Some(fetched) = self.runs.get(&run) else { return self.reject_unknown(client, run) };
        let (Phase::Finished, Some(digest)) = (fetched.told_phase(), fetched.digest) else {
            let reason = format!(
                "run {run} is {}: only a finished run has a final state",
                fetched.told_phase().name()
            );
            return self.reject(client, true, reason);
        };
        match (fetched.state.clone().zip(fetched.provenance.clone()), &self.durable) {
            (Some((state, provenance)), _) => {
                self.send_state(client, run, provenance, &state, digest)
            }
            (None, Some(durable)) => durable.recorder.enqueue(move |folder| {
                let outcome = final_state(folder, run).map_err(|error| error.to_string());
                drop(room);
                Event::FinalState(FinalState { client, run, outcome })
            }),
            (None, None) => self.reject_forgotten(client, run),
        }
    }

    fn reject_forgotten(&mut self, client: ClientId, run: RunId) {
        let reason = format!(
            "the final state of run {run} is not kept any more: run it again, it ends in the same \
             bits"
        );
        self.reject(client, false, reason);
    }

    /// Takes in a final state that was read from the runs folder.
    pub(super) fn on_final_state(&mut self, read: FinalState) {
        let FinalState { client, run, outcome } = read;
        match outcome {
            Ok(Some((provenance, state, digest))) => {
                self.send_state(client, run, provenance, &Arc::new(state), digest);
            }
            Ok(None) => self.reject_forgotten(client, run),
            Err(reason) => self.reject(client, false, reason),
        }
    }

    fn send_state(
        &mut self,
        client: ClientId,
        run: RunId,
        Provenance { spec, history }: Provenance,
        state: &Arc<NetworkState>,
        digest: Digest,
    ) {
        let (state, layout) = (state.clone(), state.layout());
        let segments = layout.state_segments();
        let history_bytes = history.len() as u64;
        let first = encode(ToClient::State { run, spec, layout, digest, history_bytes });
        let pieces = history.len().div_ceil(limits::PAYLOAD_BYTES);
        let frames = StateFrames::new(1 + segments.len() + pieces, move |place| {
            let Some(place) = place.checked_sub(1) else { return first.clone() };
            if let Some(segment) = segments.get(place) {
                let payload = shared_segment(&state, segment);
                return encode(ToClient::StateSegment { segment: place as u32, payload });
            }
            let piece = place - segments.len();
            let start = piece * limits::PAYLOAD_BYTES;
            let payload = history.slice(start..history.len().min(start + limits::PAYLOAD_BYTES));
            encode(ToClient::History { piece: piece as u32, payload })
        });
        if let Some(about) = self.clients.get(&client) {
            about.link.outbox.data(Transfer::State { step: None, frames, next: 0 });
        }
        self.mark(Peer::Client(client));
    }

    /// A client is gone. What is only done again is of use to nobody else.
    pub(super) fn stop_following(&mut self, client: ClientId) {
        let mut abandoned = Vec::new();
        for run in self.runs.values_mut() {
            let was_followed = run.followers.remove(&client) || run.submitter == Some(client);
            if was_followed && run.is_replay && run.followers.is_empty() && !run.phase.is_over() {
                abandoned.push(run.id);
            }
        }
        for run in abandoned {
            info!("run {run} is cancelled: nobody follows the replay any more");
            self.tell(scheduler::Event::RunCancelled { run });
        }
    }

    fn cancel(&mut self, client: ClientId, run: RunId) {
        let Some(cancelled) = self.runs.get(&run) else {
            return self.reject_unknown(client, run);
        };
        if cancelled.is_rereading {
            // What is on disk of its end is about to go.
            let reason = format!("run {run} is being taken up: cancel it once it is queued");
            return self.reject(client, false, reason);
        }
        if cancelled.is_aside {
            return self.cancel_aside(client, run);
        }
        if !cancelled.phase.is_over() {
            // One that was put off is unknown to the scheduler.
            self.queue_all_put_off();
            self.tell(scheduler::Event::RunCancelled { run });
        } else {
            self.keep_outcome_again(run);
        }
        match self.runs.get_mut(&run).and_then(|run| run.ending.as_mut()) {
            // It is told once that is on disk.
            Some(ending) => drop(ending.waiting.insert(client)),
            None => self.send_client(client, ToClient::Cancelled { run }),
        }
    }

    /// Ends a run that is set aside: it does not go on once what is wrong is mended.
    fn cancel_aside(&mut self, client: ClientId, run: RunId) {
        let Some(aside) = self.runs.get_mut(&run) else { return };
        if aside.record.is_none() {
            let reason = format!(
                "run {run} is set aside, and its records cannot be read: nothing can be written \
                 to them either; mend or remove its folder"
            );
            return self.reject(client, false, reason);
        }
        // It said that it cannot go on.
        aside.events.pop();
        (aside.is_aside, aside.unsaved, aside.phase) = (false, None, Phase::Queued);
        self.end_run(run, Phase::Cancelled, RunEvent::Cancelled { run });
        if let Some(ending) = self.runs.get_mut(&run).and_then(|run| run.ending.as_mut()) {
            ending.waiting.insert(client);
        }
    }

    fn status(&self) -> Status {
        let workers = self.workers.iter().take(limits::STATUS_WORKERS);
        let mut workers: Vec<WorkerStatus> = workers
            .map(|(worker, about)| about.status(*worker, self.scheduler.is_set_aside(*worker)))
            .collect();
        let unfit = workers.iter_mut().filter(|worker| worker.cannot.is_some());
        unfit.skip(limits::STATUS_UNFIT).for_each(|worker| worker.cannot = None);
        let history = self.durable.as_ref().map(|durable| durable.recorder.condition());
        let history = history.unwrap_or_default();
        Status {
            insecure: self.config.insecure,
            refused: self.refusals.count(),
            unrecorded: history.unrecorded,
            thinned: history.is_thinned,
            build: BUILD.into(),
            workers,
            runs: self.runs.values().map(|run| run.status(self.waits_for(run))).collect(),
        }
    }

    /// Workers that a run may wait for: those that are not about to leave.
    fn workers_to_count_on(&self) -> usize {
        self.workers.values().filter(|worker| !worker.draining).count()
    }

    /// Whether there are as many workers as a run waits for.
    fn has_workers_for(&self, run: &Run) -> bool {
        self.workers_to_count_on() >= run.min_workers().max(1) as usize
    }

    /// What a queued run waits for.
    fn waits_for(&self, run: &Run) -> Option<String> {
        match (run.told_phase(), &self.active) {
            (Phase::Queued, _) if !self.has_workers_for(run) => {
                let (there, wanted) = (self.workers_to_count_on(), run.min_workers().max(1));
                Some(format!("workers: {there} of {wanted} are there"))
            }
            (Phase::Queued, Some(active)) => Some(format!("run {}", active.run)),
            _ => None,
        }
    }

    /// Keeps an event of a run, and sends it to all who follow the run.
    pub(super) fn publish(&mut self, run: RunId, event: RunEvent) {
        let Some(of) = self.runs.get_mut(&run) else { return };
        let frame = of.record(event);
        let followers: Vec<_> = of.followers.iter().copied().collect();
        for client in followers {
            if let Some(about) = self.clients.get(&client) {
                about.link.outbox.events(std::iter::once(frame.clone()));
                self.mark(Peer::Client(client));
            }
        }
    }

    /// Tells the followers of the next run in the queue what it waits for.
    pub(super) fn publish_queued(&mut self) {
        let queued = self.runs.values().find(|run| run.phase == Phase::Queued);
        if let Some(run) = queued.map(|run| run.id) {
            self.publish_waiting(run);
        }
    }

    /// Says what a queued run waits for.
    pub(super) fn publish_waiting(&mut self, run: RunId) {
        let goes_first = |other: &Run| {
            !other.phase.is_over() && (self.has_workers_for(other) || other.phase == Phase::Running)
        };
        let ahead = self.runs.range(..run).filter(|(_, other)| goes_first(other)).count() as u64;
        let Some(min_workers) = self.runs.get(&run).map(Run::min_workers) else { return };
        let workers = self.workers.len() as u32;
        self.publish(run, RunEvent::Queued { run, ahead, workers, min_workers });
    }

    pub(super) fn publish_note(
        &mut self,
        run: RunId,
        worker: WorkerId,
        what: WorkerNote,
        mut detail: String,
    ) {
        let about = self.workers.get(&worker).or_else(|| self.departed.get(&worker));
        if what == WorkerNote::Lost
            && let Some(memory) = about.and_then(Worker::memory_at_last)
        {
            detail = format!("{detail}; {memory}");
        }
        let worker = about.map_or_else(|| worker.to_string(), |about| about.name.clone());
        self.record_note(run, &worker, what, &detail);
        let what = match what {
            WorkerNote::Joined => "joined",
            WorkerNote::Left => "left",
            WorkerNote::Lost => "lost",
            WorkerNote::Slow => "slow",
            WorkerNote::Failed => "failed",
            WorkerNote::Cannot => "cannot",
            WorkerNote::Reassigned => "reassigned",
            // Nobody loses by it.
            WorkerNote::Duplicate => return,
        };
        match what {
            "slow" | "failed" | "cannot" => {
                warn!(target: TOLD, "run {run}: worker {worker} {what}: {detail}")
            }
            // Said already when its connection began or ended.
            _ => debug!("run {run}: worker {worker} {what}: {detail}"),
        }
        self.publish(run, RunEvent::Worker { run, worker, what: what.into(), detail });
    }
}

/// Reads the final state of a run from the runs folder, and where it comes from;
/// nothing where it is not there any more.
fn final_state(
    folder: &RunsFolder,
    run: RunId,
) -> Result<Option<(Provenance, NetworkState, Digest)>, RunsError> {
    let submission = folder.submission(run)?;
    let outcome = folder.outcome(&submission)?.filter(|outcome| outcome.unsaved.is_none());
    let Some(digest) = outcome.and_then(|outcome| outcome.digest) else { return Ok(None) };
    let Restart { checkpoint, damaged } = folder.restart(&submission, u64::MAX)?;
    match checkpoint.filter(|found| found.record.digest == digest) {
        Some(found) => {
            let provenance = Provenance::new(&submission.spec, &found.record.progress.history);
            Ok(Some((provenance, found.state, digest)))
        }
        // It was kept, and something has happened to it.
        None => damaged.into_iter().next().map_or(Ok(None), Err),
    }
}
