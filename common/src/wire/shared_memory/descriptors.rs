//! Handing the descriptors of the regions over a Unix socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::directory::{check_directory, own_user};
use super::{PARTIAL_SLOTS, PartialSlots, Region, STATE_SLOTS};
use crate::id::MemoryToken;
use crate::limits::HANDSHAKE_TIMEOUT;

/// Why a worker and a coordinator do not share memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// There is no socket: usually, the coordinator is on another host.
    #[error("no coordinator's socket at {0}")]
    Elsewhere(String),
    /// The coordinator names something else than a file in the directory.
    #[error("expected the name of a socket in the directory for sockets, found {0:?}")]
    Name(String),
    /// The socket, or its directory, belongs to another user.
    #[error("the socket belongs to user {found}, this process to user {expected}")]
    User {
        /// The user of this process.
        expected: u32,
        /// The user of the other one.
        found: u32,
    },
    /// The other side sent nothing in time.
    #[error("the other side of the socket did not answer in time")]
    Timeout,
    /// The other side sent something else than two regions.
    #[error("expected the descriptors of two regions, found {0}")]
    Descriptors(usize),
    /// The system failed, or what was received is not a region.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The coordinator's part: reads the token that the other side sends first. The other side must
/// be this user's, or the administrator's.
///
/// # Errors
/// See [`MemoryError`].
pub async fn await_token(stream: &mut UnixStream) -> Result<MemoryToken, MemoryError> {
    check_user(stream)?;
    let mut token = [0; 16];
    match timeout(HANDSHAKE_TIMEOUT, stream.read_exact(&mut token)).await {
        Ok(read) => read?,
        Err(_) => return Err(MemoryError::Timeout),
    };
    Ok(MemoryToken(u128::from_be_bytes(token)))
}

/// The coordinator's part: sends the descriptors of both regions.
///
/// # Errors
/// The system fails.
pub async fn send_regions(
    stream: &UnixStream,
    states: &Region,
    partials: &Region,
) -> Result<(), MemoryError> {
    let sending = stream.async_io(Interest::WRITABLE, || sys::send(stream, [states, partials]));
    timeout(HANDSHAKE_TIMEOUT, sending).await.map_err(|_| MemoryError::Timeout)??;
    Ok(())
}

/// The worker's part: shows the token to the socket in `directory`, and receives the region of the
/// states and that of its own partials.
///
/// # Errors
/// See [`MemoryError`].
pub async fn receive_regions(
    directory: &Path,
    socket: &str,
    token: MemoryToken,
) -> Result<(Region, PartialSlots), MemoryError> {
    // Anything else could lead to a socket of another program.
    if Path::new(socket).file_name() != Some(socket.as_ref()) {
        return Err(MemoryError::Name(socket.to_owned()));
    }
    let path = directory.join(socket);
    if !path.exists() {
        return Err(MemoryError::Elsewhere(path.display().to_string()));
    }
    check_directory(directory)?;
    let receiving = async {
        let mut stream = UnixStream::connect(&path).await?;
        check_user(&stream)?;
        stream.write_all(&token.0.to_be_bytes()).await?;
        let received = stream.async_io(Interest::READABLE, || sys::receive(&stream)).await?;
        Ok::<_, MemoryError>(received)
    };
    let received = timeout(HANDSHAKE_TIMEOUT, receiving);
    let received = received.await.map_err(|_| MemoryError::Timeout)??;
    let [states, partials] = <[OwnedFd; 2]>::try_from(received)
        .map_err(|found| MemoryError::Descriptors(found.len()))?;
    let states = Region::received_states(states, STATE_SLOTS)?;
    Ok((states, PartialSlots::new(Region::received_partials(partials, PARTIAL_SLOTS)?)))
}

/// Checks that the other side is this user's, or the administrator's.
fn check_user(stream: &UnixStream) -> Result<(), MemoryError> {
    let (expected, found) = (own_user(), stream.peer_cred()?.uid());
    if found == expected || found == 0 {
        return Ok(());
    }
    Err(MemoryError::User { expected, found })
}

#[cfg(target_os = "linux")]
mod sys {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;

    use rustix::cmsg_space;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    };
    use tokio::net::UnixStream;

    use super::Region;

    /// Descriptors come with at least one byte.
    const BYTE: [u8; 1] = [0];

    pub(super) fn send(stream: &UnixStream, regions: [&Region; 2]) -> io::Result<()> {
        let descriptors = regions.map(Region::descriptor);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "room for two");
        sendmsg(stream, &[IoSlice::new(&BYTE)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub(super) fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = BYTE;
        let bytes = &mut [IoSliceMut::new(&mut byte)];
        recvmsg(stream, bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let messages = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok(messages.flatten().collect())
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::io;
    use std::os::fd::OwnedFd;

    use tokio::net::UnixStream;

    use super::Region;

    pub(super) fn send(_stream: &UnixStream, _regions: [&Region; 2]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn receive(_stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
