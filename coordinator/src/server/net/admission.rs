//! Admission: which peers are accepted, how long a handshake may take, and how refused peers are
//! logged.
//!
//! ```text
//! accept ─▶ pending ─▶ first byte ─▶ TLS, with keys ─▶ hello ─▶ connection
//!            │            └──────────────┴────────────────┴─▶ refused
//!            └─▶ when full, the oldest is evicted
//! ```
//!
//! | file | what |
//! |---|---|
//! | `limits` | how many connections the system allows |
//! | `pending` | connections that have not finished the handshake |
//! | `refusals` | refused peers: counted, and logged at a limited rate |

mod limits;
mod pending;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::WorkerId;
use common::keys::Member;
use common::limits::{HANDSHAKE_FRAME_BYTES, HANDSHAKE_TIMEOUT};
use common::wire::FramePool;
use common::wire::codec::{FrameReader, encode, write};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{Hello, Role, Welcome};
use common::wire::stream::{self, Reader, Writer};
use common::wire::tls::{self, CoordinatorTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

pub(in crate::server) use self::limits::ConnectionLimits;
use self::pending::{PendingHandshake, PendingHandshakes};
pub(in crate::server) use self::refusals::Refusals;
use super::connection::{Accepted, Identity, Seat, serve};
use super::event::Event;
use super::outbox::CLOSE_GRACE;
use super::peer::{ActivityReader, ClientId, LastActivity, WorkerInfo};
use super::sharing::MemorySharing;

/// The answer to a peer without keys if the coordinator has keys.
const NEEDS_KEYS: &str =
    "this coordinator asks for the cluster's keys: give --keys FILE (`coordinator keys` made it)";

/// The answer to a peer with keys if the coordinator has none.
const HAS_NO_KEYS: &str = "it speaks TLS, and this coordinator has no keys: \
                           start `coordinator serve` with --keys FILE too, or this peer without";

/// Bytes that are read from a refused peer before its connection is closed.
const PARTING_BYTES: u64 = 64 << 10;

/// Data that all connections share.
#[derive(Debug)]
pub(in crate::server) struct Admission {
    events: mpsc::Sender<Event>,
    heartbeat_timeout: Duration,
    pub(in crate::server) started: Instant,
    /// Memory of frames, shared by all connections.
    spare: FramePool,
    next_id: AtomicU64,
    tls: Option<CoordinatorTls>,
    pending: Arc<PendingHandshakes>,
    /// Connection slots of authenticated peers, and the number that workers may take.
    known: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    limits: ConnectionLimits,
    refusals: Arc<Refusals>,
    /// Memory for workers on this host.
    sharing: Option<Arc<MemorySharing>>,
}

impl Admission {
    /// `heartbeat_timeout` is sent to workers; without `tls`, every peer is accepted.
    pub(in crate::server) fn new(
        events: mpsc::Sender<Event>,
        heartbeat_timeout: Duration,
        tls: Option<CoordinatorTls>,
        limits: ConnectionLimits,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            events,
            heartbeat_timeout,
            started: Instant::now(),
            spare: FramePool::default(),
            next_id: AtomicU64::new(1),
            tls,
            pending: Arc::new(PendingHandshakes::new(limits.handshakes)),
            known: Arc::new(Semaphore::new(limits.connections)),
            workers: Arc::new(Semaphore::new(limits.workers())),
            limits,
            refusals,
            sharing: None,
        }
    }

    /// Offers workers to share memory.
    pub(in crate::server) fn with_sharing(self, sharing: Option<Arc<MemorySharing>>) -> Self {
        Self { sharing, ..self }
    }

    /// A handshake for a new connection; if all slots are taken, the oldest connection is dropped.
    pub(in crate::server) fn begin_handshake(&self) -> PendingHandshake {
        self.pending.add()
    }

    /// Serves one connection until it ends.
    pub(in crate::server) async fn receive(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        mut handshake: PendingHandshake,
    ) {
        let admitted = tokio::select! {
            admitted = self.admit(stream) => admitted,
            () = handshake.evicted() => {
                Err("it had not finished its handshake when others connected".into())
            },
        };
        drop(handshake);
        match admitted {
            Ok(accepted) => self.serve(accepted, address).await,
            Err(reason) => self.refusals.note(address, &reason),
        }
    }

    /// Serves an accepted peer until its connection ends.
    pub(in crate::server) async fn serve<R, W>(&self, accepted: Accepted<R, W>, address: SocketAddr)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        serve(&self.events, accepted, address, self.sharing.as_ref()).await;
    }

    /// Accepts a peer of the cluster, or returns the reason for refusing it.
    async fn admit(&self, stream: TcpStream) -> Result<Accepted<Reader, Writer>, String> {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let first = timeout_at(deadline, first_byte(&stream)).await;
        let wrong = match (&self.tls, first.unwrap_or(Err(HandshakeError::Timeout))) {
            (Some(tls), Ok(tls::FIRST_BYTE)) => {
                let activity = Arc::new(LastActivity::new(self.started));
                let (member, reader, writer) =
                    secure(tls, stream, deadline, activity.clone()).await?;
                return self.greet((reader, activity), writer, Some(member), deadline).await;
            }
            (None, Ok(byte)) if byte != tls::FIRST_BYTE => {
                let activity = Arc::new(LastActivity::new(self.started));
                let (reader, writer) = stream::plain(stream);
                return self.greet((reader, activity), writer, None, deadline).await;
            }
            (Some(_), Ok(_)) => NEEDS_KEYS.to_owned(),
            (None, Ok(_)) => HAS_NO_KEYS.to_owned(),
            (_, Err(error)) => error.to_string(),
        };
        let (mut reader, mut writer) = stream::plain(stream);
        let refusal = Refusal { reason: wrong, may_pass: false };
        turn_away(&mut reader, &mut writer, &refusal).await;
        Err(refusal.reason)
    }

    /// Does the handshake with a peer whose certificate is for `member`, or with an anonymous peer
    /// if there are no keys. A refused peer is told the reason.
    pub(in crate::server) async fn greet<R, W>(
        &self,
        (reader, activity): (R, Arc<LastActivity>),
        mut writer: W,
        member: Option<Member>,
        deadline: Instant,
    ) -> Result<Accepted<R, W>, String>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let reader = ActivityReader { inner: reader, activity: activity.clone() };
        let mut frames =
            FrameReader::new(reader, HANDSHAKE_FRAME_BYTES).with_spare(self.spare.clone());
        let (hello, seat) = match self.judge(&mut frames, member, deadline).await {
            Ok(known) => known,
            Err(refusal) => {
                turn_away(frames.stream_mut(), &mut writer, &refusal).await;
                return Err(refusal.reason);
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (worker, identity) = match hello.role {
            Role::Client => (None, Identity::Client(ClientId(id))),
            Role::Worker { name, process, slots, memory_limit, cache_limit } => {
                let worker = WorkerId(id);
                let info = WorkerInfo { name, process, slots, memory_limit, cache_limit };
                (Some(worker), Identity::Worker(worker, info))
            }
        };
        let heartbeat_timeout_ms = (self.heartbeat_timeout.as_millis() as u64).max(1);
        let build = handshake::BUILD.into();
        let welcome = encode(Welcome::Accepted { build, worker, heartbeat_timeout_ms });
        match timeout_at(deadline + CLOSE_GRACE, write(&mut writer, &welcome)).await {
            Ok(Ok(())) => Ok(Accepted { identity, frames, writer, activity, seat }),
            Ok(Err(error)) => Err(format!("connection: {error}")),
            Err(_) => Err("it does not read the answer".into()),
        }
    }

    /// Reads a peer's hello, and takes a slot for the peer if it is to be accepted.
    async fn judge<R: AsyncRead + Unpin>(
        &self,
        frames: &mut FrameReader<R>,
        member: Option<Member>,
        deadline: Instant,
    ) -> Result<(Hello, Seat), Refusal> {
        let hello = handshake::hear_until(frames, deadline).await.map_err(|error| {
            let may_pass = error.may_pass();
            Refusal { reason: error.to_string(), may_pass }
        })?;
        handshake::judge_member(member, &hello.role)
            .map_err(|reason| Refusal { reason, may_pass: false })?;
        let seat = self
            .seat(matches!(hello.role, Role::Worker { .. }))
            .map_err(|reason| Refusal { reason, may_pass: true })?;
        Ok((hello, seat))
    }
}

impl Admission {
    /// A connection slot for an authenticated peer.
    fn seat(&self, is_worker: bool) -> Result<Seat, String> {
        let take = |room: &Arc<Semaphore>, most: usize, what: &str| {
            room.clone().try_acquire_owned().map_err(|_| {
                format!("the coordinator has {most} {what}, which is as many as it may have")
            })
        };
        let _worker = if is_worker {
            Some(take(&self.workers, self.limits.workers(), "workers")?)
        } else {
            None
        };
        Ok(Seat {
            _connection: take(&self.known, self.limits.connections, "connections")?,
            _worker,
        })
    }
}

/// The reason for refusing a peer.
#[derive(Clone)]
struct Refusal {
    reason: String,
    /// Whether the peer may succeed if it tries again unchanged.
    may_pass: bool,
}

/// Peeks at the first byte of a connection.
async fn first_byte(stream: &TcpStream) -> Result<u8, HandshakeError> {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(1..) => Ok(byte[0]),
        _ => Err(HandshakeError::Closed),
    }
}

/// Starts TLS on a connection, with a member of the cluster as the peer.
async fn secure(
    tls: &CoordinatorTls,
    stream: TcpStream,
    deadline: Instant,
    activity: Arc<LastActivity>,
) -> Result<(Member, Reader, Writer), String> {
    // Bytes of an incomplete TLS record are a sign of life as well.
    let shaken = timeout_at(deadline, tls.shake_hands(stream, move || activity.touch())).await;
    match shaken.map_err(|_| HandshakeError::Timeout.to_string())? {
        Ok(handshake) => {
            let member = handshake.member;
            let (reader, writer) = handshake.split();
            Ok((member, reader, writer))
        }
        Err((error, mut stream)) => {
            part(&mut stream).await;
            Err(tls::of_coordinator(&error))
        }
    }
}

/// Tells a peer why it is refused.
async fn turn_away<R, W>(reader: &mut R, writer: &mut W, refusal: &Refusal)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let told = async {
        // The peer may be gone, or may not understand the message; the log has the reason.
        let Refusal { reason, may_pass } = refusal.clone();
        let _ = write(writer, &encode(Welcome::Refused { reason, may_pass })).await;
        let _ = writer.shutdown().await;
        drain(reader).await;
    };
    let _ = timeout(CLOSE_GRACE, told).await;
}

/// Closes a connection after its peer was told the reason.
async fn part(stream: &mut TcpStream) {
    let parted = async {
        let _ = stream.shutdown().await;
        drain(stream).await;
    };
    let _ = timeout(CLOSE_GRACE, parted).await;
}

/// Reads from a peer until it closes. Closing a socket with unread bytes would discard bytes
/// already written to it.
async fn drain<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut rest = [0; 1024];
    let mut reader = reader.take(PARTING_BYTES);
    while matches!(reader.read(&mut rest).await, Ok(1..)) {}
}
