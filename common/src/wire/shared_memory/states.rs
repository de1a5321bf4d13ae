//! The coordinator's slots for segments of states.

use std::hash::Hasher;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twox_hash::XxHash3_64;

use super::{Region, STATE_SLOTS};

/// The slots, one set for all workers. A segment that several workers are sent at the same time is
/// written once.
#[derive(Debug)]
pub struct StateSlots {
    region: Region,
    /// Free slots. The latest is reused first: it is still in the cache.
    free: Mutex<Vec<u32>>,
}

/// A written segment. Its slot is free again once all holders have dropped it.
#[derive(Debug)]
pub struct StateSlot {
    home: Arc<StateSlots>,
    slot: u32,
    hash: u64,
}

impl StateSlots {
    /// All slots are free.
    ///
    /// # Errors
    /// See [`Region::for_states`].
    pub fn new() -> io::Result<Arc<Self>> {
        let region = Region::for_states(STATE_SLOTS)?;
        Ok(Arc::new(Self { region, free: Mutex::new((0..STATE_SLOTS).rev().collect()) }))
    }

    /// The region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Writes a segment's bytes into a free slot; `None` if there is none.
    pub fn write(self: &Arc<Self>, payload: &[u8]) -> Option<Arc<StateSlot>> {
        let slot = self.free().pop()?;
        let mut written = StateSlot { home: self.clone(), slot, hash: 0 };
        let mut hasher = XxHash3_64::new();
        self.region.write(slot, payload, |block| hasher.write(block)).ok()?;
        written.hash = hasher.finish();
        Some(Arc::new(written))
    }

    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Region {
    /// Copies a segment of a state, and returns the XXH3-64 (seed 0) of the copy, which must be
    /// compared with the one that came over the connection.
    ///
    /// # Panics
    /// As for [`Region::read`].
    pub fn read_state(&self, slot: u32, out: &mut [u8]) -> u64 {
        let mut hasher = XxHash3_64::new();
        self.read(slot, out, |block| hasher.write(block));
        hasher.finish()
    }
}

impl StateSlot {
    /// The slot's number.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// XXH3-64 (seed 0) of the segment: finds bytes that changed on their way, as the checksum of a
    /// frame does.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl Drop for StateSlot {
    fn drop(&mut self) {
        self.home.free().push(self.slot);
    }
}
