//! The door: who is let in, how long that may take, and what is said of those
//! who are not.
//!
//! ```text
//! accept ─▶ threshold ─▶ first byte ─▶ TLS, with keys ─▶ hello ─▶ connection
//!            │            └──────────────┴────────────────┴─▶ turned away
//!            └─▶ the oldest goes where it is full
//! ```
//!
//! | file | what |
//! |---|---|
//! | `bounds` | how many connections the system allows |
//! | `threshold` | those who have not said who they are |
//! | `refusals` | those who were turned away: counted, and logged now and then |

mod bounds;
mod refusals;
mod threshold;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::WorkerId;
use common::keys::Member;
use common::limits::{HANDSHAKE_FRAME_BYTES, HANDSHAKE_TIMEOUT};
use common::wire::SpareFrames;
use common::wire::codec::{FrameReader, encode, write};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{Hello, Role, Welcome};
use common::wire::stream::{self, Reader, Writer};
use common::wire::tls::{self, CoordinatorTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::Config;
use super::connection::{ClientId, Heard, Introduction, LAST_WORDS, Stamped};
use super::engine::Event;
pub(super) use bounds::Bounds;
pub(super) use refusals::Refusals;
use threshold::{Place, Threshold};

/// What somebody without keys is told by a coordinator that has some.
const NEEDS_KEYS: &str =
    "this coordinator asks for the cluster's keys: give --keys FILE (`coordinator keys` made it)";

/// What somebody with keys is told by a coordinator that has none.
const HAS_NO_KEYS: &str = "it speaks TLS, and this coordinator has no keys: \
                           start `coordinator serve` with --keys FILE too, or this peer without";

/// Bytes that are heard of somebody who was turned away.
const PARTING_BYTES: u64 = 64 << 10;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) heartbeat_timeout: Duration,
    pub(super) started: Instant,
    /// Memory of frames, shared by all connections.
    spare: SpareFrames,
    next_id: AtomicU64,
    tls: Option<CoordinatorTls>,
    threshold: Arc<Threshold>,
    /// Room for those who are known, and how much of it workers may take.
    known: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    bounds: Bounds,
    pub(super) refusals: Arc<Refusals>,
}

/// Somebody who was let in.
#[derive(Debug)]
pub(super) struct Guest<R, W> {
    pub(super) who: Greeted,
    pub(super) frames: FrameReader<Stamped<R>>,
    pub(super) writer: W,
    pub(super) heard: Arc<Heard>,
    /// Its part of the room, for as long as it is here.
    pub(super) room: Seat,
}

/// A part of the room for those who are known, and of what workers may take of it.
#[derive(Debug)]
pub(super) struct Seat {
    _known: OwnedSemaphorePermit,
    _worker: Option<OwnedSemaphorePermit>,
}

/// A peer after the handshake.
#[derive(Debug)]
pub(super) enum Greeted {
    Worker { worker: WorkerId, about: Introduction },
    Client(ClientId),
}

impl Door {
    pub(super) fn new(events: mpsc::Sender<Event>, config: &Config, bounds: Bounds) -> Self {
        Self {
            events,
            heartbeat_timeout: config.scheduler.heartbeat_timeout,
            started: Instant::now(),
            spare: SpareFrames::default(),
            next_id: AtomicU64::new(1),
            tls: config.tls.clone(),
            threshold: Arc::new(Threshold::new(bounds.handshakes)),
            known: Arc::new(Semaphore::new(bounds.connections)),
            workers: Arc::new(Semaphore::new(bounds.workers())),
            bounds,
            refusals: Arc::new(Refusals::default()),
        }
    }

    /// A place for somebody who has just come; where there is none, the oldest
    /// one goes.
    pub(super) fn enter(&self) -> Place {
        self.threshold.enter()
    }

    /// Serves one connection to its end.
    pub(super) async fn receive(&self, stream: TcpStream, address: SocketAddr, mut place: Place) {
        let admitted = tokio::select! {
            admitted = self.admit(stream) => admitted,
            () = place.lost() => Err("it had not said who it is when others came".into()),
        };
        drop(place);
        match admitted {
            Ok(guest) => self.serve(guest, address).await,
            Err(reason) => self.refusals.note(address, &reason),
        }
    }

    /// Lets a peer of the cluster in, or says why not.
    async fn admit(&self, stream: TcpStream) -> Result<Guest<Reader, Writer>, String> {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let first = timeout_at(deadline, first_byte(&stream)).await;
        let wrong = match (&self.tls, first.unwrap_or(Err(HandshakeError::Timeout))) {
            (Some(tls), Ok(tls::FIRST_BYTE)) => {
                let heard = Arc::new(Heard::new(self.started));
                let (member, reader, writer) = secure(tls, stream, deadline, heard.clone()).await?;
                return self.greet((reader, heard), writer, Some(member), deadline).await;
            }
            (None, Ok(byte)) if byte != tls::FIRST_BYTE => {
                let heard = Arc::new(Heard::new(self.started));
                let (reader, writer) = stream::plain(stream);
                return self.greet((reader, heard), writer, None, deadline).await;
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

    /// Shakes hands with a peer whose certificate is of `member`; where there
    /// are no keys, of nobody. One that is refused is told why.
    pub(super) async fn greet<R, W>(
        &self,
        (reader, heard): (R, Arc<Heard>),
        mut writer: W,
        member: Option<Member>,
        deadline: Instant,
    ) -> Result<Guest<R, W>, String>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let reader = Stamped { inner: reader, heard: heard.clone() };
        let mut frames =
            FrameReader::new(reader, HANDSHAKE_FRAME_BYTES).with_spare(self.spare.clone());
        let (hello, room) = match self.judge(&mut frames, member, deadline).await {
            Ok(known) => known,
            Err(refusal) => {
                turn_away(frames.stream_mut(), &mut writer, &refusal).await;
                return Err(refusal.reason);
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (worker, who) = match hello.role {
            Role::Client => (None, Greeted::Client(ClientId(id))),
            Role::Worker { name, process, slots, memory_limit, cache_limit } => {
                let worker = WorkerId(id);
                let about = Introduction { name, process, slots, memory_limit, cache_limit };
                (Some(worker), Greeted::Worker { worker, about })
            }
        };
        let heartbeat_timeout_ms = (self.heartbeat_timeout.as_millis() as u64).max(1);
        let build = handshake::BUILD.into();
        let welcome = encode(Welcome::Accepted { build, worker, heartbeat_timeout_ms });
        match timeout_at(deadline + LAST_WORDS, write(&mut writer, &welcome)).await {
            Ok(Ok(())) => Ok(Guest { who, frames, writer, heard, room }),
            Ok(Err(error)) => Err(format!("connection: {error}")),
            Err(_) => Err("it does not read the answer".into()),
        }
    }

    /// A peer's introduction, and room for it, if it is to be let in.
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

impl Door {
    /// A seat for a peer that is known.
    fn seat(&self, is_worker: bool) -> Result<Seat, String> {
        let take = |room: &Arc<Semaphore>, most: usize, what: &str| {
            room.clone().try_acquire_owned().map_err(|_| {
                format!("the coordinator has {most} {what}, which is as many as it may have")
            })
        };
        let _worker = match is_worker {
            true => Some(take(&self.workers, self.bounds.workers(), "workers")?),
            false => None,
        };
        Ok(Seat { _known: take(&self.known, self.bounds.connections, "connections")?, _worker })
    }
}

/// Why a peer is not let in.
#[derive(Clone)]
struct Refusal {
    reason: String,
    /// Whether trying again as it is may help.
    may_pass: bool,
}

/// The first byte of a connection, which stays to be read.
async fn first_byte(stream: &TcpStream) -> Result<u8, HandshakeError> {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(1..) => Ok(byte[0]),
        _ => Err(HandshakeError::Closed),
    }
}

/// TLS around a connection, with a member of the cluster at its other end.
async fn secure(
    tls: &CoordinatorTls,
    stream: TcpStream,
    deadline: Instant,
    heard: Arc<Heard>,
) -> Result<(Member, Reader, Writer), String> {
    // A record that comes slowly is a sign of life before it is whole.
    let shaken = timeout_at(deadline, tls.shake_hands(stream, move || heard.stamp())).await;
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

/// Tells a peer why it is not let in.
async fn turn_away<R, W>(reader: &mut R, writer: &mut W, refusal: &Refusal)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let told = async {
        // It may be gone, or may not understand: the log has it.
        let Refusal { reason, may_pass } = refusal.clone();
        let _ = write(writer, &encode(Welcome::Refused { reason, may_pass })).await;
        let _ = writer.shutdown().await;
        hear_out(reader).await;
    };
    let _ = timeout(LAST_WORDS, told).await;
}

/// Ends a connection whose peer has been told why.
async fn part(stream: &mut TcpStream) {
    let parted = async {
        let _ = stream.shutdown().await;
        hear_out(stream).await;
    };
    let _ = timeout(LAST_WORDS, parted).await;
}

/// Hears a peer until it closes. A socket that is closed with bytes unread
/// takes back what was written to it.
async fn hear_out<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut rest = [0; 1024];
    let mut reader = reader.take(PARTING_BYTES);
    while matches!(reader.read(&mut rest).await, Ok(1..)) {}
}
