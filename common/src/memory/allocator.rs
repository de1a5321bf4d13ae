//! The allocator of the system.

#![allow(unsafe_code)]

/// Large buffers go back to the system when they are freed.
///
/// GNU's allocator stops doing so for buffers of up to 32 MiB once it has seen one freed: it keeps
/// them, in pieces, for the threads that made them, and a process that holds two states may be
/// killed for five.
pub fn return_large_buffers() {
    // SAFETY: the function takes two numbers, and reads or writes no memory of ours. Any value is
    // allowed; one that the allocator refuses changes nothing.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// The least size of these buffers, in bytes. Smaller ones are used again and again, and pages that
/// are new each time cost more than they are worth.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 4 << 20;
