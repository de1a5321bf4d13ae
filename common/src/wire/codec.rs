//! Frames: each message is encoded once, and decoded strictly.

mod reader;

use std::hash::Hasher;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use twox_hash::XxHash3_64;

use crate::wire::payload;

pub use reader::FrameReader;

/// Bytes of the length that a frame begins with.
const LENGTH_BYTES: usize = 4;

/// Bytes of the checksum after the length.
const CHECKSUM_BYTES: usize = 8;

/// Bytes before the message of a frame: its length and its checksum.
pub const HEAD_BYTES: usize = LENGTH_BYTES + CHECKSUM_BYTES;

/// An empty MessagePack `bin`: the end of a message whose payload was taken out.
const EMPTY_BIN: [u8; 2] = [0xc4, 0];

/// Deepest nesting of a message's maps and lists.
const MAX_DEPTH: usize = 16;

/// Most characters of a decoder's error text that an error repeats.
const ERROR_CHARS: usize = 200;

/// An encoded message, shared by all connections without a copy.
///
/// `head` is the length, the checksum and the message up to the content of its
/// payload; `body` is that content, which may be the memory of the state itself.
/// For a message without payload `body` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Length, checksum and message.
    pub head: Bytes,
    /// The payload's bytes.
    pub body: Bytes,
}

impl Frame {
    /// Bytes on the wire.
    pub fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Why received bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length exceeds the limit.
    #[error("a frame of {found} bytes: expected at most {limit} bytes")]
    TooLong {
        /// The limit in force.
        limit: usize,
        /// The length found.
        found: u64,
    },
    /// The connection ended inside a frame.
    #[error("the connection ended inside a frame")]
    Truncated,
    /// Length or message have changed in transit.
    #[error(
        "a frame of {length} bytes: expected the checksum {expected:016x}, found {found:016x}: bytes \
         changed on the way, or the peer speaks another protocol"
    )]
    Checksum {
        /// Bytes of the message.
        length: u32,
        /// The checksum of the received length and message.
        expected: u64,
        /// The received checksum.
        found: u64,
    },
    /// A frame has begun, but did not arrive completely in time.
    #[error("a frame of {length} bytes did not arrive completely within {} s", seconds.as_secs())]
    Slow {
        /// Bytes of the message, if its length is known.
        length: u32,
        /// The time it had.
        seconds: Duration,
    },
    /// The bytes are not MessagePack of the message expected.
    #[error("a frame that is not a {expected}: {error}")]
    Malformed {
        /// The kind of message expected.
        expected: &'static str,
        /// The decoder's error.
        error: String,
    },
    /// Bytes are left after the message.
    #[error("bytes follow the {0} in its frame")]
    Trailing(&'static str),
    /// A field of the message is out of its bounds.
    #[error("{message} message, field `{field}`: expected {expected}, found {found}")]
    Field {
        /// The kind of message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
}

/// A type of message.
pub trait Message: Serialize + DeserializeOwned {
    /// Name of the kind of message, for errors.
    const NAME: &'static str;

    /// Takes the payload (leaving an empty one), if this kind of message has one. The payload is
    /// the message's last field.
    fn take_payload(&mut self) -> Option<Bytes> {
        None
    }

    /// Shortens texts of any origin (errors of models, panics) to what
    /// [`Message::validate`] allows.
    fn shorten(&mut self) {}

    /// Checks sizes of names and lists, and ranges of numbers. Every decoded message has passed
    /// this check.
    fn validate(&self) -> Result<(), FrameError>;
}

/// Encodes a message into a frame. The payload is not copied; texts that are
/// too long are cut.
pub fn encode<M: Message>(mut message: M) -> Frame {
    message.shorten();
    let body = message.take_payload();
    let mut head = BytesMut::with_capacity(128).writer();
    head.get_mut().put_bytes(0, HEAD_BYTES);
    rmp_serde::encode::write_named(&mut head, &message)
        .expect("plain data serialises, and memory does not fail to be written");
    let mut head = head.into_inner();
    if let Some(body) = &body {
        assert!(head.ends_with(&EMPTY_BIN), "the payload is the last field of its message");
        head.truncate(head.len() - EMPTY_BIN.len());
        put_bin_header(&mut head, body.len());
    }
    let body = body.unwrap_or_default();
    seal(&mut head, &body);
    Frame { head: head.freeze(), body }
}

/// A frame around any content, a message or not.
pub fn frame_of(content: &[u8]) -> Frame {
    let mut head = BytesMut::zeroed(HEAD_BYTES);
    head.extend_from_slice(content);
    seal(&mut head, &[]);
    Frame { head: head.freeze(), body: Bytes::new() }
}

/// Writes the length and the checksum of the message in `head` and `body` into their places in
/// `head`.
fn seal(head: &mut [u8], body: &[u8]) {
    let (room, message) = head.split_at_mut(HEAD_BYTES);
    let length = u32::try_from(message.len() + body.len()).expect("messages are far below 4 GiB");
    room[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    room[LENGTH_BYTES..].copy_from_slice(&checksum(length, message, body).to_be_bytes());
}

/// XXH3-64 of the length, as it is on the wire, and the message.
fn checksum(length: u32, message: &[u8], body: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(&length.to_be_bytes());
    hasher.write(message);
    hasher.write(body);
    hasher.finish()
}

/// Decodes the content of one frame (what follows its head), strictly: unknown
/// fields, trailing bytes and values out of bounds are errors. A big payload
/// shares the memory of `content`.
///
/// A declared count allocates no memory before the elements arrive, except for at most 1 MiB per
/// list, which serde reserves.
pub fn decode<M: Message>(content: &Bytes) -> Result<M, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(content);
    deserializer.set_max_depth(MAX_DEPTH);
    let message = payload::within(content, || M::deserialize(&mut deserializer))
        .map_err(|error| malformed::<M>(&error))?;
    // Any byte that can be read here is one too many.
    match bool::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => {}
        _ => return Err(FrameError::Trailing(M::NAME)),
    }
    message.validate()?;
    Ok(message)
}

/// The head of a MessagePack `bin` of `length` bytes, in its shortest form.
fn put_bin_header(out: &mut BytesMut, length: usize) {
    let length = u32::try_from(length).expect("payloads are far below 4 GiB");
    if let Ok(length) = u8::try_from(length) {
        out.put_slice(&[0xc4, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.put_u8(0xc5);
        out.put_u16(length);
    } else {
        out.put_u8(0xc6);
        out.put_u32(length);
    }
}

fn malformed<M: Message>(error: &rmp_serde::decode::Error) -> FrameError {
    let error = error.to_string().chars().take(ERROR_CHARS).collect();
    FrameError::Malformed { expected: M::NAME, error }
}

/// Writes one whole frame, head and body in one system call if possible, and flushes it.
pub async fn write<W: AsyncWrite + Unpin>(stream: &mut W, frame: &Frame) -> std::io::Result<()> {
    stream.write_all_buf(&mut Buf::chain(&frame.head[..], &frame.body[..])).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Block, RunId, StepId};
    use crate::wire::message::{FromWorker, ToWorker};

    #[tokio::test]
    async fn what_is_written_is_on_its_way() {
        let (stream, other) = tokio::io::duplex(1 << 10);
        let mut buffered = tokio::io::BufWriter::new(stream);
        write(&mut buffered, &encode(FromWorker::Draining)).await.unwrap();
        let mut reader = FrameReader::new(other, crate::limits::FRAME_BYTES);
        // Whatever stayed in the buffer is lost with it.
        drop(buffered);
        let content = reader.next().await.unwrap().expect("a frame");
        assert_eq!(decode::<FromWorker>(&content).unwrap(), FromWorker::Draining);
    }

    #[test]
    fn payloads_are_not_copied() {
        let payload = Bytes::from(vec![7; crate::limits::PAYLOAD_BYTES]);
        let step = StepId { run: RunId(1), index: 2 };
        let frame = encode(ToWorker::StateSegment { step, segment: 3, payload: payload.clone() });
        assert_eq!(frame.body.as_ptr(), payload.as_ptr());
        let content = Bytes::from([&frame.head[HEAD_BYTES..], &frame.body[..]].concat());
        let Ok(ToWorker::StateSegment { payload: found, .. }) = decode(&content) else {
            panic!("a state segment");
        };
        assert_eq!(found, payload);
        assert!(content.as_ptr_range().contains(&found.as_ptr()));
        let block = Block { level: 0, index: 0 };
        let empty = FromWorker::PartialSegment { step, block, segment: 3, payload: Bytes::new() };
        let frame = encode(empty.clone());
        assert!(frame.head.ends_with(&EMPTY_BIN) && frame.body.is_empty());
        assert_eq!(decode::<FromWorker>(&frame.head.slice(HEAD_BYTES..)).unwrap(), empty);
    }
}
