//! What the connections tell the engine.

use common::id::WorkerId;
use common::wire::message::{FromClient, FromWorker};

use super::peer::{ClientId, Handle, Peer, Permit, WorkerInfo};

/// Events that may wait for the engine. What one connection may have among
/// them is bounded by itself (its [`Permit`]).
pub(in crate::server) const EVENTS: usize = 4096;

/// What happens on a connection.
#[derive(Debug)]
pub(in crate::server) enum Event {
    /// A worker has shaken hands.
    WorkerJoined { worker: WorkerId, info: WorkerInfo, handle: Handle },
    /// A client has shaken hands.
    ClientJoined { client: ClientId, handle: Handle },
    /// A worker's message.
    FromWorker { worker: WorkerId, message: FromWorker, permit: Permit },
    /// A client's message.
    FromClient { client: ClientId, message: FromClient, permit: Permit },
    /// A connection has ended. If `by_us`, its peer was alive, and is told the cause.
    Closed { peer: Peer, cause: String, by_us: bool },
}
