//! One connection after the handshake: a task that reads and one that writes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::id::{ProcessId, WorkerId};
use common::limits;
use common::wire::codec::{FrameReader, decode, encode};
use common::wire::message::{ToClient, ToWorker};
use common::wire::{Frame, FrameError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::door::{Door, Greeted, Guest};
use super::engine::Event;
use super::outbox::Outbox;

/// Bytes of one connection's messages that may wait for the engine.
const UNHANDLED_BYTES: usize = 2 * limits::FRAME_BYTES;

/// How long a peer's last words are waited for once nothing can be written to
/// it: they have arrived, or never will.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Cause of the end of a connection that the peer ended, between two frames.
pub(super) const CLOSED_BY_PEER: &str = "closed by the peer";

/// Cause of the end of a connection that was ended here.
const CLOSED_BY_US: &str = "closed by this side";

/// Why nothing more is read of a peer.
#[derive(Debug)]
struct End {
    cause: String,
    /// Whether it is there to hear the cause, as that lies in what it said.
    is_fault: bool,
}

impl End {
    fn gone(cause: &str) -> Self {
        Self { cause: cause.to_owned(), is_fault: false }
    }

    fn of(error: &FrameError) -> Self {
        let is_fault = !matches!(error, FrameError::Io(_) | FrameError::Truncated);
        Self { cause: error.to_string(), is_fault }
    }
}

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Worker(WorkerId),
    Client(ClientId),
}

impl Peer {
    /// What it is told last.
    pub(super) fn goodbye(self, reason: &str) -> Frame {
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
            Self::Client(id) => write!(f, "client {}", id.0),
        }
    }
}

/// Room that a message takes of its connection's share of the engine's queue;
/// given back when the message is handled. This is what holds up a peer that
/// sends faster than it is served.
pub(super) type Room = OwnedSemaphorePermit;

/// When bytes last came, in ms since the server's start.
#[derive(Debug)]
pub(super) struct Heard {
    since: Instant,
    at: AtomicU64,
}

impl Heard {
    pub(super) fn new(since: Instant) -> Self {
        let heard = Self { since, at: AtomicU64::new(0) };
        heard.stamp();
        heard
    }

    /// Begins the peer's silence now.
    pub(super) fn stamp(&self) {
        self.at.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Milliseconds from the server's start to the last bytes.
    pub(super) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Time since the last bytes.
    pub(super) fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.at()))
    }
}

/// The engine's side of a connection. The connection ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    /// What waits to be sent.
    pub(super) outbox: Arc<Outbox>,
    /// When bytes last came.
    pub(super) heard: Arc<Heard>,
    /// Where the peer connected from.
    pub(super) address: String,
    /// Whether something was queued in this turn of the engine.
    pub(super) dirty: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

/// A stream that notes when bytes come: half a frame is life as well.
#[derive(Debug)]
pub(super) struct Stamped<R> {
    pub(super) inner: R,
    pub(super) heard: Arc<Heard>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Stamped<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_ready() {
            self.heard.stamp();
        }
        polled
    }
}

impl Door {
    /// Serves one connection to its end.
    pub(super) async fn serve<R, W>(&self, guest: Guest<R, W>, address: SocketAddr)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let Guest { who, mut frames, writer, heard, room: _room } = guest;
        let outbox = Arc::new(Outbox::new());
        let address = address.to_string();
        let link = Link { outbox: outbox.clone(), heard, address, dirty: false };
        let (peer, joined) = match who {
            Greeted::Worker { worker, about } => {
                let joined = Event::WorkerJoined { worker, about, link };
                (Peer::Worker(worker), joined)
            }
            Greeted::Client(client) => (Peer::Client(client), Event::ClientJoined { client, link }),
        };
        if self.events.send(joined).await.is_err() {
            return;
        }
        let writing_outbox = outbox.clone();
        let mut writing = tokio::spawn(async move { writing_outbox.write_to(writer).await });
        let (cause, is_there) = tokio::select! {
            end = self.read(peer, &mut frames) => {
                match end.is_fault {
                    true => outbox.part(peer.goodbye(&end.cause)),
                    false => outbox.abort(),
                }
                (end.cause, end.is_fault)
            }
            written = &mut writing => match written {
                Ok(Err(error)) => {
                    // What the peer said before it closed is still to be read:
                    // it may be a goodbye.
                    let rest = self.read(peer, &mut frames);
                    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
                    (format!("writing failed: {error}"), false)
                }
                _ => (CLOSED_BY_US.to_owned(), true),
            },
        };
        // The engine may have gone before: then nobody asks.
        let _ = self.events.send(Event::Closed { peer, cause, is_there }).await;
        if is_there {
            if !writing.is_finished() {
                let _ = writing.await;
            }
            // A socket that is closed with bytes unread takes back what was
            // written to it.
            let mut nowhere = tokio::io::sink();
            let rest = tokio::io::copy(frames.stream_mut(), &mut nowhere);
            let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        }
    }

    /// Reads the peer's messages for as long as they are right, and says why
    /// there are no more.
    async fn read<R: AsyncRead + Unpin>(&self, peer: Peer, frames: &mut FrameReader<R>) -> End {
        let room = Arc::new(Semaphore::new(UNHANDLED_BYTES));
        loop {
            let content = match frames.next().await {
                Ok(Some(content)) => content,
                Ok(None) => return End::gone(CLOSED_BY_PEER),
                Err(error) => return End::of(&error),
            };
            let bytes = content.len().clamp(1, UNHANDLED_BYTES) as u32;
            let Ok(taken) = room.clone().acquire_many_owned(bytes).await else {
                return End::gone(CLOSED_BY_US);
            };
            match message(peer, &content, taken) {
                Ok(event) => {
                    if self.events.send(event).await.is_err() {
                        return End::gone(CLOSED_BY_US);
                    }
                }
                Err(error) => return End::of(&error),
            }
        }
    }
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    pub(super) name: String,
    pub(super) process: ProcessId,
    pub(super) slots: u32,
    /// Bytes.
    pub(super) memory_limit: u64,
    pub(super) cache_limit: u64,
}

/// A frame's content as the message that `peer` may send.
fn message(peer: Peer, content: &Bytes, room: Room) -> Result<Event, FrameError> {
    Ok(match peer {
        Peer::Worker(worker) => Event::FromWorker { worker, message: decode(content)?, room },
        Peer::Client(client) => Event::FromClient { client, message: decode(content)?, room },
    })
}
