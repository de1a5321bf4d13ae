//! Clients: they join, and send requests.

use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::{FromClient, RunEvent, ToClient};
use tracing::{debug, info};

use super::Engine;
use crate::scheduler;
use crate::server::intake::Request;
use crate::server::net::{ClientId, Handle, Permit};

impl Engine {
    /// Adds a client.
    pub(super) fn join_client(&mut self, client: ClientId, handle: Handle) {
        debug!(peer = %handle.address(), "client {client} joined");
        self.peers.add_client(client, handle);
    }

    /// Handles a client's message.
    ///
    /// # Errors
    /// The reason to close its connection.
    pub(super) fn on_client_message(
        &mut self,
        client: ClientId,
        message: FromClient,
        permit: Permit,
    ) -> Result<(), String> {
        match message {
            FromClient::Heartbeat => {}
            FromClient::Submit { key, spec, schema, train, test, state, settings, replay } => {
                let request = Request { key, spec, schema, train, test, state, settings, replay };
                return self.submit(client, request);
            }
            FromClient::Resume { run, settings, fork } => self.resume(client, run, settings, fork),
            FromClient::Chunk { split, chunk, payload } => {
                let folder = self.journal.as_ref().map(|journal| journal.config().folder.clone());
                let place = (split, chunk);
                let effects = self.intake.on_chunk(client, place, payload, folder, permit)?;
                self.perform_intake(client, effects);
            }
            FromClient::StateSegment { segment, payload } => {
                let effects = self.intake.on_state_segment(client, segment, &payload)?;
                self.perform_intake(client, effects);
            }
            FromClient::Follow { run } => self.follow(client, run),
            FromClient::Fetch { run } => self.fetch(client, run, permit),
            FromClient::Cancel { run } => self.cancel(client, run),
            FromClient::Status => {
                let status = self.status();
                self.peers.send_client(client, ToClient::Status(status));
            }
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, client: ClientId, bad_input: bool, reason: String) {
        info!("a request of client {client} is rejected: {reason}");
        self.peers.send_client(client, ToClient::Rejected { bad_input, reason });
    }

    pub(super) fn reject_unknown(&mut self, client: ClientId, run: RunId) {
        let reason = format!("run {run} is unknown: `coordinator status` lists the runs");
        self.reject(client, true, reason);
    }

    fn cancel(&mut self, client: ClientId, run: RunId) {
        let Some(cancelled) = self.runs.get(run) else {
            return self.reject_unknown(client, run);
        };
        if cancelled.is_rereading() {
            // The records of its end are about to be removed from disk.
            let reason = format!("run {run} is being resumed: cancel it once it is queued");
            return self.reject(client, false, reason);
        }
        if cancelled.is_aside() {
            return self.cancel_aside(client, run);
        }
        if cancelled.phase().is_over() {
            self.keep_outcome_again(run);
        } else {
            // The scheduler does not know a run that was put off.
            self.queue_all_put_off();
            self.tell(scheduler::Event::RunCancelled { run });
        }
        // The client is told once the end is on disk.
        if !self.runs.get_mut(run).is_some_and(|run| run.wait_for_ending(client)) {
            self.peers.send_client(client, ToClient::Cancelled { run });
        }
    }

    /// Ends a run that is set aside: it does not continue when the cause is repaired.
    fn cancel_aside(&mut self, client: ClientId, run: RunId) {
        let Some(aside) = self.runs.get_mut(run) else { return };
        if aside.submission_record().is_none() {
            let reason = format!(
                "run {run} is set aside, and its records cannot be read: they cannot \
                 be changed either; repair or remove its folder"
            );
            return self.reject(client, false, reason);
        }
        aside.end_aside();
        self.end_run(run, RunEnd::Cancelled, RunEvent::Cancelled { run });
        if let Some(run) = self.runs.get_mut(run) {
            run.wait_for_ending(client);
        }
    }
}
