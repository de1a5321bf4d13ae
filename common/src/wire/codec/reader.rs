//! [`FrameReader`]: frames out of a stream.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::{CHECKSUM_BYTES, FrameError, HEAD_BYTES, LENGTH_BYTES, checksum};
use crate::wire::FramePool;

/// Time in which every frame must arrive completely, from its first byte.
const FRAME_GRACE: Duration = Duration::from_secs(30);

/// Slowest supported link, in bytes per second: a frame may take longer than [`FRAME_GRACE`] by
/// the time its length takes at this rate. Without a limit, a frame whose length changed in
/// transit would swallow heartbeats forever.
const FRAME_RATE: u32 = 8 << 10;

/// Room for a read between two frames, in bytes.
const READ_BYTES: usize = 8 << 10;

/// Reads frames from a stream, with a limit of their length that is checked before memory is
/// allocated.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    codec: LengthDelimitedCodec,
    spare: FramePool,
    buffer: BytesMut,
    /// Length of the current message, once it has arrived.
    length: Option<u32>,
    /// When the first wait for the rest of a frame began.
    begun: Option<Instant>,
    received: u64,
    /// Bytes of all returned frames.
    given: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of at most `limit` bytes.
    pub fn new(stream: R, limit: usize) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .max_frame_length(limit)
            .length_adjustment(CHECKSUM_BYTES as isize)
            .new_codec();
        Self {
            stream,
            codec,
            spare: FramePool::default(),
            buffer: BytesMut::new(),
            length: None,
            begun: None,
            received: 0,
            given: 0,
        }
    }

    /// Uses memory from `spare` for long frames, and returns it there.
    pub fn with_spare(self, spare: FramePool) -> Self {
        Self { spare, ..self }
    }

    /// Changes the limit, for the frames after the handshake.
    pub fn set_limit(&mut self, limit: usize) {
        self.codec.set_max_frame_length(limit);
    }

    /// The stream itself, when no further frames are needed.
    pub fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Bytes received so far. It grows while a long frame arrives on a slow link, so it serves as
    /// a sign of life.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The content of the next frame; `None` if the peer has closed between two frames.
    ///
    /// Cancel-safe: bytes that were read stay in the reader. After an error the stream has no
    /// next frame. An incomplete frame needs the runtime's clock, for its deadline.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(content) = self.take()? {
                return Ok(Some(content));
            }
            let is_between = self.received == self.given;
            let length = self.length.unwrap_or_default();
            // After a long frame, only few bytes of the next one are read, as they would have
            // to be copied to its buffer.
            let missing = (length as usize + CHECKSUM_BYTES).saturating_sub(self.buffer.len());
            // Each frame that is split off leaves less room behind it. A frame that has begun to
            // arrive has its room.
            let least = if self.length.is_some() { missing.min(READ_BYTES) } else { READ_BYTES };
            if self.buffer.capacity() - self.buffer.len() < least {
                self.buffer.reserve(least);
            }
            let mut room = (&mut self.buffer).limit(missing.max(READ_BYTES));
            let read = self.stream.read_buf(&mut room);
            let read = if is_between {
                read.await
            } else {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                let seconds = FRAME_GRACE + Duration::from_secs((length / FRAME_RATE).into());
                let slow = |_| FrameError::Slow { length, seconds };
                timeout_at(begun + seconds, read).await.map_err(slow)?
            };
            let count = match read {
                // TLS reports this if a peer disappears without closing.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                read => read?,
            };
            match count {
                0 if is_between => return Ok(None),
                0 => return Err(FrameError::Truncated),
                count => self.received += count as u64,
            }
        }
    }

    /// The content of a frame that is completely in the buffer.
    fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        // The codec removes the length from the buffer.
        if self.length.is_none() {
            self.length = self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length));
            let length = self.length.unwrap_or_default() as usize;
            if length <= self.codec.max_frame_length() {
                self.spare.make_room(&mut self.buffer, HEAD_BYTES + length);
            }
        }
        let length = self.length.unwrap_or_default();
        let frame = self.codec.decode(&mut self.buffer).map_err(|_| FrameError::TooLong {
            limit: self.codec.max_frame_length(),
            found: length.into(),
        })?;
        let Some(frame) = frame else { return Ok(None) };
        (self.length, self.begun) = (None, None);
        self.given += (LENGTH_BYTES + frame.len()) as u64;
        let (mut found, content) = frame.split_at(CHECKSUM_BYTES);
        let (expected, found) = (checksum(length, content, &[]), found.get_u64());
        if found != expected {
            return Err(FrameError::Checksum { length, expected, found });
        }
        Ok(Some(self.spare.lend(frame).slice(CHECKSUM_BYTES..)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::super::encode;
    use super::*;
    use crate::id::{AssignmentId, RunId, StepId};
    use crate::wire::message::{FromWorker, ToWorker};

    /// Bytes that are all there, and how often they were read.
    struct Counted<'a> {
        bytes: &'a [u8],
        reads: usize,
    }

    impl AsyncRead for Counted<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.reads += 1;
            Pin::new(&mut self.bytes).poll_read(context, buffer)
        }
    }

    #[tokio::test]
    async fn short_frames_are_read_many_at_a_time() {
        let frame = encode(FromWorker::Started { assignment: AssignmentId(7) }).head;
        let count = 10 * READ_BYTES / frame.len();
        let bytes = frame.repeat(count);
        let mut reader = FrameReader::new(Counted { bytes: &bytes, reads: 0 }, frame.len());
        for _ in 0..count {
            let content = reader.next().await.unwrap().expect("a frame");
            assert_eq!(content, frame[HEAD_BYTES..]);
        }
        assert!(reader.next().await.unwrap().is_none());
        let reads = reader.stream_mut().reads;
        // One more for each frame that a read has cut in two, and one for the end.
        assert!(reads <= 2 * (bytes.len().div_ceil(READ_BYTES) + 1), "{reads} reads");
    }

    #[tokio::test]
    async fn a_long_frame_is_read_into_memory_of_its_size() {
        let step = StepId { run: RunId(1), index: 2 };
        let payload = Bytes::from(vec![7; 10 * READ_BYTES]);
        let frame = encode(ToWorker::StateSegment { step, segment: 3, payload });
        let bytes = [&frame.head[..], &frame.body[..]].concat();
        let mut reader = FrameReader::new(&bytes[..], bytes.len());
        let content = reader.next().await.unwrap().expect("a frame");
        assert_eq!(content.len(), bytes.len() - HEAD_BYTES);
        assert!(reader.buffer.capacity() <= READ_BYTES, "{}", reader.buffer.capacity());
    }
}
