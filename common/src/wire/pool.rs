//! [`FramePool`]: memory of long frames, for reuse.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Frames of at least this many bytes are reused: memory for shorter ones is quick to allocate, for
/// longer ones it comes from the system page by page.
const SPARE_BYTES: usize = 256 << 10;

/// Most frames that are kept.
const SPARE_FRAMES: usize = 8;

/// Memory of long frames that are no longer used, for the next ones. Many readers may share it.
#[derive(Clone, Debug, Default)]
pub struct FramePool(Arc<Mutex<Vec<BytesMut>>>);

impl FramePool {
    /// A frame whose memory is returned here once it is dropped.
    pub(super) fn lend(&self, frame: BytesMut) -> Bytes {
        if frame.len() < SPARE_BYTES {
            return frame.freeze();
        }
        Bytes::from_owner(Pooled { frame, home: self.clone() })
    }

    /// A frame of `bytes` that `fill` writes; what it finds there is of no meaning.
    pub fn filled(&self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
        let mut frame = self.lock().pop().unwrap_or_default();
        if frame.len() < bytes {
            frame.resize(bytes, 0);
        }
        fill(&mut frame[..bytes]);
        self.lend(frame).slice(..bytes)
    }

    /// Moves the content of `buffer` into spare memory of at least `bytes`, if there is any and the
    /// buffer itself is too small.
    pub(super) fn make_room(&self, buffer: &mut BytesMut, bytes: usize) {
        if bytes < SPARE_BYTES || buffer.capacity() >= bytes {
            return;
        }
        let Some(mut spare) = self.lock().pop() else { return };
        // The buffer may be the last user of spare memory: the rest that remained when the
        // frame was split off.
        let begun = Bytes::copy_from_slice(&std::mem::take(buffer));
        spare.clear();
        if spare.try_reclaim(bytes) {
            *buffer = spare;
        }
        buffer.extend_from_slice(&begun);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame on loan.
struct Pooled {
    frame: BytesMut,
    home: FramePool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut spare = self.home.lock();
        if spare.len() < SPARE_FRAMES {
            spare.push(std::mem::take(&mut self.frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_read_frame_is_used_again() {
        let spare = FramePool::default();
        let frame = BytesMut::from(&vec![7; SPARE_BYTES][..]);
        let memory = frame.as_ptr();
        let pooled = spare.lend(frame);
        let reader = pooled.slice(3..9);
        drop(pooled);
        let mut buffer = BytesMut::from(&b"head"[..]);
        spare.make_room(&mut buffer, SPARE_BYTES);
        assert_ne!(buffer.as_ptr(), memory, "it is still read");
        drop(reader);
        spare.make_room(&mut buffer, SPARE_BYTES - 1);
        assert_ne!(buffer.as_ptr(), memory, "not worth it");
        spare.make_room(&mut buffer, SPARE_BYTES);
        assert_eq!((buffer.as_ptr(), &buffer[..]), (memory, &b"head"[..]));
    }
}
