//! [`StateFrames`]: the messages of a state, shared by all connections.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use common::id::StepId;
use common::state::{NetworkState, Segment, shared_segment};
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use common::wire::shared_memory::{LEAST_BYTES, StateSlot, StateSlots};
use common::wire::{Frame, FramePool};

use super::growing::{Growing, Receivers};

/// The frames of a state. Each frame is made when the first connection sends it, when its
/// bytes enter the processor's cache anyway, and is shared with all others: its checksum reads
/// every byte, and the engine has no time for that.
///
/// A state that is still being merged [grows](StateFrames::grow): the segments that are finished are
/// sent meanwhile.
pub(in crate::server) struct StateFrames {
    made: Box<[OnceLock<Frame>]>,
    make: Box<dyn Fn(usize) -> Frame + Send + Sync>,
    /// For the base of a step.
    base: Option<Base>,
}

/// A base: its segments may also lie in shared memory, and leave before it is whole.
struct Base {
    step: StepId,
    payload: Box<dyn Fn(usize) -> Bytes + Send + Sync>,
    /// The slot of each segment, as long as a worker has to read it.
    slots: Box<[Mutex<Weak<StateSlot>>]>,
    growing: Option<Mutex<Growing>>,
    /// Memory for segments of a growing state.
    spare: FramePool,
    whole: Arc<OnceLock<Arc<NetworkState>>>,
}

impl StateFrames {
    /// This many frames; `make` makes the frame of an index.
    pub(in crate::server) fn new(
        count: usize,
        make: impl Fn(usize) -> Frame + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { made: unmade(count), make: Box::new(make), base: None })
    }

    /// The frames of a step's base, which has these segments.
    pub(in crate::server) fn of_base(
        step: StepId,
        state: Arc<NetworkState>,
        segments: Arc<[Segment]>,
    ) -> Arc<Self> {
        Arc::new(Self::of_step(step, Arc::new(OnceLock::from(state)), segments))
    }

    /// The frames of a step's base that is still being merged. Copies of segments are in memory of
    /// `spare`.
    pub(in crate::server) fn of_growing(
        step: StepId,
        segments: Arc<[Segment]>,
        spare: FramePool,
    ) -> Arc<Self> {
        let mut frames = Self::of_step(step, Arc::default(), segments);
        if let Some(base) = &mut frames.base {
            (base.growing, base.spare) = (Some(Mutex::default()), spare);
        }
        Arc::new(frames)
    }

    fn of_step(
        step: StepId,
        whole: Arc<OnceLock<Arc<NetworkState>>>,
        segments: Arc<[Segment]>,
    ) -> Self {
        let count = segments.len();
        let state = whole.clone();
        let values = move |place: usize| {
            let state =
                state.get().expect("segments of a growing state are sent as they are added");
            shared_segment(state, &segments[place])
        };
        let payload = values.clone();
        let make = move |place| state_segment(step, place, values(place));
        let slots = std::iter::repeat_with(Mutex::default).take(count).collect();
        let base = Base {
            step,
            payload: Box::new(payload),
            slots,
            growing: None,
            spare: FramePool::default(),
            whole,
        };
        Self { made: unmade(count), make: Box::new(make), base: Some(base) }
    }

    /// Number of frames.
    pub(super) fn count(&self) -> usize {
        self.made.len()
    }

    /// The frame of an index; `None` behind the last one.
    pub(super) fn get(&self, place: usize) -> Option<Frame> {
        let frame = self.made.get(place)?;
        let growing = self.growing();
        if let Some(frame) = growing.and_then(|growing| growing.get(place)?.frame.clone()) {
            return Some(frame);
        }
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
        let Base { step, payload, slots: written, .. } = self.base.as_ref()?;
        let mut written = written.get(place)?.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match written.upgrade() {
            Some(slot) => slot,
            None => {
                let waiting = self.growing().and_then(|it| it.get(place)?.frame.clone());
                let payload = waiting.map_or_else(|| payload(place), |frame| frame.body);
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

/// The state of a step that is merged meanwhile.
impl StateFrames {
    fn growing(&self) -> Option<MutexGuard<'_, Growing>> {
        let growing = self.base.as_ref()?.growing.as_ref()?;
        Some(growing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// These workers are sent the segments from now on.
    pub(in crate::server) fn send_to(&self, receivers: Receivers) {
        if let Some(mut growing) = self.growing() {
            growing.receivers = receivers;
        }
    }

    /// Adds finished segments in order, as many as may wait: `values` gives those of a segment, if
    /// it is finished. One thread at a time may call this.
    ///
    /// The last segment is never added: a worker with the whole state may forget the step before,
    /// and must not before the coordinator knows that it is merged.
    pub(in crate::server) fn grow<'a>(&self, values: impl Fn(usize) -> Option<Cow<'a, [u8]>>) {
        while let Some((place, receivers)) = self.next_to_grow()
            && place + 1 < self.count()
            && let Some(values) = values(place)
        {
            self.add(place, &values, &receivers);
        }
    }

    /// Index of the next segment, if it may be added, and who gets it.
    fn next_to_grow(&self) -> Option<(usize, Receivers)> {
        let growing = self.growing()?;
        growing.has_room().then(|| (growing.next(), growing.receivers.clone()))
    }

    fn add(&self, place: usize, values: &[u8], receivers: &Receivers) {
        let (Some(base), Receivers { count, remote, memory }) = (&self.base, receivers) else {
            return;
        };
        let memory = memory.as_ref().filter(|_| remote < count && values.len() >= LEAST_BYTES);
        let slot = memory.and_then(|memory| memory.write(values));
        if let (Some(slot), Some(written)) = (&slot, base.slots.get(place)) {
            *written.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(slot);
        }
        let copy = || base.spare.filled(values.len(), |copy| copy.copy_from_slice(values));
        let is_sent = slot.is_none() || *remote > 0;
        let frame = is_sent.then(|| state_segment(base.step, place, copy()));
        if let Some(mut growing) = self.growing() {
            growing.push(slot, frame, values.len());
        }
    }

    /// The state is whole.
    pub(in crate::server) fn end_growth(&self, state: Arc<NetworkState>) {
        if let (Some(base), Some(mut growing)) = (&self.base, self.growing()) {
            // Only one state ends the growth: the step is merged once.
            let _ = base.whole.set(state);
            growing.end();
        }
    }

    /// Whether the frame of an index can be sent.
    pub(super) fn is_ready(&self, place: usize) -> bool {
        self.growing().is_none_or(|growing| growing.is_ready(place))
    }

    /// Notes that the frame of an index was sent on one connection.
    pub(super) fn pass(&self, place: usize) {
        if let Some(mut growing) = self.growing() {
            growing.pass(place);
        }
    }
}

fn state_segment(step: StepId, place: usize, payload: Bytes) -> Frame {
    encode(ToWorker::StateSegment { step, segment: place as u32, payload })
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
