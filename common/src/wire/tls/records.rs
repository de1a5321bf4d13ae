//! The records of TLS after the handshake: what each direction encrypts and
//! decrypts by itself, without a lock between them.
//!
//! rustls's own streams copy every byte three times more on its way in, and hold
//! both directions in one place; what they add to the encryption costs twice as
//! much as that (docs/PERFORMANCE.md). Here rustls encrypts into the memory that
//! goes to the socket, and decrypts where the socket has put it. This file cuts
//! records, counts them, and changes keys when they have served: what rustls
//! offers for TLS in a system's kernel ([`rustls::kernel`]). It knows no cipher.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, Tls13CipherSuite,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::handshake::{Established, HEADER_BYTES, RECORD_BYTES, Secrets, invalid};

/// Bytes that one read of the system may bring.
const READ_AHEAD: usize = 256 << 10;

/// Bytes of a message that one record holds.
const FRAGMENT_BYTES: usize = 16 << 10;

/// Bytes that are encrypted ahead of the socket: few enough to be in the
/// processor's cache still when the system takes them.
const WRITE_AHEAD: usize = 64 << 10;

/// Records that one write of the system takes.
const WRITE_RECORDS: usize = 8;

/// Most pieces of memory in one write.
const WRITE_PIECES: usize = 64;

/// Changes of a peer's key without anything said between them.
const KEY_UPDATES: u32 = 32;

/// Tells that what is sent from now on has the next key; asks for nothing.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The same, and asks the peer to change its own.
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// First byte of a session ticket, which is not kept.
const SESSION_TICKET: u8 = 4;

/// The last word: nothing follows.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// What both directions share.
struct Shared {
    suite: &'static Tls13CipherSuite,
    secrets: Mutex<Box<dyn Secrets>>,
    /// The peer wants us to change our key.
    update_wanted: AtomicBool,
}

impl Shared {
    fn next_to_send(&self) -> Result<(u64, Box<dyn MessageEncrypter>), Error> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, next) = secrets.next_to_send()?;
        Ok((sequence, self.encrypter(next)?))
    }

    fn next_to_receive(&self) -> Result<(u64, Box<dyn MessageDecrypter>), Error> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, next) = secrets.next_to_receive()?;
        Ok((sequence, self.decrypter(next)?))
    }

    fn encrypter(&self, of: ConnectionTrafficSecrets) -> Result<Box<dyn MessageEncrypter>, Error> {
        let (key, iv) = parts(of)?;
        Ok(self.suite.aead_alg.encrypter(key, iv))
    }

    fn decrypter(&self, of: ConnectionTrafficSecrets) -> Result<Box<dyn MessageDecrypter>, Error> {
        let (key, iv) = parts(of)?;
        Ok(self.suite.aead_alg.decrypter(key, iv))
    }
}

fn parts(of: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match of {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher that is not known here".into())),
    }
}

/// Both directions of a connection after its handshake.
pub(super) fn split(
    stream: TcpStream,
    established: Established,
) -> Result<(TlsReader, TlsWriter), Error> {
    let Established { suite, first, secrets, rest, .. } = established;
    let suite = suite.tls13().ok_or_else(|| Error::General("expected TLS 1.3".into()))?;
    let update_wanted = AtomicBool::new(false);
    let shared = Arc::new(Shared { suite, secrets: Mutex::new(secrets), update_wanted });
    let (reader, writer) = stream.into_split();
    let mut buffer = vec![0; READ_AHEAD.max(rest.len())];
    buffer[..rest.len()].copy_from_slice(&rest);
    let reader = TlsReader {
        stream: reader,
        decrypter: shared.decrypter(first.rx.1)?,
        sequence: first.rx.0,
        buffer,
        start: 0,
        end: rest.len(),
        plain: (0, 0),
        is_over: false,
        updates: 0,
        shared: shared.clone(),
    };
    let writer = TlsWriter {
        stream: writer,
        encrypter: shared.encrypter(first.tx.1)?,
        sequence: first.tx.0,
        // Long before an attacker could learn anything from their number.
        last: suite.common.confidentiality_limit / 2,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        written: 0,
        is_over: false,
        shared,
    };
    Ok((reader, writer))
}

/// What comes from a peer, decrypted.
pub struct TlsReader {
    stream: OwnedReadHalf,
    decrypter: Box<dyn MessageDecrypter>,
    /// Number of the next record under this key.
    sequence: u64,
    buffer: Vec<u8>,
    /// Where the records begin and end that are not decrypted yet.
    start: usize,
    end: usize,
    /// Where the decrypted bytes begin and end that are not given out yet.
    plain: (usize, usize),
    /// The peer has said that nothing follows.
    is_over: bool,
    updates: u32,
    shared: Arc<Shared>,
}

/// What goes to a peer, to be encrypted. Bytes may wait in here for the socket:
/// a flush sees them out.
pub struct TlsWriter {
    stream: OwnedWriteHalf,
    encrypter: Box<dyn MessageEncrypter>,
    /// Number of the next record under this key.
    sequence: u64,
    /// Number of the record before which the key is changed.
    last: u64,
    /// Encrypted records.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Bytes of the first one that the socket has.
    written: usize,
    /// We have said that nothing follows.
    is_over: bool,
    shared: Arc<Shared>,
}

impl fmt::Debug for TlsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReader").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWriter").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl TlsReader {
    /// Decrypts the next record in its place, if it is whole. Says whether it
    /// was.
    fn decrypt_next(&mut self) -> Result<bool, Error> {
        let begun = &self.buffer[self.start..self.end];
        let Some(header) = begun.first_chunk::<HEADER_BYTES>() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let kind = ContentType::from(header[0]);
        if kind != ContentType::ApplicationData {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        if length > RECORD_BYTES {
            return Err(InvalidMessage::MessageTooLarge.into());
        }
        if begun.len() < HEADER_BYTES + length {
            return Ok(false);
        }
        let at = self.start + HEADER_BYTES;
        self.start = at + length;
        let record = InboundOpaqueMessage::new(
            kind,
            ProtocolVersion::TLSv1_2,
            &mut self.buffer[at..at + length],
        );
        let message = self.decrypter.decrypt(record, self.sequence)?;
        self.sequence += 1;
        let (kind, length) = (message.typ, message.payload.len());
        match kind {
            ContentType::ApplicationData => {
                self.updates = 0;
                self.plain = (at, at + length);
            }
            ContentType::Alert => self.on_alert(at, length)?,
            ContentType::Handshake => self.on_handshake(at, length)?,
            _ => return Err(InvalidMessage::InvalidContentType.into()),
        }
        Ok(true)
    }

    fn on_alert(&mut self, at: usize, length: usize) -> Result<(), Error> {
        let [_, what] = self.buffer[at..at + length] else {
            return Err(InvalidMessage::MissingData("AlertDescription").into());
        };
        match AlertDescription::from(what) {
            AlertDescription::CloseNotify => {
                self.is_over = true;
                Ok(())
            }
            alert => Err(Error::AlertReceived(alert)),
        }
    }

    fn on_handshake(&mut self, at: usize, length: usize) -> Result<(), Error> {
        let message = &self.buffer[at..at + length];
        self.updates += 1;
        if self.updates > KEY_UPDATES {
            return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
        }
        if message.first() == Some(&SESSION_TICKET) {
            return Ok(());
        }
        if message != KEY_UPDATE && message != KEY_UPDATE_REQUESTED {
            return Err(InvalidMessage::InvalidKeyUpdate.into());
        }
        if message == KEY_UPDATE_REQUESTED {
            self.shared.update_wanted.store(true, Ordering::Relaxed);
        }
        (self.sequence, self.decrypter) = self.shared.next_to_receive()?;
        Ok(())
    }

    /// Makes room behind what has begun to come.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.start < HEADER_BYTES + RECORD_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

impl AsyncRead for TlsReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            let (from, to) = this.plain;
            let count = out.remaining().min(to - from);
            out.put_slice(&this.buffer[from..from + count]);
            this.plain.0 += count;
            if out.remaining() == 0 || this.is_over {
                return Poll::Ready(Ok(()));
            }
            if this.decrypt_next().map_err(invalid)? {
                continue;
            }
            if out.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            this.make_room();
            let mut room = ReadBuf::new(&mut this.buffer[this.end..]);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut room))?;
            match room.filled().len() {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => this.end += count,
            }
        }
    }
}

impl TlsWriter {
    /// Encrypts one record, which waits for the socket then.
    fn encrypt(&mut self, typ: ContentType, payload: OutboundChunks<'_>) -> Result<(), Error> {
        let version = ProtocolVersion::TLSv1_2;
        let record = OutboundPlainMessage { typ, version, payload };
        let record = self.encrypter.encrypt(record, self.sequence)?.encode();
        self.sequence += 1;
        self.waiting_bytes += record.len();
        self.waiting.push_back(record);
        Ok(())
    }

    /// Encrypts what fits, and says how many bytes that were.
    fn encrypt_some(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, Error> {
        let mut chunks: [&[u8]; WRITE_PIECES] = [&[]; WRITE_PIECES];
        let count = pieces.len().min(WRITE_PIECES);
        for (chunk, piece) in chunks.iter_mut().zip(pieces) {
            *chunk = piece;
        }
        let mut rest = OutboundChunks::new(&chunks[..count]);
        let all = rest.len();
        while !rest.is_empty() && self.waiting_bytes < WRITE_AHEAD {
            self.change_key_if_due()?;
            let (first, more) = rest.split_at(FRAGMENT_BYTES);
            self.encrypt(ContentType::ApplicationData, first)?;
            rest = more;
        }
        Ok(all - rest.len())
    }

    fn change_key_if_due(&mut self) -> Result<(), Error> {
        let wanted = self.shared.update_wanted.swap(false, Ordering::Relaxed);
        if wanted || self.sequence >= self.last {
            self.encrypt(ContentType::Handshake, OutboundChunks::Single(&KEY_UPDATE))?;
            (self.sequence, self.encrypter) = self.shared.next_to_send()?;
        }
        Ok(())
    }

    /// Gives the socket what it takes; ready when nothing waits any more.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_RECORDS];
            let count = self.waiting.len().min(WRITE_RECORDS);
            for (slice, record) in slices.iter_mut().zip(&self.waiting) {
                *slice = IoSlice::new(record);
            }
            slices[0].advance(self.written);
            let stream = Pin::new(&mut self.stream);
            let sent = ready!(stream.poll_write_vectored(context, &slices[..count]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting_bytes -= sent;
            self.written += sent;
            while let Some(record) = self.waiting.front()
                && self.written >= record.len()
            {
                self.written -= record.len();
                self.waiting.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = this.poll_send(context)?;
        if sent.is_pending() && this.waiting_bytes >= WRITE_AHEAD {
            return Poll::Pending;
        }
        let count = this.encrypt_some(pieces).map_err(invalid)?;
        // What the socket does not take now goes with the next write or flush.
        let _ = this.poll_send(context)?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_over {
            this.is_over = true;
            this.encrypt(ContentType::Alert, OutboundChunks::Single(&CLOSE_NOTIFY))
                .map_err(invalid)?;
        }
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
