//! The wire: a length, a checksum, then one MessagePack message.
//! `docs/PROTOCOL.md` describes it for other languages.

#[cfg(test)]
mod arbitrary;
mod bounds;
pub mod codec;
pub mod event;
#[cfg(test)]
pub(crate) mod examples;
pub mod handshake;
pub mod message;
mod payload;
mod pool;
pub mod shared_memory;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod tls;

pub use codec::{Frame, FrameError, Message};
pub use pool::FramePool;
