//! The slots for segments of one worker's partials: [`PartialSlots`] is the worker's side,
//! [`PartialReader`] the coordinator's.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use twox_hash::XxHash3_128;

use super::{PARTIAL_SLOTS, Region, SLOT_BYTES};

// A bit for each slot.
const _: () = assert!(PARTIAL_SLOTS <= u64::BITS);

/// The worker's side: which slots are free.
#[derive(Debug)]
pub struct PartialSlots {
    region: Region,
    /// The latest is reused first: it is still in the cache.
    free: Mutex<Vec<u32>>,
    freed: Notify,
}

impl PartialSlots {
    /// All slots are free.
    pub fn new(region: Region) -> Self {
        let free = Mutex::new((0..region.slots()).rev().collect());
        Self { region, free, freed: Notify::new() }
    }

    /// A free slot, once there is one. There must not be two that wait.
    pub async fn take(&self) -> u32 {
        loop {
            if let Some(slot) = self.free().pop() {
                return slot;
            }
            self.freed.notified().await;
        }
    }

    /// Writes a payload into a slot that was taken.
    ///
    /// # Errors
    /// The system fails.
    pub fn write(&self, slot: u32, payload: &[u8]) -> io::Result<()> {
        self.region.write(slot, payload, |_| ())
    }

    /// Frees slots that the coordinator has read. Returns whether they were in use.
    pub fn read(&self, slots: &[u32]) -> bool {
        let mut free = self.free();
        for slot in slots {
            if *slot >= self.region.slots() || free.contains(slot) {
                return false;
            }
            free.push(*slot);
        }
        drop(free);
        self.freed.notify_one();
        true
    }

    /// Bytes of memory that its used slots take.
    pub fn used_bytes(&self) -> u64 {
        self.region.used_bytes()
    }

    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The coordinator's side: which slots are being read.
#[derive(Debug)]
pub struct PartialReader {
    region: Region,
    /// A bit for each slot that the worker has named, until it is told that the slot was read. So
    /// there are never more than that to tell it.
    named: AtomicU64,
}

impl PartialReader {
    /// Nothing is being read.
    ///
    /// # Errors
    /// See [`Region::for_partials`].
    pub fn new() -> io::Result<Self> {
        Ok(Self { region: Region::for_partials(PARTIAL_SLOTS)?, named: AtomicU64::new(0) })
    }

    /// The region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// A payload of `bytes` that the worker says it has written into `slot`. `release` is called
    /// with the slot when it is dropped.
    ///
    /// # Errors
    /// There is no such slot, it is being read, its payload is too long, or the system lacks memory.
    pub fn named(
        self: &Arc<Self>,
        slot: u32,
        bytes: u32,
        release: impl FnOnce(u32) + Send + 'static,
    ) -> Result<PartialSlot, SlotError> {
        let bytes = bytes as usize;
        if slot >= self.region.slots() || bytes > SLOT_BYTES {
            return Err(SlotError::Outside { slot, bytes });
        }
        let bit = 1 << slot;
        if self.named.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return Err(SlotError::BeingRead(slot));
        }
        // A worker that has written the slot has memory for it already.
        self.region.reserve(slot, bytes)?;
        Ok(PartialSlot { of: self.clone(), slot, bytes, release: Some(Box::new(release)) })
    }

    /// Notes that the worker is told that a slot was read: it may name the slot again.
    pub fn told(&self, slot: u32) {
        self.named.fetch_and(!(1 << slot), Ordering::Relaxed);
    }
}

/// Why a slot that a worker names cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is no such slot, or it is smaller.
    #[error(
        "{bytes} bytes in slot {slot} of its partials: expected at most {SLOT_BYTES} bytes in one \
         of {PARTIAL_SLOTS} slots"
    )]
    Outside {
        /// The slot.
        slot: u32,
        /// Bytes that are said to be there.
        bytes: usize,
    },
    /// The worker was not told that it was read.
    #[error("slot {0} of its partials is being read: expected another one")]
    BeingRead(u32),
    /// The system has no memory for a slot that was not written.
    #[error("a slot of its partials cannot be read: {0}")]
    Memory(#[from] io::Error),
}

/// A payload in a slot, to be read once.
pub struct PartialSlot {
    of: Arc<PartialReader>,
    slot: u32,
    bytes: usize,
    release: Option<Box<dyn FnOnce(u32) + Send>>,
}

impl PartialSlot {
    /// Bytes of the payload.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the payload, and returns the [`segment_hash`](crate::merge::segment_hash) of the copy,
    /// which must be compared with the one that came over the connection.
    ///
    /// # Panics
    /// `out` has another length.
    pub fn read(&self, out: &mut [u8]) -> u128 {
        assert_eq!(out.len(), self.bytes, "room for the payload");
        let mut hasher = XxHash3_128::new();
        self.of.region.read(self.slot, out, |block| hasher.write(block));
        hasher.finish_128()
    }
}

impl std::fmt::Debug for PartialSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { slot, bytes, .. } = self;
        f.debug_struct("PartialSlot").field("slot", slot).field("bytes", bytes).finish()
    }
}

impl Drop for PartialSlot {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release(self.slot);
        }
    }
}
