//! Payloads that share the memory of their frame.
//!
//! Deserializers return borrowed bytes, but a message must outlive the borrow of its frame. So
//! while a frame is decoded, a thread-local variable holds it, and payload fields share its memory
//! from there.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::limits::PAYLOAD_BYTES;

/// Payloads below this size are copied: a payload that is kept for long must
/// not hold a receive buffer that is many times its size.
const SHARED_FROM: usize = PAYLOAD_BYTES / 4;

thread_local! {
    static FRAME: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Runs `decode`, in which payload fields may share the memory of `frame`.
/// Only bytes of `frame` may be decoded in it.
pub(super) fn within<T>(frame: &Bytes, decode: impl FnOnce() -> T) -> T {
    FRAME.set(Some(frame.clone()));
    let outcome = decode();
    FRAME.set(None);
    outcome
}

/// Reads a payload: a MessagePack `bin` and nothing else.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_bytes(PayloadVisitor)
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {PAYLOAD_BYTES} bytes as a bin")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Bytes, E> {
        if bytes.len() > PAYLOAD_BYTES {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        if bytes.len() < SHARED_FROM {
            return Ok(Bytes::copy_from_slice(bytes));
        }
        Ok(FRAME.with_borrow(|frame| match frame {
            Some(frame) => frame.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        }))
    }
}
