//! One connection after the handshake: one task reads and one writes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::id::WorkerId;
use common::limits;
use common::wire::FrameError;
use common::wire::codec::{FrameReader, decode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::event::Event;
use super::outbox::{CLOSE_GRACE, Outbox};
use super::peer::{ActivityReader, ClientId, Handle, LastActivity, Peer, Permit, WorkerInfo};
use super::sharing::{MemorySharing, SharedLink};

/// Bytes of one connection's messages that may wait for the engine.
const UNHANDLED_BYTES: usize = 2 * limits::FRAME_BYTES;

/// The cause if the peer closed the connection, between two frames.
pub(in crate::server) const CLOSED_BY_PEER: &str = "closed by the peer";

/// The cause if the connection was closed here.
const CLOSED_BY_US: &str = "closed by this side";

/// The reason to stop reading from a peer.
#[derive(Debug)]
struct End {
    cause: String,
    /// Whether the peer can still receive the reason, because it lies in the peer's own message.
    is_fault: bool,
}

impl End {
    fn gone(cause: &str) -> Self {
        Self { cause: cause.to_owned(), is_fault: false }
    }

    /// Because of the peer's own message.
    fn fault(cause: String) -> Self {
        Self { cause, is_fault: true }
    }

    fn of(error: &FrameError) -> Self {
        let is_fault = !matches!(error, FrameError::Io(_) | FrameError::Truncated);
        Self { cause: error.to_string(), is_fault }
    }
}

/// An accepted peer, with its connection.
#[derive(Debug)]
pub(in crate::server) struct Accepted<R, W> {
    pub(super) identity: Identity,
    pub(super) frames: FrameReader<ActivityReader<R>>,
    pub(super) writer: W,
    pub(super) activity: Arc<LastActivity>,
    /// Its share of the connection limits, held while it is connected.
    pub(super) seat: Seat,
}

/// A share of the connection limits, and of the limit for workers.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) _connection: OwnedSemaphorePermit,
    pub(super) _worker: Option<OwnedSemaphorePermit>,
}

/// The identity of a peer, known from the handshake.
#[derive(Debug)]
pub(super) enum Identity {
    Worker(WorkerId, WorkerInfo),
    Client(ClientId),
}

/// Serves one connection until it ends. Workers are offered to share memory by `sharing`.
pub(in crate::server) async fn serve<R, W>(
    events: &mpsc::Sender<Event>,
    accepted: Accepted<R, W>,
    address: SocketAddr,
    sharing: Option<&Arc<MemorySharing>>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Accepted { identity, mut frames, writer, activity, seat: _seat } = accepted;
    let outbox = Arc::new(Outbox::new());
    let handle = Handle::new(outbox.clone(), activity, address.to_string());
    let (peer, joined) = match identity {
        Identity::Worker(worker, info) => {
            (Peer::Worker(worker), Event::WorkerJoined { worker, info, handle })
        }
        Identity::Client(client) => (Peer::Client(client), Event::ClientJoined { client, handle }),
    };
    if events.send(joined).await.is_err() {
        return;
    }
    let offer = match peer {
        Peer::Worker(_) => sharing.and_then(MemorySharing::offer),
        Peer::Client(_) => None,
    };
    let link = SharedLink::new(outbox.clone(), offer);
    let writing_outbox = outbox.clone();
    let mut writing = tokio::spawn(async move { writing_outbox.write_to(writer).await });
    let (cause, by_us) = tokio::select! {
        end = read(events, (peer, &link), &mut frames) => {
            if end.is_fault {
                outbox.part(peer.goodbye(&end.cause));
            } else {
                outbox.abort();
            }
            (end.cause, end.is_fault)
        }
        written = &mut writing => match written {
            Ok(Err(error)) => {
                // Messages that the peer sent before it closed are still read: one may be a
                // goodbye.
                let rest = read(events, (peer, &link), &mut frames);
                let _ = tokio::time::timeout(CLOSE_GRACE, rest).await;
                (format!("writing failed: {error}"), false)
            }
            _ => (CLOSED_BY_US.to_owned(), true),
        },
    };
    // If the engine has ended, the event is not needed.
    let _ = events.send(Event::Closed { peer, cause, by_us }).await;
    if by_us {
        if !writing.is_finished() {
            let _ = writing.await;
        }
        // Closing a socket with unread bytes would discard bytes already written to it.
        let mut nowhere = tokio::io::sink();
        let rest = tokio::io::copy(frames.stream_mut(), &mut nowhere);
        let _ = tokio::time::timeout(CLOSE_GRACE, rest).await;
    }
}

/// Reads the peer's messages as long as they are valid, and returns the reason to stop.
async fn read<R: AsyncRead + Unpin>(
    events: &mpsc::Sender<Event>,
    (peer, link): (Peer, &SharedLink),
    frames: &mut FrameReader<R>,
) -> End {
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
        match message((peer, link), &content, taken) {
            Ok(None) => {}
            Ok(Some(event)) => {
                if events.send(event).await.is_err() {
                    return End::gone(CLOSED_BY_US);
                }
            }
            Err(end) => return end,
        }
    }
}

/// Decodes a frame as a message that `peer` may send. Messages that are about the connection alone
/// are handled at once.
fn message(
    (peer, link): (Peer, &SharedLink),
    content: &Bytes,
    permit: Permit,
) -> Result<Option<Event>, End> {
    match peer {
        Peer::Worker(worker) => {
            let message = decode(content).map_err(|error| End::of(&error))?;
            link.on_message(worker, message, permit).map_err(End::fault)
        }
        Peer::Client(client) => {
            let message = decode(content).map_err(|error| End::of(&error))?;
            Ok(Some(Event::FromClient { client, message, permit }))
        }
    }
}
