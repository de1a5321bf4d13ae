//! The handshake: a worker or client sends [`Hello`], the coordinator answers [`Welcome`].
//!
//! ```text
//! worker, client                coordinator
//!       ◀── TLS, with keys ────▶            ┐
//! ask   ── Hello ──────────────▶ hear      ┘ limits::HANDSHAKE_TIMEOUT
//!       ◀── Accepted | Refused ── codec::write
//! ```

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::id::WorkerId;
use crate::keys::Member;
use crate::limits::{FRAME_BYTES, HANDSHAKE_FRAME_BYTES, HANDSHAKE_TIMEOUT, NAME_BYTES, SLOTS};
use crate::wire::codec::{self, FrameError, FrameReader};
use crate::wire::message::{Hello, NUMERIC_PROFILE, PROTOCOL, Role, Welcome};
use crate::wire::stream::{self, Reader, Writer};
use crate::wire::tls::CallerTls;

/// The word by which a Samebit peer is recognised.
pub const MAGIC: &str = "samebit";

/// Version of this build, with `+` and its commit if that is known.
pub const BUILD: &str = env!("SAMEBIT_BUILD");

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The coordinator refuses the peer: a retry without a change does not help.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
    /// The coordinator refuses the peer at the moment: a retry may help.
    #[error("the coordinator refuses for now: {0}")]
    NotNow(String),
    /// The keys of both sides do not match: a retry helps only after one side has other keys.
    #[error("{0}")]
    Keys(String),
    /// The coordinator's certificate is not valid now: a retry helps once it is renewed.
    #[error("{0}")]
    Stale(String),
    /// The peer must not be admitted, and is sent this sentence.
    #[error("{0}")]
    Unfit(String),
    /// The peer sent no handshake in time.
    #[error("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The peer closed the connection.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The connection failed, or the peer does not speak this protocol.
    #[error("handshake: {0}")]
    Frame(#[from] FrameError),
}

impl HandshakeError {
    /// The error for the connecting side: a peer that sends nothing, or something else, may
    /// be another program.
    pub fn of_caller(&self) -> String {
        match self {
            Self::Frame(_) | Self::Timeout => {
                format!("{self}: check the address, as another program may be listening there")
            }
            _ => self.to_string(),
        }
    }

    /// Whether the same peer may be admitted in a retry: its handshake was damaged or late,
    /// but not wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotNow(_) | Self::Stale(_) | Self::Timeout | Self::Closed => true,
            Self::Frame(error) => !matches!(
                error,
                FrameError::Malformed { .. } | FrameError::Trailing(_) | FrameError::Field { .. }
            ),
            Self::Refused(_) | Self::Keys(_) | Self::Unfit(_) => false,
        }
    }
}

/// The fields of `Hello` in every version of the protocol.
#[derive(Deserialize)]
struct Greeting {
    magic: String,
    protocol: u32,
}

/// The content of `Welcome` for an accepted worker or client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Build of the coordinator.
    pub build: String,
    /// The worker's id; `None` for clients.
    pub worker: Option<WorkerId>,
    /// Silence after which either side counts the other as lost.
    pub heartbeat_timeout: Duration,
}

/// This build's `Hello`.
pub fn hello(role: Role) -> Hello {
    Hello {
        magic: MAGIC.into(),
        protocol: PROTOCOL,
        build: BUILD.into(),
        numeric_profile: NUMERIC_PROFILE.into(),
        role,
    }
}

/// Whether a peer is compatible with this build; if not, a sentence with what to change.
pub fn judge(hello: &Hello) -> Result<(), String> {
    judge_greeting(&hello.magic, hello.protocol)?;
    let peer = match &hello.role {
        Role::Worker { .. } => "worker",
        Role::Client => "client",
    };
    for (what, ours, theirs) in
        [("numeric profile", &NUMERIC_PROFILE.to_owned(), &hello.numeric_profile)]
    {
        if ours != theirs {
            return Err(format!(
                "the coordinator has {what} {ours:?}, the {peer} has {theirs:?}: \
                 install the same Samebit version ({BUILD}) on both"
            ));
        }
    }
    match &hello.role {
        Role::Worker { name, slots, memory_limit, .. } => judge_worker(name, *slots, *memory_limit),
        Role::Client => Ok(()),
    }
}

/// Whether a peer speaks this protocol; if not, a sentence with what to change.
fn judge_greeting(magic: &str, protocol: u32) -> Result<(), String> {
    if magic != MAGIC {
        return Err(format!(
            "expected a Samebit peer (magic {MAGIC:?}), found magic {magic:?}: \
             check which program connects to this port"
        ));
    }
    if protocol != PROTOCOL {
        return Err(format!(
            "the coordinator has protocol {PROTOCOL}, the peer has {protocol}: \
             install the same Samebit version ({BUILD}) on both"
        ));
    }
    Ok(())
}

/// Whether a peer has the role in its certificate; always true without certificates. If not, a
/// sentence with what to change.
pub fn judge_member(member: Option<Member>, role: &Role) -> Result<(), String> {
    let role = match role {
        Role::Worker { .. } => Member::Worker,
        Role::Client => Member::Client,
    };
    match member {
        Some(member) if member != role => Err(format!(
            "its certificate is for a {member}, but it connects as a {role}: give it keys for a \
             {role}, made by `coordinator keys export`"
        )),
        _ => Ok(()),
    }
}

fn judge_worker(name: &str, slots: u32, memory_limit: u64) -> Result<(), String> {
    let length = name.len();
    if !(1..=NAME_BYTES).contains(&length) || name.chars().any(char::is_control) {
        return Err(format!(
            "the worker's name {name:?}: expected 1 to {NAME_BYTES} bytes without control \
             characters, found {length} bytes: set another --name"
        ));
    }
    if !(1..=SLOTS).contains(&slots) {
        return Err(format!("the worker offers {slots} slots: expected --slots from 1 to {SLOTS}"));
    }
    if memory_limit == 0 {
        return Err("the worker offers no memory: expected a --memory-limit above 0".into());
    }
    Ok(())
}

/// The connecting side's part on a new connection: TLS if there are keys, then [`ask`].
pub async fn call(
    stream: TcpStream,
    tls: Option<&CallerTls>,
    hello: Hello,
) -> Result<(FrameReader<Reader>, Writer, Accepted), HandshakeError> {
    let io = |error| HandshakeError::Frame(FrameError::Io(error));
    let outcome = async {
        let (reader, mut writer) = match tls {
            None => stream::plain(stream),
            Some(tls) => {
                let secured = timeout(HANDSHAKE_TIMEOUT, tls.secure(stream));
                secured.await.map_err(|_| HandshakeError::Timeout)?.map_err(io)?
            }
        };
        let mut reader = FrameReader::new(reader, HANDSHAKE_FRAME_BYTES);
        let accepted = ask(&mut reader, &mut writer, hello).await?;
        Ok((reader, writer, accepted))
    };
    outcome.await.map_err(|error| {
        let failure = match (&error, tls) {
            (HandshakeError::Frame(FrameError::Io(error)), Some(tls)) => tls.trouble(error),
            _ => None,
        };
        match failure {
            Some(failure) if failure.passes => HandshakeError::Stale(failure.sentence),
            Some(failure) => HandshakeError::Keys(failure.sentence),
            None => error,
        }
    })
}

/// The connecting side's part: sends `hello`, waits for the answer, and raises the reader's
/// limit to frames of full size.
pub async fn ask<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    hello: Hello,
) -> Result<Accepted, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let frame = codec::encode(hello);
    let answer = async {
        codec::write(writer, &frame).await.map_err(FrameError::Io)?;
        reader.next().await?.ok_or(HandshakeError::Closed)
    };
    let answer = timeout(HANDSHAKE_TIMEOUT, answer);
    let content = answer.await.map_err(|_| HandshakeError::Timeout)??;
    match codec::decode(&content)? {
        Welcome::Refused { reason, may_pass: true } => Err(HandshakeError::NotNow(reason)),
        Welcome::Refused { reason, may_pass: false } => Err(HandshakeError::Refused(reason)),
        Welcome::Accepted { build, worker, heartbeat_timeout_ms } => {
            reader.set_limit(FRAME_BYTES);
            let heartbeat_timeout = Duration::from_millis(heartbeat_timeout_ms);
            Ok(Accepted { build, worker, heartbeat_timeout })
        }
    }
}

/// [`hear_until`], with the time limit of a handshake.
pub async fn hear<R>(reader: &mut FrameReader<R>) -> Result<Hello, HandshakeError>
where
    R: AsyncRead + Unpin,
{
    hear_until(reader, Instant::now() + HANDSHAKE_TIMEOUT).await
}

/// The coordinator's part: waits for a `Hello`, checks it, and raises the reader's limit to
/// frames of full size. The caller writes the [`Welcome`]; on an error it writes
/// [`Welcome::Refused`] with the error's text, and closes.
pub async fn hear_until<R>(
    reader: &mut FrameReader<R>,
    deadline: Instant,
) -> Result<Hello, HandshakeError>
where
    R: AsyncRead + Unpin,
{
    let hello = timeout_at(deadline, reader.next());
    let content = hello.await.map_err(|_| HandshakeError::Timeout)??;
    let content = content.ok_or(HandshakeError::Closed)?;
    // The `Hello` of another version may have unknown fields.
    if let Ok(Greeting { magic, protocol }) = rmp_serde::from_slice(&content)
        && magic.len() <= NAME_BYTES
    {
        judge_greeting(&magic, protocol).map_err(HandshakeError::Unfit)?;
    }
    let hello = codec::decode(&content)?;
    judge(&hello).map_err(HandshakeError::Unfit)?;
    reader.set_limit(FRAME_BYTES);
    Ok(hello)
}
