//! What every part of a simulated cluster shares: virtual time, the queue of
//! what will happen, randomness from the seed, the network, and the counts of
//! the faults that fired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::{AssignmentId, RunId, StepId};

use super::faults::{Fault, Faults};
use super::network::{ConnectionId, Direction, Network};

/// Numbers from a seed, by SplitMix64.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number in the range; its first where it is empty.
    pub(super) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + self.next() % width
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, in_thousand: u64) -> bool {
        self.within(0..1000) < in_thousand
    }
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Deliver(ConnectionId, Direction),
    SchedulerTimer,
    CoordinatorBeat,
    Submit(RunId),
    Cancel(RunId),
    /// Of a coordinator of this life.
    StepReady(StepId, u64),
    /// Of a coordinator of this life.
    Merged(StepId, u64),
    Fault(Fault),
    Restart(usize),
    Resume(usize),
    CoordinatorResume,
    Heal,
    /// Something in a worker's process, if it still is that incarnation.
    Process(usize, u64, ProcessEvent),
}

impl Event {
    /// Whether it happens in the coordinator's process.
    pub(super) fn is_of_coordinator(&self) -> bool {
        match self {
            Self::Deliver(_, Direction::ToCoordinator)
            | Self::SchedulerTimer
            | Self::CoordinatorBeat
            | Self::Submit(_)
            | Self::Cancel(_)
            | Self::StepReady(..)
            | Self::Merged(..) => true,
            Self::Deliver(_, Direction::ToWorker)
            | Self::Fault(_)
            | Self::Restart(_)
            | Self::Resume(_)
            | Self::CoordinatorResume
            | Self::Heal
            | Self::Process(..) => false,
        }
    }
}

/// Something that will happen in a worker's process.
#[derive(Clone, Debug)]
pub(super) enum ProcessEvent {
    SessionTimer,
    Beat,
    HandshakeTimeout(ConnectionId),
    DataReady(AssignmentId),
    StartSaid(AssignmentId),
    ShardEnds(AssignmentId, u32),
    ShardStops(AssignmentId, u32),
}

#[derive(Debug)]
pub(super) struct Context {
    /// What virtual time is added to: pure code only compares times.
    base: Instant,
    /// Virtual time, in microseconds.
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) faults: Faults,
    /// The first broken invariant.
    pub(super) broken: Option<String>,
}

impl Context {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            base: Instant::now(),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            random: Random::new(seed),
            network: Network::default(),
            faults: Faults::default(),
            broken: None,
        }
    }

    /// Virtual time as the pure cores want it.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// Plans an event for so many microseconds from now.
    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), event);
    }

    /// Plans an event for a time that a pure core has named.
    pub(super) fn at(&mut self, at: Instant, event: Event) {
        let micros = at.saturating_duration_since(self.base).as_nanos().div_ceil(1000) as u64;
        self.after(micros.saturating_sub(self.now), event);
    }

    /// Moves time to the next event.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.now = at;
        Some(event)
    }

    /// Notes a broken invariant; the first one counts.
    pub(super) fn ensure(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(format!("at {:.6} s: {}", self.now as f64 / 1e6, broken()));
        }
    }
}
