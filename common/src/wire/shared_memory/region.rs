//! [`Region`]: memory of a fixed size that processes share by its descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mapping::Mapping;
use super::{BLOCK_BYTES, SLOT_BYTES};

/// Slots of [`SLOT_BYTES`], in memory that belongs to no file. Its size is sealed.
#[derive(Debug)]
pub struct Region {
    file: File,
    mapping: Mapping,
    /// Bytes of each slot for which the system has memory.
    reserved: Box<[AtomicUsize]>,
}

#[cfg(target_os = "linux")]
mod sealed {
    use rustix::fs::{
        FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals,
        memfd_create,
    };

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
            let mapping = Mapping::to_write(&file, slots)?;
            fcntl_add_seals(&file, SIZE | SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
            Ok(Self::new(file, mapping, slots))
        }

        /// A region that every process with its descriptor can write, which this one reads.
        ///
        /// # Errors
        /// The system lacks memory or descriptors.
        pub fn for_partials(slots: u32) -> io::Result<Self> {
            let file = create(slots)?;
            fcntl_add_seals(&file, SIZE | SealFlags::SEAL)?;
            let mapping = Mapping::to_read(&file, slots)?;
            Ok(Self::new(file, mapping, slots))
        }

        /// The region of a received descriptor, to be read.
        ///
        /// # Errors
        /// It has another size, or its size is not sealed.
        pub fn received_states(descriptor: OwnedFd, slots: u32) -> io::Result<Self> {
            let file = sealed(descriptor, slots)?;
            let mapping = Mapping::to_read(&file, slots)?;
            Ok(Self::new(file, mapping, slots))
        }

        /// The region of a received descriptor, to be written.
        ///
        /// # Errors
        /// It has another size, its size is not sealed, or it cannot be written.
        pub fn received_partials(descriptor: OwnedFd, slots: u32) -> io::Result<Self> {
            let file = sealed(descriptor, slots)?;
            let mapping = Mapping::to_write(&file, slots)?;
            Ok(Self::new(file, mapping, slots))
        }

        /// Takes memory for the first bytes of a slot, unless it has it: a copy of bytes for which
        /// the system has none would end this process.
        pub(in crate::wire::shared_memory) fn reserve(
            &self,
            slot: u32,
            bytes: usize,
        ) -> io::Result<()> {
            let reserved = &self.reserved[slot as usize];
            if reserved.load(Ordering::Relaxed) < bytes {
                let offset = u64::from(slot) * SLOT_BYTES as u64;
                fallocate(&self.file, FallocateFlags::empty(), offset, bytes as u64)?;
                reserved.fetch_max(bytes, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    /// The file of a received descriptor.
    fn sealed(descriptor: OwnedFd, slots: u32) -> io::Result<File> {
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
        Ok(file)
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

        pub(in crate::wire::shared_memory) fn reserve(
            &self,
            _slot: u32,
            _bytes: usize,
        ) -> io::Result<()> {
            Err(unsupported())
        }

        /// Not on this system.
        pub fn received_states(_descriptor: OwnedFd, _slots: u32) -> io::Result<Self> {
            Err(unsupported())
        }

        /// Not on this system.
        pub fn received_partials(_descriptor: OwnedFd, _slots: u32) -> io::Result<Self> {
            Err(unsupported())
        }
    }
}

impl Region {
    fn new(file: File, mapping: Mapping, slots: u32) -> Self {
        Self { file, mapping, reserved: (0..slots).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.reserved.len() as u32
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

    /// Copies the first bytes of a slot; `hash` gets all bytes of the copy, in order and in blocks.
    /// What they are is for the caller to check: those who can write to the region may do so at any
    /// time.
    ///
    /// # Panics
    /// There is no such slot, or `out` is longer than it.
    pub fn read(&self, slot: u32, out: &mut [u8], mut hash: impl FnMut(&[u8])) {
        for (block, out) in out.chunks_mut(BLOCK_BYTES).enumerate() {
            self.mapping.read(slot, block * BLOCK_BYTES, out);
            hash(out);
        }
    }

    /// Copies bytes to the beginning of a slot; `hash` gets all of them, in order and in blocks.
    ///
    /// # Errors
    /// The system lacks memory, or the region is only to be read here.
    ///
    /// # Panics
    /// There is no such slot, or it is shorter than `bytes`.
    pub fn write(&self, slot: u32, bytes: &[u8], mut hash: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.mapping.is_writable() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.reserve(slot, bytes.len())?;
        for (block, bytes) in bytes.chunks(BLOCK_BYTES).enumerate() {
            self.mapping.write(slot, block * BLOCK_BYTES, bytes);
            hash(bytes);
        }
        Ok(())
    }
}
