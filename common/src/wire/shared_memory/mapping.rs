//! [`Mapping`]: the memory of a region, mapped into this process.
//!
//! The only module of the wire with `unsafe`. What makes it sound:
//! - **Memory.** The mapping has the length of the region, whose size is sealed before it is mapped
//!   by a receiver, and lives until it is dropped. Only [`Mapping`] knows its address, and every
//!   access is checked to lie within one slot.
//! - **No references.** No reference to the memory is ever made, only raw pointers.
//! - **Reads** are volatile, word by word: each word (of a vector register) is read exactly once, and the compiler assumes
//!   nothing about what it finds. Another process may write meanwhile; then the copy is some mixture
//!   of bytes, which its reader finds out by its hash. A copy by a system call would do the same, and
//!   takes several times as long.
//! - **Writes** only happen in a mapping that was made for it. A slot's lock is held during the copy,
//!   so that no two threads write to the same bytes, and what is written is never read here: it does
//!   not matter what others do with it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::SLOT_BYTES;

/// What is read at a time: half as many reads as with words of 8 bytes.
#[cfg(target_arch = "x86_64")]
type Word = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Word = u64;

/// Its bytes.
const WORD_BYTES: usize = size_of::<Word>();

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    slots: u32,
    /// One lock for each slot, if it can be written.
    writing: Option<Box<[Mutex<()>]>>,
}

// SAFETY: the memory belongs to no thread; `write` excludes other writers of the same bytes, and
// `read` takes any bytes that it finds.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first slots of a file, which is at least as long, to be read.
    pub(super) fn to_read(file: &File, slots: u32) -> io::Result<Self> {
        let start = map(file, slots, ProtFlags::READ)?;
        Ok(Self { start, slots, writing: None })
    }

    /// Maps the first slots of a file, which is at least as long, to be read and written.
    pub(super) fn to_write(file: &File, slots: u32) -> io::Result<Self> {
        let start = map(file, slots, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { start, slots, writing: Some((0..slots).map(|_| Mutex::new(())).collect()) })
    }

    /// Whether [`Mapping::write`] may be called.
    pub(super) fn is_writable(&self) -> bool {
        self.writing.is_some()
    }

    /// Copies bytes to a place in a slot, counted from its beginning.
    ///
    /// # Panics
    /// The mapping is only to be read, there is no such slot, or it ends before the bytes do.
    pub(super) fn write(&self, slot: u32, place: usize, bytes: &[u8]) {
        let to = self.address(slot, place, bytes.len());
        let writing = self.writing.as_ref().expect("mapped to be written");
        let _alone = writing[slot as usize].lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the address is of as many mapped bytes, which can be written, as there are locks;
        // `bytes` is a reference, and so does not overlap with memory to which none points.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
    }

    /// Copies bytes from a place in a slot, a multiple of 16 bytes from its beginning.
    ///
    /// # Panics
    /// There is no such slot, it ends before the bytes do, or the place is another one.
    pub(super) fn read(&self, slot: u32, place: usize, out: &mut [u8]) {
        assert!(place.is_multiple_of(WORD_BYTES), "reads begin at words");
        let from = self.address(slot, place, out.len());
        let (words, rest) = out.as_chunks_mut::<WORD_BYTES>();
        let first = from.cast::<Word>();
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: within the bytes of the address. Mappings and slots begin at pages, and the
            // place is a multiple of a word, so that all words are aligned.
            let read = unsafe { first.add(index).read_volatile() };
            // SAFETY: the bytes of a reference, which need no alignment; every word is some bytes.
            unsafe { word.as_mut_ptr().cast::<Word>().write_unaligned(read) };
        }
        let after = words.len() * WORD_BYTES;
        for (index, byte) in rest.iter_mut().enumerate() {
            // SAFETY: within the bytes of the address.
            *byte = unsafe { from.add(after + index).read_volatile() };
        }
    }

    /// The address of so many mapped bytes at a place in a slot.
    fn address(&self, slot: u32, place: usize, bytes: usize) -> NonNull<u8> {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        let fits = SLOT_BYTES.checked_sub(place).is_some_and(|room| bytes <= room);
        assert!(fits, "{bytes} bytes at {place} of a slot");
        // SAFETY: the slot is one of those that are mapped, and the place is inside it.
        unsafe { self.start.add(slot as usize * SLOT_BYTES + place) }
    }
}

/// The address at which the first slots of a file are mapped now.
fn map(file: &File, slots: u32, protection: ProtFlags) -> io::Result<NonNull<u8>> {
    let bytes = slots as usize * SLOT_BYTES;
    // SAFETY: the system chooses an address at which nothing is mapped.
    let start = unsafe { mmap(null_mut(), bytes, protection, MapFlags::SHARED, file, 0) }?;
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.slots as usize * SLOT_BYTES;
        // SAFETY: mapped by `map`, with this length; nothing points to it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}
