//! The ends of connections: what a peer is told of its own, and what the scheduler
//! and the log are.

use common::id::WorkerId;
use common::wire::event::TOLD;
use tracing::{debug, info, warn};

use super::connection::{CLOSED_BY_PEER, ClientId, Peer};
use super::engine::Engine;
use crate::scheduler::{self, Departure};

/// What the end of a connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing is lost by it.
    Harmless,
    /// Something went wrong.
    Lost,
}

impl Engine {
    /// Ends a connection for a cause. How its peer went matters of workers alone.
    pub(super) fn close(&mut self, peer: Peer, how: Departure, cause: &str) {
        match peer {
            Peer::Worker(worker) => self.close_worker(worker, how, cause),
            Peer::Client(client) => self.close_client(client, cause),
        }
    }

    /// Ends a worker's connection for a cause, and tells the scheduler.
    pub(super) fn close_worker(&mut self, worker: WorkerId, how: Departure, cause: &str) {
        let Some(mut about) = self.workers.remove(&worker) else { return };
        let peer = Peer::Worker(worker);
        match how {
            Departure::Left => about.link.outbox.abort(),
            _ => about.link.outbox.part(peer.goodbye(cause)),
        }
        let is_idle = self.active.is_none() && cause == CLOSED_BY_PEER;
        let is_harmless = how == Departure::Left || is_idle;
        let loss = if is_harmless { Loss::Harmless } else { Loss::Lost };
        log_closed(peer, &about.name, &about.link.address, loss, cause);
        self.forget_requests(worker);
        about.has_parted = how == Departure::Parted;
        self.departed.insert(worker, about);
        let reason = cause.to_owned();
        self.tell(scheduler::Event::WorkerGone { worker, how, reason });
        self.publish_queued();
    }

    /// Ends a client's connection for a cause.
    pub(super) fn close_client(&mut self, client: ClientId, cause: &str) {
        let Some(about) = self.clients.remove(&client) else { return };
        let peer = Peer::Client(client);
        about.link.outbox.part(peer.goodbye(cause));
        let loss = if cause == CLOSED_BY_PEER { Loss::Harmless } else { Loss::Lost };
        log_closed(peer, "", &about.link.address, loss, cause);
        self.drop_upload(about.upload);
        self.stop_following(client);
    }

    /// Ends the connection of a worker that the scheduler has given up.
    pub(super) fn disconnect(&mut self, worker: WorkerId, reason: &str) {
        let Some(about) = self.workers.remove(&worker) else { return };
        let peer = Peer::Worker(worker);
        about.link.outbox.part(peer.goodbye(reason));
        self.forget_requests(worker);
        log_closed(peer, &about.name, &about.link.address, Loss::Lost, reason);
        self.departed.insert(worker, about);
    }

    /// Forgets what a lost worker was asked for.
    fn forget_requests(&mut self, worker: WorkerId) {
        if let Some(merge) = self.active.as_mut().and_then(|active| active.merge.as_mut()) {
            merge.forget(worker);
        }
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
