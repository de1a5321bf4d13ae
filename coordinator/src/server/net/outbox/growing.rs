//! Segments of a state that is still being merged: they leave before it is whole.

use std::collections::VecDeque;
use std::sync::Arc;

use common::wire::Frame;
use common::wire::shared_memory::{StateSlot, StateSlots};

/// Bytes of segments that wait to be sent. As long as so many wait, no more are added: they are
/// sent from the state itself, once it is whole.
const WAITING_BYTES: usize = 8 << 20;

/// The workers that are sent a state as it grows.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Receivers {
    /// Their number.
    pub(in crate::server) count: usize,
    /// How many of them are sent bytes over their connections.
    pub(in crate::server) remote: usize,
    /// The memory that the others share.
    pub(in crate::server) memory: Option<Arc<StateSlots>>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Growing {
    pub(super) receivers: Receivers,
    /// Index of the first segment that waits.
    first: usize,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Whether the state is whole, and serves all segments.
    is_whole: bool,
}

/// A segment on its way to all receivers.
#[derive(Debug)]
pub(super) struct Waiting {
    /// For receivers that share memory. Held here, as they are told one after another.
    _slot: Option<Arc<StateSlot>>,
    /// For the others.
    pub(super) frame: Option<Frame>,
    bytes: usize,
    /// How many receivers were sent it.
    passed: usize,
}

impl Growing {
    /// Whether the next segment may be added.
    pub(super) fn has_room(&self) -> bool {
        self.receivers.count > 0 && !self.is_whole && self.bytes < WAITING_BYTES
    }

    /// Index of the segment that may be added next.
    pub(super) fn next(&self) -> usize {
        self.first + self.waiting.len()
    }

    /// Adds the next segment, of this many bytes.
    pub(super) fn push(
        &mut self,
        slot: Option<Arc<StateSlot>>,
        frame: Option<Frame>,
        bytes: usize,
    ) {
        self.waiting.push_back(Waiting { _slot: slot, frame, bytes, passed: 0 });
        self.bytes += bytes;
    }

    /// Whether a segment can be sent.
    pub(super) fn is_ready(&self, place: usize) -> bool {
        self.is_whole || place < self.next()
    }

    /// A segment that waits.
    pub(super) fn get(&self, place: usize) -> Option<&Waiting> {
        self.waiting.get(place.checked_sub(self.first)?)
    }

    /// Notes that a receiver was sent a segment.
    pub(super) fn pass(&mut self, place: usize) {
        let waiting = place.checked_sub(self.first).and_then(|at| self.waiting.get_mut(at));
        if let Some(segment) = waiting {
            segment.passed += 1;
        }
        let receivers = self.receivers.count;
        while self.waiting.front().is_some_and(|segment| segment.passed >= receivers) {
            self.bytes -= self.waiting.pop_front().map_or(0, |segment| segment.bytes);
            self.first += 1;
        }
    }

    /// The state is whole: nothing waits here any more.
    pub(super) fn end(&mut self) {
        self.is_whole = true;
        self.waiting.clear();
    }
}
