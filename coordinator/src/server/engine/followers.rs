//! Events for the clients that follow a run.

use common::id::{RunId, WorkerId};
use common::run_state::RunState;
use common::wire::event::TOLD;
use common::wire::message::RunEvent;
use common::worker_event::WorkerEvent;
use tracing::{debug, info, warn};

use super::Engine;
use crate::ledger::EventKind;
use crate::scheduler;
use crate::server::net::{ClientId, Worker};
use crate::server::run_table::Run;

impl Engine {
    /// Sends a run's events from its beginning, and all later ones.
    pub(super) fn follow(&mut self, client: ClientId, run: RunId) {
        let Some(followed) = self.runs.get_mut(run) else {
            return self.reject_unknown(client, run);
        };
        self.peers.send_events(client, followed.follow(client));
    }

    /// Handles the loss of a client. A replay is cancelled when nobody follows it any more.
    pub(super) fn stop_following(&mut self, client: ClientId) {
        for run in self.runs.unfollow(client) {
            info!("run {run} is cancelled: nobody follows the replay any more");
            self.tell(scheduler::Event::RunCancelled { run });
        }
    }

    /// Keeps an event of a run, and sends it to all followers.
    pub(super) fn publish(&mut self, run: RunId, event: RunEvent) {
        let Some((frame, followers)) = self.runs.record(run, event) else { return };
        for client in followers {
            self.peers.send_events(client, std::iter::once(frame.clone()));
        }
    }

    /// Tells the followers of the next run in the queue what it waits for.
    pub(super) fn publish_queued(&mut self) {
        if let Some(run) = self.runs.first_queued() {
            self.publish_waiting(run);
        }
    }

    /// Tells the followers of a queued run what it waits for.
    pub(super) fn publish_waiting(&mut self, run: RunId) {
        let goes_first = |other: &&Run| {
            let may_start = self.has_workers_for(other) || other.phase() == RunState::Running;
            !other.phase().is_over() && may_start
        };
        let ahead = self.runs.before(run).filter(goes_first).count() as u64;
        let Some(min_workers) = self.runs.get(run).map(Run::min_workers) else { return };
        let workers = self.peers.worker_count() as u32;
        self.publish(run, RunEvent::Queued { run, ahead, workers, min_workers });
    }

    /// Records, logs and publishes an event of a worker.
    pub(super) fn publish_note(
        &mut self,
        run: RunId,
        worker: WorkerId,
        what: WorkerEvent,
        mut detail: String,
    ) {
        let about = self.peers.known_worker(worker);
        if what == WorkerEvent::Lost
            && let Some(memory) = about.and_then(Worker::memory_at_last)
        {
            detail = format!("{detail}; {memory}");
        }
        let worker = about.map_or_else(|| worker.to_string(), |about| about.name().to_owned());
        self.record_event(run, EventKind::Worker(what), Some(worker.clone()), detail.clone());
        match what {
            // Nobody loses by it.
            WorkerEvent::Duplicate => return,
            WorkerEvent::Slow | WorkerEvent::Failed | WorkerEvent::Cannot => {
                warn!(target: TOLD, "run {run}: worker {worker} {what}: {detail}")
            }
            // This was logged when the connection began or ended.
            _ => debug!("run {run}: worker {worker} {what}: {detail}"),
        }
        self.publish(run, RunEvent::Worker { run, worker, what, detail });
    }
}
