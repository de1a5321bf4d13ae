//! Ends of connections: the message to the peer, the event for the scheduler, and the log line.

use common::id::WorkerId;
use common::wire::event::TOLD;
use tracing::{debug, info, warn};

use super::Engine;
use crate::scheduler::{self, Departure};
use crate::server::net::{CLOSED_BY_PEER, ClientId, Farewell, Peer};

/// Severity of the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing is lost.
    Harmless,
    /// Something went wrong.
    Lost,
}

impl Engine {
    /// Closes a worker's connection for a cause, and tells the scheduler.
    pub(super) fn close_worker(&mut self, worker: WorkerId, how: Departure, cause: &str) {
        let farewell = match how {
            Departure::Left => Farewell::None,
            Departure::Parted => Farewell::Alive,
            Departure::Crashed | Departure::Silent => Farewell::Lost,
        };
        let is_idle = self.step.active().is_none() && cause == CLOSED_BY_PEER;
        let is_harmless = how == Departure::Left || is_idle;
        let loss = if is_harmless { Loss::Harmless } else { Loss::Lost };
        let Some(ended) = self.peers.end_worker(worker, farewell, cause) else { return };
        log_closed(Peer::Worker(worker), ended.name(), ended.address(), loss, cause);
        self.step.forget(worker);
        let reason = cause.to_owned();
        self.tell(scheduler::Event::WorkerGone { worker, how, reason });
        self.publish_queued();
    }

    /// Closes the connection of a worker that the scheduler has given up.
    pub(super) fn disconnect(&mut self, worker: WorkerId, reason: &str) {
        let Some(ended) = self.peers.end_worker(worker, Farewell::Lost, reason) else { return };
        log_closed(Peer::Worker(worker), ended.name(), ended.address(), Loss::Lost, reason);
        self.step.forget(worker);
    }

    /// Closes a client's connection for a cause.
    pub(super) fn close_client(&mut self, client: ClientId, cause: &str) {
        let Some(address) = self.peers.end_client(client, cause) else { return };
        let loss = if cause == CLOSED_BY_PEER { Loss::Harmless } else { Loss::Lost };
        log_closed(Peer::Client(client), "", &address, loss, cause);
        self.intake.forget(client);
        self.resuming.remove(&client);
        self.stop_following(client);
    }
}

/// Logs the end of a connection.
fn log_closed(peer: Peer, name: &str, address: &str, loss: Loss, cause: &str) {
    match (peer, loss) {
        (Peer::Worker(_), Loss::Harmless) => {
            info!(target: TOLD, peer = %address, "{peer} ({name}) left: {cause}");
        }
        (Peer::Client(_), Loss::Harmless) => debug!(peer = %address, "{peer} left: {cause}"),
        (Peer::Worker(_), Loss::Lost) => {
            warn!(target: TOLD, peer = %address, "{peer} ({name}) is lost: {cause}");
        }
        (Peer::Client(_), Loss::Lost) => warn!(peer = %address, "{peer} is lost: {cause}"),
    }
}
