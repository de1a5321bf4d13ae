//! Events that connections send to the engine.

use common::id::{Block, StepId, WorkerId};
use common::wire::message::{FromClient, FromWorker};
use common::wire::shared_memory::PartialSlot;

use super::peer::{ClientId, Handle, Peer, Permit, WorkerInfo};

/// Most events that may wait for the engine. Each connection's share is bounded separately (by its
/// [`Permit`]).
pub(in crate::server) const EVENTS: usize = 4096;

/// An event of a connection.
#[derive(Debug)]
pub(in crate::server) enum Event {
    /// A worker has finished its handshake.
    WorkerJoined { worker: WorkerId, info: WorkerInfo, handle: Handle },
    /// A client has finished its handshake.
    ClientJoined { client: ClientId, handle: Handle },
    /// A worker's message.
    FromWorker { worker: WorkerId, message: FromWorker, permit: Permit },
    /// A pulled segment of a worker's partial, by step, block and index, in shared memory.
    SegmentInMemory {
        worker: WorkerId,
        place: (StepId, Block, u32),
        slot: PartialSlot,
        permit: Permit,
    },
    /// A client's message.
    FromClient { client: ClientId, message: FromClient, permit: Permit },
    /// A connection has ended. If `by_us`, its peer was alive and is told the cause.
    Closed { peer: Peer, cause: String, by_us: bool },
}
