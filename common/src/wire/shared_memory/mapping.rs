//! [`Mapping`]: writable memory of a region that is sealed against all later writers.
//!
//! The only module of the wire with `unsafe`. What makes it sound:
//! - **Memory.** The mapping has the length of the region, whose size is sealed before anything is
//!   written, and lives until it is dropped. Only [`Mapping`] knows its address.
//! - **No references.** The memory is only ever the target of a copy through a raw pointer. It is
//!   never read here, and no slice of it is made, so it does not matter what other processes read.
//! - **One writer.** A slot's lock is held during the copy, so that no two threads write to the
//!   same bytes. Other processes cannot write: the seal forbids it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::SLOT_BYTES;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    /// One lock for each slot.
    writing: Box<[Mutex<()>]>,
}

// SAFETY: the memory belongs to no thread, and `write` excludes other writers of the same bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first slots of a file, which is at least as long.
    pub(super) fn new(file: &File, slots: u32) -> io::Result<Self> {
        let bytes = slots as usize * SLOT_BYTES;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the system chooses an address at which nothing is mapped.
        let start = unsafe { mmap(null_mut(), bytes, protection, flags, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, writing: (0..slots).map(|_| Mutex::new(())).collect() })
    }

    /// Copies bytes to a place in a slot, counted from its beginning.
    ///
    /// # Panics
    /// There is no such slot, or it ends before the bytes do.
    pub(super) fn write(&self, slot: u32, place: usize, bytes: &[u8]) {
        let fits = SLOT_BYTES.checked_sub(place).is_some_and(|room| bytes.len() <= room);
        assert!(fits, "{} bytes at {place} of a slot", bytes.len());
        let slot = slot as usize;
        let _alone = self.writing[slot].lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the slot is one of the mapped ones, as it has a lock, and the bytes fit into it;
        // `bytes` is a reference, and so does not overlap with memory to which none points.
        unsafe {
            let to = self.start.as_ptr().add(slot * SLOT_BYTES + place);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.writing.len() * SLOT_BYTES;
        // SAFETY: mapped in `new`, with this length; nothing points to it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}
