//! [`StateFrames`]: the messages of a whole state, shared by all connections.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use common::id::StepId;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use common::wire::shared_memory::{LEAST_BYTES, StateSlot, StateSlots};

/// The frames of a whole state. Each frame is made when the first connection sends it, when its
/// bytes enter the processor's cache anyway, and is shared with all others: its checksum reads
/// every byte, and the engine has no time for that.
pub(in crate::server) struct StateFrames {
    made: Box<[OnceLock<Frame>]>,
    make: Box<dyn Fn(usize) -> Frame + Send + Sync>,
    /// For the base of a step: its segments in memory that workers share.
    shared: Option<SharedSegments>,
}

/// A base whose segments may also lie in shared memory.
struct SharedSegments {
    step: StepId,
    payload: Box<dyn Fn(usize) -> Bytes + Send + Sync>,
    /// The slot of each segment, as long as a worker has to read it.
    slots: Box<[Mutex<Weak<StateSlot>>]>,
}

impl StateFrames {
    /// This many frames; `make` makes the frame of an index.
    pub(in crate::server) fn new(
        count: usize,
        make: impl Fn(usize) -> Frame + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { made: unmade(count), make: Box::new(make), shared: None })
    }

    /// The frames of a step's base, of this many segments with these values.
    pub(in crate::server) fn of_base(
        step: StepId,
        segments: usize,
        payload: impl Fn(usize) -> Bytes + Clone + Send + Sync + 'static,
    ) -> Arc<Self> {
        let values = payload.clone();
        let make = move |place| {
            encode(ToWorker::StateSegment { step, segment: place as u32, payload: values(place) })
        };
        let slots = std::iter::repeat_with(Mutex::default).take(segments).collect();
        let shared = SharedSegments { step, payload: Box::new(payload), slots };
        Arc::new(Self { made: unmade(segments), make: Box::new(make), shared: Some(shared) })
    }

    /// Number of frames.
    pub(super) fn count(&self) -> usize {
        self.made.len()
    }

    /// The frame of an index; `None` behind the last one.
    pub(super) fn get(&self, place: usize) -> Option<Frame> {
        let frame = self.made.get(place)?;
        Some(frame.get_or_init(|| (self.make)(place)).clone())
    }

    /// The message that a segment lies in shared memory, and its slot, which is to be held until
    /// the worker has read it. `None` if it must be sent: it is small, no slot is free, or it is
    /// no segment of a base.
    pub(super) fn in_memory(
        &self,
        place: usize,
        slots: &Arc<StateSlots>,
    ) -> Option<(Frame, Arc<StateSlot>)> {
        let SharedSegments { step, payload, slots: written } = self.shared.as_ref()?;
        let mut written = written.get(place)?.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match written.upgrade() {
            Some(slot) => slot,
            None => {
                let payload = payload(place);
                if payload.len() < LEAST_BYTES {
                    return None;
                }
                let slot = slots.write(&payload)?;
                *written = Arc::downgrade(&slot);
                slot
            }
        };
        let (step, segment) = (*step, place as u32);
        let (number, hash) = (slot.slot(), slot.hash());
        let message = ToWorker::StateInMemory { step, segment, slot: number, hash };
        Some((encode(message), slot))
    }
}

/// Frames that nothing has been sent of.
fn unmade(count: usize) -> Box<[OnceLock<Frame>]> {
    std::iter::repeat_with(OnceLock::new).take(count).collect()
}

impl fmt::Debug for StateFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFrames").field("count", &self.made.len()).finish_non_exhaustive()
    }
}
