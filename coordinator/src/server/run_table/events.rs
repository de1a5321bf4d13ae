//! The events of a run, kept for clients that follow it later. At the bound, the oldest ones are
//! dropped.

use std::collections::VecDeque;

use common::wire::Frame;

/// Most events of a run that are kept.
const EVENTS: usize = 16 << 10;

/// Most bytes of these events, unless a single one is larger: an evaluation may have a million
/// bytes of counts.
pub(in crate::server) const EVENT_BYTES: usize = 8 << 20;

/// Most kept events of a run that ended long ago.
const OLD_EVENTS: usize = 16;

/// Most bytes of these events, unless the last one is larger.
const OLD_EVENT_BYTES: usize = 64 << 10;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::server) struct Events {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Events {
    /// Adds an event.
    pub(in crate::server) fn push(&mut self, event: Frame) {
        self.bytes += event.size();
        self.frames.push_back(event);
        self.keep(EVENTS, EVENT_BYTES);
    }

    /// Removes the last event.
    pub(in crate::server) fn pop(&mut self) {
        if let Some(event) = self.frames.pop_back() {
            self.bytes -= event.size();
        }
    }

    /// The kept events, in order.
    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }

    /// Keeps only the last few events of a run that ended long ago.
    pub(in crate::server) fn age(&mut self) {
        self.keep(OLD_EVENTS, OLD_EVENT_BYTES);
    }

    /// The last event is kept, whatever its size: usually it tells how the run ended.
    fn keep(&mut self, count: usize, bytes: usize) {
        while self.frames.len() > count || (self.bytes > bytes && self.frames.len() > 1) {
            if let Some(event) = self.frames.pop_front() {
                self.bytes -= event.size();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn event(bytes: usize) -> Frame {
        Frame { head: Bytes::from(vec![0; bytes]), body: Bytes::new() }
    }

    fn sizes(events: &Events) -> Vec<usize> {
        events.iter().map(Frame::size).collect()
    }

    #[test]
    fn events_are_bounded_in_number_and_in_bytes() {
        let mut events = Events::default();
        for _ in 0..EVENTS + 3 {
            events.push(event(1));
        }
        assert_eq!((events.frames.len(), events.bytes), (EVENTS, EVENTS));
        events.push(event(EVENT_BYTES - 5));
        assert_eq!((events.frames.len(), events.bytes), (6, EVENT_BYTES));
        events.push(event(EVENT_BYTES + 1));
        assert_eq!(sizes(&events), [EVENT_BYTES + 1], "one is kept, whatever its size");
        events.push(event(2));
        assert_eq!(sizes(&events), [2]);
    }

    #[test]
    fn little_is_kept_of_a_run_that_ended_long_ago_and_its_last_event_always() {
        let mut events = Events::default();
        (0..OLD_EVENTS + 3).for_each(|_| events.push(event(7)));
        events.age();
        assert_eq!(sizes(&events), [7; OLD_EVENTS]);
        events.push(event(OLD_EVENT_BYTES + 1));
        events.age();
        assert_eq!(sizes(&events), [OLD_EVENT_BYTES + 1]);
        events.pop();
        assert_eq!((sizes(&events), events.bytes), (vec![], 0));
    }
}
