//! Merging one piece into its segment's tree, and a complete tree into the next state.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::Bytes;
use common::id::StepId;
use common::merge::{Contribution, MergeTree, finish_segment, is_segment_finite, segment_hash};
use common::state::NetworkState;
use common::wire::FramePool;
use common::wire::shared_memory::PartialSlot;

use super::partial::{PartialError, decode};
use super::{Cut, Fetch};
use crate::server::net::StateFrames;

/// The tree of one segment, until it is complete.
pub(super) type Tree = Arc<Mutex<Option<MergeTree<Contribution>>>>;

/// The state after the step, and merged segments that are not part of it yet.
///
/// No job waits for the state: one that finds it in use leaves its segment to the job that uses it.
#[derive(Debug)]
pub(in crate::server) struct NextState {
    /// Taken out when every segment is finished.
    state: Mutex<Option<Merging>>,
    merged: Mutex<Vec<(usize, Option<Contribution>)>>,
    /// Where finished segments are sent from, before the others are.
    frames: Option<Arc<StateFrames>>,
}

/// A state of which some segments are finished.
#[derive(Debug)]
struct Merging {
    state: NetworkState,
    finished: Vec<bool>,
    /// How many finished segments there are before the first other one.
    first: usize,
    is_finite: bool,
}

impl Merging {
    fn finish(
        &mut self,
        base: &NetworkState,
        (cut, index): (&Cut, usize),
        merged: Option<&Contribution>,
    ) -> FinishedSegment {
        let segment = &cut.segments[index];
        finish_segment(base, segment, merged, &mut self.state);
        let is_finite = is_segment_finite(&self.state, segment);
        self.finished[index] = true;
        self.is_finite &= is_finite;
        while self.finished.get(self.first).is_some_and(|is_finished| *is_finished) {
            self.first += 1;
        }
        FinishedSegment { segment: index, is_finite }
    }

    /// The values of a segment of the state, if they are finished, and nothing before them has
    /// failed.
    fn values(&self, cut: &Cut, place: usize) -> Option<Cow<'_, [u8]>> {
        let is_finished = self.is_finite && cut.needs[place] <= self.first;
        is_finished.then(|| self.state.segment_bytes(&cut.state_segments[place]))
    }
}

/// A segment that is part of the next state now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct FinishedSegment {
    /// Its index.
    pub(super) segment: usize,
    /// Whether its values are finite: they are checked while they are in the cache.
    pub(super) is_finite: bool,
}

impl NextState {
    /// A state of which no segment is finished. Finished ones are sent as `frames`, if given.
    pub(in crate::server) fn new(
        state: NetworkState,
        cut: &Cut,
        frames: Option<Arc<StateFrames>>,
    ) -> Arc<Self> {
        let finished = vec![false; cut.segments.len()];
        let merging = Merging { state, finished, first: 0, is_finite: true };
        Arc::new(Self { state: Mutex::new(Some(merging)), merged: Mutex::default(), frames })
    }

    /// Whether finished segments are sent before the others are finished.
    pub(super) fn is_sent_meanwhile(&self) -> bool {
        self.frames.is_some()
    }

    /// Takes the state out. Jobs of a paused merge find nothing to write to any more.
    pub(super) fn take(&self) -> Option<NetworkState> {
        lock(&self.state).take().map(|merging| merging.state)
    }

    /// Calls `f` while the state is in use.
    #[cfg(test)]
    pub(super) fn in_use(&self, f: impl FnOnce()) {
        let _state = lock(&self.state);
        f();
    }

    /// Finishes a merged segment, and those that other jobs leave here meanwhile.
    pub(super) fn finish(
        &self,
        (cut, base): (&Cut, &NetworkState),
        segment: usize,
        merged: Option<Contribution>,
    ) -> Vec<FinishedSegment> {
        let mut finished = Vec::new();
        lock(&self.merged).push((segment, merged));
        loop {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return finished,
            };
            let merged = std::mem::take(&mut *lock(&self.merged));
            if let Some(state) = state.as_mut() {
                for (index, merged) in merged {
                    finished.push(state.finish(base, (cut, index), merged.as_ref()));
                    // While it is in the cache.
                    if let Some(frames) = &self.frames {
                        frames.grow(|place| state.values(cut, place));
                    }
                }
            }
            drop(state);
            // A job that came before the state was free has left its segment.
            if lock(&self.merged).is_empty() {
                return finished;
            }
        }
    }
}

/// A lock's content: no code leaves it in an invalid state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a pulled piece.
#[derive(Debug)]
pub(in crate::server) enum Payload {
    /// As received.
    Sent(Bytes),
    /// In memory that the worker shares, and can still change.
    Shared(PartialSlot),
}

impl Payload {
    /// The bytes, which nobody can change any more, if this is their [`segment_hash`]. A slot is
    /// free for the next piece afterwards.
    fn read(self, hash: u128, spare: &FramePool) -> Result<Bytes, PartialError> {
        let (bytes, found) = match self {
            Self::Sent(bytes) => {
                let found = segment_hash(&bytes);
                (bytes, found)
            }
            Self::Shared(slot) => {
                let mut found = 0;
                let bytes = spare.filled(slot.bytes(), |bytes| found = slot.read(bytes));
                (bytes, found)
            }
        };
        if found == hash { Ok(bytes) } else { Err(PartialError::Altered) }
    }
}

/// A piece: one part's share of one segment.
#[derive(Debug)]
pub(in crate::server) enum Content {
    /// As the worker made it, and the [`segment_hash`] that it must have.
    Encoded(Payload, u128),
    /// As decoded from an inline partial.
    Decoded(Option<Contribution>),
}

/// Merges one piece; runs on a thread of its own, not on the rayon pool. Merging uses that pool
/// itself, and a pool thread that waits for it may take other work, which must not be another job
/// that needs the same locks.
#[derive(Debug)]
pub(in crate::server) struct Job {
    pub(super) step: StepId,
    pub(super) generation: u64,
    pub(super) fetch: Fetch,
    pub(super) content: Content,
    pub(super) tree: Tree,
    pub(super) cut: Arc<Cut>,
    pub(super) base: Arc<NetworkState>,
    pub(super) next: Arc<NextState>,
}

/// The result of a job.
#[derive(Debug)]
pub(in crate::server) struct JobDone {
    /// The step.
    pub(in crate::server) step: StepId,
    pub(super) generation: u64,
    /// The piece.
    pub(in crate::server) fetch: Fetch,
    /// The segments that it finished, of whichever piece, or the error in its own piece.
    pub(in crate::server) outcome: Result<Vec<FinishedSegment>, PartialError>,
}

impl Job {
    /// Checks and decodes the piece, inserts it into its segment's tree, and finishes the segment
    /// after the last piece.
    pub(in crate::server) fn run(self) -> JobDone {
        let contribution = match self.content {
            Content::Decoded(contribution) => Ok(contribution),
            Content::Encoded(payload, hash) => {
                let (index, weight) = (self.fetch.segment, self.fetch.piece.weight);
                let payload = payload.read(hash, &self.cut.spare);
                payload.and_then(|payload| decode(&self.cut, index, weight, &payload))
            }
        };
        let outcome = contribution.map(|contribution| {
            let mut slot = lock(&self.tree);
            let Some(mut tree) = slot.take() else { return Vec::new() };
            tree.insert(self.fetch.piece.block, contribution);
            if !tree.is_complete() {
                *slot = Some(tree);
                return Vec::new();
            }
            drop(slot);
            let merged = tree.into_root();
            self.next.finish((&self.cut, &self.base), self.fetch.segment, merged)
        });
        let Self { step, generation, fetch, .. } = self;
        JobDone { step, generation, fetch, outcome }
    }
}
