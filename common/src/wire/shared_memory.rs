//! Shared memory between a coordinator and the workers on its host.
//!
//! Payloads lie in **slots** of one payload each, and messages name the slot. The coordinator makes
//! both kinds of regions, seals their sizes, and accepts no descriptor from others:
//!
//! | region | slots | written by | read by |
//! |---|---|---|---|
//! | states | [`STATE_SLOTS`], one region for all workers | the coordinator alone (sealed) | workers |
//! | partials | [`PARTIAL_SLOTS`], one region for each worker | that worker | the coordinator |
//!
//! A slot belongs to its writer until a message names it, and to its readers until they have
//! answered `SlotsRead`. A peer that breaks this harms nothing: no reference ever points to memory
//! that another process can write. A reader copies a slot, compares the hash of the copy with the
//! one that came over the connection, and uses the copy.
//!
//! ```text
//! worker                                            coordinator
//!        ◀── OffersMemory: name of the socket, a token ──        over the connection
//!        ─── token ──────────────────────────────▶               over the Unix socket
//!        ◀── two descriptors ──────────────────────              over the Unix socket
//!        ─── SharesMemory ────────────────────────▶              over the connection
//! ```
//!
//! A process that dies closes its descriptors, and the system frees what nobody has open.

mod descriptors;
mod directory;
mod mapping;
mod partials;
mod region;
mod states;
#[cfg(test)]
mod tests;

pub use descriptors::{MemoryError, await_token, receive_regions, send_regions};
pub use directory::{about, default_directory, is_socket_name, make_directory, socket_name};
pub use partials::{PartialReader, PartialSlot, PartialSlots, SlotError};
pub use region::Region;
pub use states::{StateSlot, StateSlots};

use crate::limits::PAYLOAD_BYTES;

/// Bytes of a slot: every payload fits.
pub const SLOT_BYTES: usize = PAYLOAD_BYTES;

/// Smallest payload that goes through shared memory: for less, the messages about the slot cost more
/// than the copies.
pub const LEAST_BYTES: usize = 64 << 10;

/// Slots for segments of states, over all workers of a coordinator. Slots are reused, the latest
/// first, and only those that were used take memory.
pub const STATE_SLOTS: u32 = 64;

/// State slots that one worker may have unread. A worker that is slow or stopped holds no more.
pub const UNREAD_STATE_SLOTS: usize = 4;

/// Slots for segments of one worker's partials.
pub const PARTIAL_SLOTS: u32 = 4;

/// Bytes that are copied and hashed together: they are in the processor's cache when they are
/// hashed.
const BLOCK_BYTES: usize = 32 << 10;
