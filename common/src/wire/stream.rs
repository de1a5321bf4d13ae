//! Both halves of a connection, plain or under TLS.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsStream;

/// Bytes that one read of the system may bring under TLS, whose own reads are small.
const READ_AHEAD: usize = 64 << 10;

/// The transport of a TLS connection.
pub type Carrier = BufReader<Watched>;

/// The receiving half of a connection.
#[derive(Debug)]
pub enum Reader {
    /// As it is sent.
    Plain(OwnedReadHalf),
    /// Decrypted.
    Tls(ReadHalf<TlsStream<Carrier>>, Arc<AtomicU64>),
}

/// The sending half of a connection.
#[derive(Debug)]
pub enum Writer {
    /// As it is.
    Plain(OwnedWriteHalf),
    /// Encrypted. Bytes may be buffered here until they are flushed.
    Tls(WriteHalf<TlsStream<Carrier>>),
}

/// Both halves of a plain connection.
pub fn plain(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Reader::Plain(reader), Writer::Plain(writer))
}

/// Both halves of a connection under TLS.
pub(super) fn tls(stream: TlsStream<Carrier>) -> (Reader, Writer) {
    let received = stream.get_ref().0.get_ref().received.clone();
    let (reader, writer) = tokio::io::split(stream);
    (Reader::Tls(reader, received), Writer::Tls(writer))
}

impl Reader {
    /// Under TLS, counts received bytes immediately: an incomplete record is a sign of life, too.
    pub fn beneath(&self) -> Option<Arc<AtomicU64>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, received) => Some(received.clone()),
        }
    }
}

/// A socket that counts received bytes and reports them.
pub struct Watched {
    pub(super) stream: TcpStream,
    received: Arc<AtomicU64>,
    on_bytes: Box<dyn Fn() + Send + Sync>,
}

impl Watched {
    pub(super) fn carry(stream: TcpStream, on_bytes: impl Fn() + Send + Sync + 'static) -> Carrier {
        let watched = Self { stream, received: Arc::default(), on_bytes: Box::new(on_bytes) };
        BufReader::with_capacity(READ_AHEAD, watched)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            this.received.fetch_add(count as u64, Ordering::Relaxed);
            (this.on_bytes)();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(reader) => Pin::new(reader).poll_read(context, buffer),
            Self::Tls(reader, _) => Pin::new(reader).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_write(context, bytes),
            Self::Tls(writer) => Pin::new(writer).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_write_vectored(context, pieces),
            Self::Tls(writer) => Pin::new(writer).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_flush(context),
            Self::Tls(writer) => Pin::new(writer).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_shutdown(context),
            Self::Tls(writer) => Pin::new(writer).poll_shutdown(context),
        }
    }
}
