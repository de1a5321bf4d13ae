//! The part of an [`Outbox`] for a worker that shares memory: which slots of states it has to read,
//! and which slots of its partials were read here.

use std::sync::Arc;

use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use common::wire::shared_memory::{PartialReader, StateSlot, StateSlots, UNREAD_STATE_SLOTS};

use super::{Outbox, StateFrames};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedLanes {
    states: Arc<StateSlots>,
    /// Segments that the worker was told of, and has not read.
    unread: Vec<Arc<StateSlot>>,
    /// The slots of the worker's partials, and those that were read and that it was not told of.
    partials: Arc<PartialReader>,
    read: Vec<u32>,
    /// Whether a segment was written since this was last asked.
    has_written: bool,
}

impl SharedLanes {
    /// Whether the worker has as much to read as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.unread.len() >= UNREAD_STATE_SLOTS
    }

    /// The message about a segment that lies in shared memory; `None` if it must be sent.
    pub(super) fn next_segment(&mut self, frames: &StateFrames, place: usize) -> Option<Frame> {
        let (frame, slot) = frames.in_memory(place, &self.states)?;
        self.unread.push(slot);
        self.has_written = true;
        Some(frame)
    }

    /// Whether a segment was written since the last call: it takes as long as a frame of its size.
    pub(super) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// The message about the slots that were read.
    pub(super) fn next_read(&mut self) -> Option<Frame> {
        let slots = std::mem::take(&mut self.read);
        slots.iter().for_each(|slot| self.partials.told(*slot));
        (!slots.is_empty()).then(|| encode(ToWorker::SlotsRead { slots }))
    }
}

impl Outbox {
    /// Sends large segments of states through `states` from now on, and tells the worker which
    /// slots of `partials` were read.
    pub(in crate::server::net) fn share_memory(
        &self,
        states: Arc<StateSlots>,
        partials: Arc<PartialReader>,
    ) {
        let (unread, read, has_written) = Default::default();
        self.lanes().memory = Some(SharedLanes { states, unread, partials, read, has_written });
    }

    /// Whether the peer shares memory.
    pub(in crate::server::net) fn shares_memory(&self) -> bool {
        self.shared_states().is_some()
    }

    /// The memory in which the peer finds states.
    pub(in crate::server::net) fn shared_states(&self) -> Option<Arc<StateSlots>> {
        self.lanes().memory.as_ref().map(|memory| memory.states.clone())
    }

    /// Notes that the worker has read slots. Returns whether it had to read them.
    pub(in crate::server::net) fn states_read(&self, slots: &[u32]) -> bool {
        let mut lanes = self.lanes();
        let Some(memory) = &mut lanes.memory else { return false };
        for slot in slots {
            let Some(place) = memory.unread.iter().position(|it| it.slot() == *slot) else {
                return false;
            };
            memory.unread.remove(place);
        }
        drop(lanes);
        self.wake.notify_one();
        true
    }

    /// Tells the worker that a slot of its partials was read.
    pub(in crate::server::net) fn partial_read(&self, slot: u32) {
        if let Some(memory) = &mut self.lanes().memory {
            memory.read.push(slot);
        }
        self.wake.notify_one();
    }
}
