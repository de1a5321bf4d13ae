//! Requests of clients for the status and for final states.

use std::sync::Arc;

use common::digest::Digest;
use common::id::RunId;
use common::limits;
use common::run_state::RunState;
use common::state::{NetworkState, shared_segment};
use common::wire::codec::encode;
use common::wire::handshake::BUILD;
use common::wire::message::{Status, ToClient, WorkerStatus};

use super::{Engine, Written};
use crate::server::net::{ClientId, Permit, StateFrames};
use crate::server::persistence::final_state;
use crate::server::run_table::{Provenance, Run};

/// A final state that was read for a client, and its source; `None` if it is no longer kept.
#[derive(Debug)]
pub(super) struct FinalState {
    client: ClientId,
    run: RunId,
    outcome: Result<Option<(Provenance, NetworkState, Digest)>, String>,
}

impl Engine {
    pub(super) fn status(&self) -> Status {
        let workers = self.peers.workers().take(limits::STATUS_WORKERS);
        let mut workers: Vec<WorkerStatus> = workers
            .map(|(worker, about)| about.status(worker, self.scheduler.is_set_aside(worker)))
            .collect();
        let unfit = workers.iter_mut().filter(|worker| worker.cannot.is_some());
        unfit.skip(limits::STATUS_UNFIT).for_each(|worker| worker.cannot = None);
        let history = self.journal.as_ref().map(|journal| journal.condition()).unwrap_or_default();
        Status {
            insecure: self.config.insecure,
            refused: self.refusals.count(),
            unrecorded: history.unrecorded,
            thinned: history.is_thinned,
            build: BUILD.into(),
            workers,
            runs: self.runs.iter().map(|run| run.status(self.waits_for(run))).collect(),
        }
    }

    /// Number of workers that a run may wait for: those that are not leaving.
    fn workers_to_count_on(&self) -> usize {
        self.peers.workers().filter(|(_, worker)| !worker.is_draining()).count()
    }

    /// Whether as many workers are connected as a run waits for.
    pub(super) fn has_workers_for(&self, run: &Run) -> bool {
        self.workers_to_count_on() >= run.min_workers().max(1) as usize
    }

    /// The condition that a queued run waits for.
    fn waits_for(&self, run: &Run) -> Option<String> {
        match (run.told_phase(), self.step.active()) {
            (RunState::Queued, _) if !self.has_workers_for(run) => {
                let (there, wanted) = (self.workers_to_count_on(), run.min_workers().max(1));
                Some(format!("workers: {there} of {wanted} connected"))
            }
            (RunState::Queued, Some(active)) => Some(format!("run {}", active.run())),
            _ => None,
        }
    }

    /// Sends a run's final state.
    pub(super) fn fetch(&mut self, client: ClientId, run: RunId, permit: Permit) {
        let Some(fetched) = self.runs.get(run) else { return self.reject_unknown(client, run) };
        let phase = fetched.told_phase();
        let (RunState::Finished, Some(digest)) = (phase, fetched.digest()) else {
            let name = phase.name();
            let reason = format!("run {run} is {name}: only a finished run has a final state");
            return self.reject(client, true, reason);
        };
        match (fetched.final_state(), &self.journal) {
            (Some((state, provenance)), _) => {
                self.send_state(client, run, provenance, &state, digest);
            }
            (None, Some(journal)) => journal.enqueue(move |folder| {
                let outcome = final_state(folder, run).map_err(|error| error.to_string());
                drop(permit);
                Written::FinalState(FinalState { client, run, outcome })
            }),
            (None, None) => self.reject_forgotten(client, run),
        }
    }

    fn reject_forgotten(&mut self, client: ClientId, run: RunId) {
        let reason = format!(
            "the final state of run {run} is no longer kept: run it again, it ends in the same \
             bits"
        );
        self.reject(client, false, reason);
    }

    /// Handles a final state that was read from the runs folder.
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
        Provenance { spec, schema, history }: Provenance,
        state: &Arc<NetworkState>,
        digest: Digest,
    ) {
        let (state, layout) = (state.clone(), state.layout());
        let segments = layout.state_segments();
        let history_bytes = history.len() as u64;
        let first = encode(ToClient::State { run, spec, schema, layout, digest, history_bytes });
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
        self.peers.send_state(client, frames);
    }
}
