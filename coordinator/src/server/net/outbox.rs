//! The queue of messages to be sent on one connection.
//!
//! Two lanes: *control* (small messages) always goes first; *data* is a queue
//! of [`Transfer`]s, each of which is expanded into frames only as they are
//! written, so that a queued state costs no memory. The engine fills the
//! lanes and never waits; one task per connection empties them.

mod frames;
mod growing;
mod memory;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::id::{RunId, StepId};
use common::limits;
use common::spec::Split;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(in crate::server) use frames::StateFrames;
pub(in crate::server) use growing::Receivers;
use memory::SharedLanes;
use writing::GATHERED;

/// How long a peer's final message may wait when nothing can be written to the peer, and how long
/// writing it may take.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Most events of followed runs that may wait for one client.
const WAITING_EVENTS: usize = 32 << 10;

/// Most bytes of these events: all kept events of a few runs fit.
pub(in crate::server) const WAITING_EVENT_BYTES: usize = 32 << 20;

/// Several frames that are sent one after another, as one item of the data
/// lane.
#[derive(Debug)]
pub(in crate::server) enum Transfer {
    /// A whole state. The frames are shared by all connections.
    State {
        /// The step whose base it is; `None` for a state that a client fetches.
        step: Option<StepId>,
        /// Its frames.
        frames: Arc<StateFrames>,
        /// The next one to send.
        next: usize,
    },
    /// Chunks of examples, each at most once.
    Chunks(BTreeMap<(RunId, Split, u32), Bytes>),
    /// Events of a followed run.
    Events(VecDeque<Frame>),
    /// The base of `step` is the same as the base of the step before it, which is over. Stays
    /// behind that step's state.
    Same {
        /// The step.
        step: StepId,
        /// Sends both messages, the equal base first; empty once sent.
        both: Bytes,
        /// Sends only that the step before is over.
        done: Frame,
    },
}

impl Transfer {
    /// The next frame, and the step whose state it shows. `memory` is what the peer shares.
    fn next(&mut self, memory: Option<&mut SharedLanes>) -> Option<(Frame, Option<StepId>)> {
        match self {
            Self::State { step, frames, next } => {
                let place = *next;
                *next += 1;
                let sent = match memory.and_then(|memory| memory.next_segment(frames, place)) {
                    // The frame shows a slot, and not the state's own memory.
                    Some(frame) => (frame, None),
                    None => (frames.get(place)?, *step),
                };
                frames.pass(place);
                Some(sent)
            }
            Self::Chunks(chunks) => {
                let ((run, split, chunk), payload) = chunks.pop_first()?;
                Some((encode(ToWorker::Chunk { run, split, chunk, payload }), None))
            }
            Self::Events(events) => Some((events.pop_front()?, None)),
            Self::Same { both, .. } => {
                let head = std::mem::take(both);
                (!head.is_empty()).then_some((Frame { head, body: Bytes::new() }, None))
            }
        }
    }
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Not yet.
    Open,
    /// After everything queued is written.
    WhenEmpty,
    /// After the final message to the peer, but after [`CLOSE_GRACE`] at the latest.
    Parting,
    /// At once.
    Now,
}

/// The two lanes.
#[derive(Debug)]
struct Lanes {
    control: VecDeque<Frame>,
    data: VecDeque<Transfer>,
    /// Bytes of all waiting events.
    event_bytes: usize,
    /// Until when events wait for others.
    events_wait: Option<Instant>,
    /// Whether the writer waits until then.
    gathers: bool,
    ending: Ending,
    /// A lane was full when another message was queued.
    overflowed: bool,
    /// The step whose state is in the writer's pieces.
    writing: Option<StepId>,
    /// The writer must copy the rest of its pieces and release the state.
    detach: bool,
    /// If the peer shares memory.
    memory: Option<SharedLanes>,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Outbox {
    lanes: Mutex<Lanes>,
    wake: Notify,
    parting: Notify,
}

/// The peer does not read: a lane of its connection is full.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Overflow;

impl Outbox {
    /// Nothing waits.
    pub(in crate::server) fn new() -> Self {
        let lanes = Lanes {
            control: VecDeque::new(),
            data: VecDeque::new(),
            event_bytes: 0,
            events_wait: None,
            gathers: false,
            ending: Ending::Open,
            overflowed: false,
            writing: None,
            detach: false,
            memory: None,
        };
        Self { lanes: Mutex::new(lanes), wake: Notify::new(), parting: Notify::new() }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control message.
    pub(in crate::server) fn control(&self, frame: Frame) {
        let mut lanes = self.lanes();
        if lanes.control.len() < limits::CONTROL_QUEUE {
            lanes.control.push_back(frame);
        } else {
            lanes.overflowed = true;
        }
    }

    /// Queues a heartbeat, unless other control messages are waiting.
    pub(in crate::server) fn heartbeat(&self, frame: &Frame) {
        let mut lanes = self.lanes();
        if lanes.control.is_empty() {
            lanes.control.push_back(frame.clone());
        }
    }

    /// Queues a transfer behind the waiting ones.
    pub(in crate::server) fn data(&self, transfer: Transfer) {
        let mut lanes = self.lanes();
        if lanes.data.len() < limits::DATA_QUEUE {
            lanes.data.push_back(transfer);
        } else {
            lanes.overflowed = true;
        }
    }

    /// Queues chunks, merged with waiting ones.
    pub(in crate::server) fn chunks(
        &self,
        chunks: impl Iterator<Item = ((RunId, Split, u32), Bytes)>,
    ) {
        let mut lanes = self.lanes();
        let waiting = lanes.data.iter_mut().find_map(|transfer| match transfer {
            Transfer::Chunks(waiting) => Some(waiting),
            _ => None,
        });
        if let Some(waiting) = waiting {
            waiting.extend(chunks);
            return;
        }
        drop(lanes);
        self.data(Transfer::Chunks(chunks.collect()));
    }

    /// Queues events of a followed run, behind the waiting ones.
    pub(in crate::server) fn events(&self, events: impl Iterator<Item = Frame>) {
        let events: VecDeque<Frame> = events.collect();
        let mut lanes = self.lanes();
        lanes.event_bytes += events.iter().map(Frame::size).sum::<usize>();
        let is_long = lanes.event_bytes > WAITING_EVENT_BYTES;
        lanes.overflowed |= is_long;
        if let Some(Transfer::Events(waiting)) = lanes.data.back_mut() {
            waiting.extend(events);
            let full = waiting.len() > WAITING_EVENTS;
            lanes.overflowed |= full;
            return;
        }
        drop(lanes);
        self.data(Transfer::Events(events));
    }

    /// Removes waiting states of a run's steps up to `of`, so that a slow connection keeps no old
    /// state in memory.
    pub(in crate::server) fn drop_states(&self, of: StepId) {
        let old = |step: &StepId| step.run == of.run && step.index <= of.index;
        let mut lanes = self.lanes();
        for transfer in std::mem::take(&mut lanes.data) {
            match transfer {
                Transfer::State { step: Some(step), .. } if old(&step) => {}
                // Without the state that it refers to, the equal base is meaningless; the end of
                // the step must still be sent.
                Transfer::Same { step, both, done } if old(&step) => {
                    if !both.is_empty() {
                        lanes.control.push_back(done);
                    }
                }
                transfer => lanes.data.push_back(transfer),
            }
        }
        if lanes.writing.as_ref().is_some_and(old) {
            lanes.detach = true;
            self.wake.notify_one();
        }
    }

    /// Removes a run's waiting states and chunks.
    pub(in crate::server) fn drop_run(&self, of: RunId) {
        let mut lanes = self.lanes();
        for transfer in &mut lanes.data {
            if let Transfer::Chunks(chunks) = transfer {
                chunks.retain(|(run, ..), _| *run != of);
            }
        }
        lanes.data.retain(|transfer| match transfer {
            Transfer::State { step: Some(step), .. } | Transfer::Same { step, .. } => {
                step.run != of
            }
            Transfer::Chunks(chunks) => !chunks.is_empty(),
            _ => true,
        });
        if lanes.writing.is_some_and(|step| step.run == of) {
            lanes.detach = true;
            self.wake.notify_one();
        }
    }

    /// Lets the writer see the queued messages. Called once per turn of the engine, so that all
    /// messages of a turn go out in one write.
    pub(in crate::server) fn flush(&self) -> Result<(), Overflow> {
        let lanes = self.lanes();
        let overflowed = lanes.overflowed;
        if !(lanes.gathers && lanes.may_gather()) {
            self.wake.notify_one();
        }
        if overflowed { Err(Overflow) } else { Ok(()) }
    }

    /// Ends the connection once everything is written.
    pub(in crate::server) fn finish(&self) {
        self.end(Ending::WhenEmpty);
    }

    /// Ends the connection at once.
    pub(in crate::server) fn abort(&self) {
        self.end(Ending::Now);
    }

    /// Ends the connection with this final message, behind only the frame that is being written.
    pub(in crate::server) fn part(&self, last: Frame) {
        let mut lanes = self.lanes();
        if matches!(lanes.ending, Ending::Open | Ending::WhenEmpty) {
            lanes.ending = Ending::Parting;
            lanes.data.clear();
            lanes.control.clear();
            lanes.control.push_back(last);
            self.parting.notify_one();
            self.wake.notify_one();
        }
    }

    fn end(&self, ending: Ending) {
        let mut lanes = self.lanes();
        let is_final = lanes.ending == Ending::Now
            || (lanes.ending == Ending::Parting && ending == Ending::WhenEmpty);
        if !is_final {
            lanes.ending = ending;
        }
        if ending == Ending::Now {
            lanes.control.clear();
            lanes.data.clear();
            lanes.event_bytes = 0;
        }
        self.wake.notify_one();
    }
}

#[cfg(test)]
impl Outbox {
    /// All waiting frames, in the order in which they would be written.
    pub(in crate::server) fn take_bytes(&self) -> Vec<u8> {
        let (mut bytes, mut pieces) = (Vec::new(), VecDeque::new());
        while matches!(self.fill(&mut pieces), writing::Fill::Write) {
            pieces.drain(..).for_each(|piece: Bytes| bytes.extend_from_slice(&piece));
            self.lanes().events_wait = None;
        }
        bytes
    }
}

impl Lanes {
    /// Whether nothing but a few events waits, which may wait for more.
    fn may_gather(&self) -> bool {
        let few = |transfer: &Transfer| match transfer {
            Transfer::Events(events) => events.len() <= GATHERED,
            _ => false,
        };
        self.ending == Ending::Open && self.control.is_empty() && self.data.iter().all(few)
    }

    fn next_control(&mut self) -> Option<Frame> {
        let frame = self.control.pop_front();
        // Nothing follows a final message.
        let memory = self.memory.as_mut().filter(|_| self.ending == Ending::Open);
        frame.or_else(|| memory.and_then(SharedLanes::next_read))
    }

    fn next_data(&mut self) -> Option<(Frame, Option<StepId>)> {
        loop {
            let at = self.next_transfer()?;
            let transfer = self.data.get_mut(at)?;
            let next = transfer.next(self.memory.as_mut());
            if let (Transfer::Events(_), Some((frame, _))) = (transfer, &next) {
                self.event_bytes -= frame.size();
            }
            if next.is_some() {
                return next;
            }
            self.data.remove(at);
        }
    }

    /// The transfer that goes next: the first one, or chunks if that is a state that has to be
    /// merged first, as the merge may wait for them.
    fn next_transfer(&self) -> Option<usize> {
        match self.data.front()? {
            Transfer::State { frames, next, .. } if *next < frames.count() => {
                if !frames.is_ready(*next) {
                    return self.data.iter().position(|it| matches!(it, Transfer::Chunks(_)));
                }
                let is_full = self.memory.as_ref().is_some_and(SharedLanes::is_full);
                (!is_full).then_some(0)
            }
            _ => Some(0),
        }
    }
}

#[cfg(test)]
mod tests;
