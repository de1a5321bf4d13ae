//! Connections: which peers are accepted, what is read and written, which peers are connected. This
//! room delivers messages to peers; it decides nothing about runs.
//!
//! ```text
//! admission ─▶ connection (reads, checks) ─▶ event ─▶ the engine
//!                   ▲                                    │
//!                 outbox (writes) ◀───────────────── peers
//! ```

mod admission;
mod connection;
mod event;
mod outbox;
mod peer;
mod peers;
mod sharing;
#[cfg(test)]
mod tests;
mod worker;

pub(super) use self::worker::Worker;
pub(super) use admission::{Admission, ConnectionLimits, Refusals};
pub(super) use connection::CLOSED_BY_PEER;
pub(super) use event::{EVENTS, Event};
#[cfg(test)]
pub(super) use outbox::Outbox;
pub(super) use outbox::{StateFrames, WAITING_EVENT_BYTES};
#[cfg(test)]
pub(super) use peer::LastActivity;
pub(super) use peer::{ClientId, Handle, Peer, Permit, WorkerInfo};
pub(super) use peers::{Farewell, Peers};
pub(super) use sharing::{MemorySharing, MemorySocket};
