//! [`Region`]: memory of a fixed size that processes share by its descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::{BLOCK_BYTES, SLOT_BYTES};

#[cfg(target_os = "linux")]
use super::mapping::Mapping;

/// Slots of [`SLOT_BYTES`], in memory that belongs to no file. Its size is sealed.
#[derive(Debug)]
pub struct Region {
    file: File,
    slots: u32,
    /// This process's way to write where all later writers are sealed out.
    #[cfg(target_os = "linux")]
    mapping: Option<Mapping>,
}

#[cfg(target_os = "linux")]
mod sealed {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

    use super::*;

    const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

    impl Region {
        /// A region that only this process can write: others can read its descriptor, but neither
        /// write to it nor map it writable.
        ///
        /// # Errors
        /// The system lacks memory, descriptors, or the seal (Linux before 5.1).
        pub fn for_states(slots: u32) -> io::Result<Self> {
            let file = create(slots)?;
            // Only mappings from before the seal can write.
            let mapping = Mapping::new(&file, slots)?;
            fcntl_add_seals(&file, SIZE | SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
            Ok(Self { file, slots, mapping: Some(mapping) })
        }

        /// A region that every process with its descriptor can write.
        ///
        /// # Errors
        /// The system lacks memory or descriptors.
        pub fn for_partials(slots: u32) -> io::Result<Self> {
            let file = create(slots)?;
            fcntl_add_seals(&file, SIZE | SealFlags::SEAL)?;
            Ok(Self { file, slots, mapping: None })
        }

        /// The region of a received descriptor.
        ///
        /// # Errors
        /// It has another size, or its size is not sealed.
        pub fn received(descriptor: OwnedFd, slots: u32) -> io::Result<Self> {
            let file = File::from(descriptor);
            let (expected, found) = (bytes(slots), file.metadata()?.len());
            if found != expected {
                return Err(io::Error::other(format!(
                    "a region of {found} bytes: expected {expected}"
                )));
            }
            if !fcntl_get_seals(&file)?.contains(SIZE) {
                return Err(io::Error::other("the size of a region is not sealed"));
            }
            Ok(Self { file, slots, mapping: None })
        }
    }

    fn create(slots: u32) -> io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("samebit", flags)?);
        file.set_len(bytes(slots))?;
        Ok(file)
    }

    fn bytes(slots: u32) -> u64 {
        u64::from(slots) * SLOT_BYTES as u64
    }
}

#[cfg(not(target_os = "linux"))]
mod unsupported {
    use super::*;

    fn unsupported() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "shared memory needs Linux")
    }

    impl Region {
        /// Not on this system.
        pub fn for_states(_slots: u32) -> io::Result<Self> {
            Err(unsupported())
        }

        /// Not on this system.
        pub fn for_partials(_slots: u32) -> io::Result<Self> {
            Err(unsupported())
        }

        /// Not on this system.
        pub fn received(_descriptor: OwnedFd, _slots: u32) -> io::Result<Self> {
            Err(unsupported())
        }
    }
}

impl Region {
    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Its descriptor, to be passed on.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Bytes of memory that its used slots take.
    pub fn used_bytes(&self) -> u64 {
        // Blocks of 512 bytes, whatever the file system.
        self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// Copies the first bytes of a slot. What they are is for the caller to check: those who can
    /// write to the region may do so at any time.
    ///
    /// # Errors
    /// The system fails.
    ///
    /// # Panics
    /// There is no such slot, or `out` is longer than it.
    pub fn read(&self, slot: u32, out: &mut [u8]) -> io::Result<()> {
        self.read_and_hash(slot, out, |_| ())
    }

    /// [`Region::read`]; `hash` gets all bytes of the copy, in order and in blocks.
    ///
    /// # Errors
    /// The system fails.
    ///
    /// # Panics
    /// As for [`Region::read`].
    pub fn read_and_hash(
        &self,
        slot: u32,
        out: &mut [u8],
        mut hash: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut offset = self.offset(slot, out.len());
        for block in out.chunks_mut(BLOCK_BYTES) {
            self.file.read_exact_at(block, offset)?;
            hash(block);
            offset += block.len() as u64;
        }
        Ok(())
    }

    /// Copies bytes to the beginning of a slot.
    ///
    /// # Errors
    /// The system fails, or writes to this region are sealed out.
    ///
    /// # Panics
    /// There is no such slot, or it is shorter than `bytes`.
    pub fn write(&self, slot: u32, bytes: &[u8]) -> io::Result<()> {
        self.write_and_hash(slot, bytes, |_| ())
    }

    /// [`Region::write`]; `hash` gets all bytes, in order and in blocks.
    ///
    /// # Errors
    /// As for [`Region::write`].
    ///
    /// # Panics
    /// As for [`Region::write`].
    pub fn write_and_hash(
        &self,
        slot: u32,
        bytes: &[u8],
        mut hash: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let offset = self.offset(slot, bytes.len());
        for (place, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            self.write_block(slot, (offset, place * BLOCK_BYTES), block)?;
            hash(block);
        }
        Ok(())
    }

    /// Copies bytes to a place in a slot, which begins at `offset`.
    fn write_block(
        &self,
        slot: u32,
        (offset, within): (u64, usize),
        bytes: &[u8],
    ) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(mapping) = &self.mapping {
            mapping.write(slot, within, bytes);
            return Ok(());
        }
        self.file.write_all_at(bytes, offset + within as u64)
    }

    /// Where a slot begins.
    fn offset(&self, slot: u32, bytes: usize) -> u64 {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        assert!(bytes <= SLOT_BYTES, "{bytes} bytes in a slot");
        u64::from(slot) * SLOT_BYTES as u64
    }
}
