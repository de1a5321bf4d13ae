//! The part of an [`Outbox`] for a worker that shares memory: which slots of states it has to read,
//! and which slots of its partials were read here.

use std::sync::Arc;

use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use common::wire::shared_memory::{StateSlot, StateSlots, UNREAD_STATE_SLOTS};

use super::{Outbox, StateFrames};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedLanes {
    states: Arc<StateSlots>,
    /// Segments that the worker was told of, and has not read.
    unread: Vec<Arc<StateSlot>>,
    /// Slots of the worker's partials that were read, and of which it was not told yet.
    read: Vec<u32>,
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
        Some(frame)
    }

    /// The message about the slots that were read.
    pub(super) fn next_read(&mut self) -> Option<Frame> {
        let slots = std::mem::take(&mut self.read);
        (!slots.is_empty()).then(|| encode(ToWorker::SlotsRead { slots }))
    }
}

impl Outbox {
    /// Sends large segments of states through `states` from now on.
    pub(in crate::server::net) fn share_memory(&self, states: Arc<StateSlots>) {
        let (unread, read) = Default::default();
        self.lanes().memory = Some(SharedLanes { states, unread, read });
    }

    /// Whether the peer shares memory.
    pub(in crate::server::net) fn shares_memory(&self) -> bool {
        self.lanes().memory.is_some()
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
