//! Merging one piece into its segment's tree, and a complete tree into the next state.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use common::id::StepId;
use common::merge::{Contribution, MergeTree, finish_segment, is_segment_finite, segment_hash};
use common::state::NetworkState;
use common::wire::FramePool;
use common::wire::shared_memory::PartialSlot;

use super::partial::{PartialError, decode};
use super::{Cut, Fetch};

/// The tree of one segment, until it is complete.
pub(super) type Tree = Arc<Mutex<Option<MergeTree<Contribution>>>>;

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
    pub(super) next: Arc<Mutex<Option<NetworkState>>>,
}

/// The result of a job.
#[derive(Debug)]
pub(in crate::server) struct JobDone {
    /// The step.
    pub(in crate::server) step: StepId,
    pub(super) generation: u64,
    /// The piece.
    pub(in crate::server) fetch: Fetch,
    /// How far its segment is now, or the error in the piece.
    pub(in crate::server) outcome: Result<SegmentProgress, PartialError>,
}

/// How far a segment is after a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum SegmentProgress {
    /// It lacks pieces.
    Incomplete,
    /// It is part of the next state. Its values are checked here, while they are in the cache.
    Finished { is_finite: bool },
}

impl Job {
    /// Checks and decodes the piece, inserts it into its segment's tree, and finishes the segment
    /// after the last piece.
    pub(in crate::server) fn run(self) -> JobDone {
        let segment = &self.cut.segments[self.fetch.segment];
        let contribution = match self.content {
            Content::Decoded(contribution) => Ok(contribution),
            Content::Encoded(payload, hash) => {
                let (index, weight) = (self.fetch.segment, self.fetch.piece.weight);
                let payload = payload.read(hash, &self.cut.spare);
                payload.and_then(|payload| decode(&self.cut, index, weight, &payload))
            }
        };
        let outcome = contribution.map(|contribution| {
            let mut slot = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mut tree) = slot.take() else { return SegmentProgress::Incomplete };
            tree.insert(self.fetch.piece.block, contribution);
            if !tree.is_complete() {
                *slot = Some(tree);
                return SegmentProgress::Incomplete;
            }
            drop(slot);
            let merged = tree.into_root();
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let is_finite = next.as_mut().is_some_and(|next| {
                finish_segment(&self.base, segment, merged.as_ref(), next);
                is_segment_finite(next, segment)
            });
            SegmentProgress::Finished { is_finite }
        });
        let Self { step, generation, fetch, .. } = self;
        JobDone { step, generation, fetch, outcome }
    }
}
