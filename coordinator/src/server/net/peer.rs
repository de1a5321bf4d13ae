//! One peer: its identity, the time of its last bytes, and the engine's side of its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::id::{ProcessId, WorkerId};
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{ToClient, ToWorker};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::outbox::Outbox;

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) struct ClientId(pub(in crate::server) u64);

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A connected peer: a worker or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Peer {
    Worker(WorkerId),
    Client(ClientId),
}

impl Peer {
    /// The last message to the peer, with the reason for closing.
    pub(in crate::server) fn goodbye(self, reason: &str) -> Frame {
        let reason = reason.to_owned();
        match self {
            Self::Worker(_) => encode(ToWorker::Goodbye { reason }),
            Self::Client(_) => encode(ToClient::Goodbye { reason }),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(id) => write!(f, "worker {id}"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// A worker's own description from the handshake.
#[derive(Clone, Debug)]
pub(in crate::server) struct WorkerInfo {
    pub(in crate::server) name: String,
    pub(in crate::server) process: ProcessId,
    /// Shards that it runs at the same time.
    pub(in crate::server) slots: u32,
    /// Bytes.
    pub(in crate::server) memory_limit: u64,
    /// Bytes of examples that it keeps.
    pub(in crate::server) cache_limit: u64,
}

/// A message's share of the bytes that its connection may have waiting for the engine; released
/// when the message is handled. A peer that sends faster than it is served is held up by this.
pub(in crate::server) type Permit = OwnedSemaphorePermit;

/// The time at which bytes last came from a peer, in ms since the server's start.
#[derive(Debug)]
pub(in crate::server) struct LastActivity {
    since: Instant,
    at: AtomicU64,
}

impl LastActivity {
    pub(in crate::server) fn new(since: Instant) -> Self {
        let activity = Self { since, at: AtomicU64::new(0) };
        activity.touch();
        activity
    }

    /// Restarts the peer's silence now.
    pub(in crate::server) fn touch(&self) {
        self.at.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Notes bytes that came this many milliseconds after the server's start.
    #[cfg(test)]
    pub(in crate::server) fn set(&self, at: u64) {
        self.at.store(at, Ordering::Relaxed);
    }

    /// Milliseconds from the server's start to the last bytes.
    pub(in crate::server) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Time since the last bytes.
    pub(in crate::server) fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.at()))
    }
}

/// A stream that notes when bytes arrive: half a frame is a sign of life as well.
#[derive(Debug)]
pub(in crate::server) struct ActivityReader<R> {
    pub(in crate::server) inner: R,
    pub(in crate::server) activity: Arc<LastActivity>,
}

impl<R: AsyncRead + Unpin> AsyncRead for ActivityReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }
}

/// The engine's side of a connection. The connection ends when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Handle {
    outbox: Arc<Outbox>,
    activity: Arc<LastActivity>,
    address: String,
    /// Whether a message was queued in this turn of the engine.
    pub(super) is_dirty: bool,
}

impl Handle {
    pub(in crate::server) fn new(
        outbox: Arc<Outbox>,
        activity: Arc<LastActivity>,
        address: String,
    ) -> Self {
        Self { outbox, activity, address, is_dirty: false }
    }

    /// The queue of the connection.
    pub(in crate::server) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The time at which bytes last came.
    pub(in crate::server) fn activity(&self) -> &LastActivity {
        &self.activity
    }

    /// The address that the peer connected from.
    pub(in crate::server) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}
