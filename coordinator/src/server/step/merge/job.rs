//! Merging one piece into its segment's tree, and a complete tree into the next state.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use common::id::StepId;
use common::merge::{Contribution, MergeTree, finish_segment, segment_hash};
use common::state::NetworkState;

use super::partial::{PartialError, decode};
use super::{Cut, Fetch};

/// The tree of one segment, until it is complete.
pub(super) type Tree = Arc<Mutex<Option<MergeTree<Contribution>>>>;

/// A piece: one part's share of one segment.
#[derive(Debug)]
pub(in crate::server) enum Content {
    /// As received, and the [`segment_hash`] that it must have.
    Encoded(Bytes, u128),
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
    /// Whether its segment is finished now, or the error in the piece.
    pub(in crate::server) outcome: Result<bool, PartialError>,
}

impl Job {
    /// Checks and decodes the piece, inserts it into its segment's tree, and finishes the segment
    /// after the last piece.
    pub(in crate::server) fn run(self) -> JobDone {
        let segment = &self.cut.segments[self.fetch.segment];
        let contribution = match self.content {
            Content::Decoded(contribution) => Ok(contribution),
            Content::Encoded(payload, hash) if segment_hash(&payload) == hash => {
                let (index, weight) = (self.fetch.segment, self.fetch.piece.weight);
                decode(&self.cut, index, weight, &payload)
            }
            Content::Encoded(..) => Err(PartialError::Altered),
        };
        let outcome = contribution.map(|contribution| {
            let mut slot = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mut tree) = slot.take() else { return false };
            tree.insert(self.fetch.piece.block, contribution);
            if !tree.is_complete() {
                *slot = Some(tree);
                return false;
            }
            drop(slot);
            let merged = tree.into_root();
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = next.as_mut() {
                finish_segment(&self.base, segment, merged.as_ref(), next);
            }
            true
        });
        let Self { step, generation, fetch, .. } = self;
        JobDone { step, generation, fetch, outcome }
    }
}
