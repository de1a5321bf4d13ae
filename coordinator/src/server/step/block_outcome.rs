//! The record of a finished block, kept until its step is merged.

use common::digest::Digest;
use common::merge::Contribution;

use super::merge::DecodedPartial;

/// A worker's report of a finished block. Its results are combined with those of the step when it
/// arrives.
#[derive(Debug)]
pub(super) struct BlockOutcome {
    pub(super) weight: u64,
    pub(super) digest: Digest,
    /// Bytes of the partial.
    pub(super) bytes: u64,
    /// Name of the worker that reported it first.
    pub(super) worker_name: String,
    /// The partial, or the hashes of its merge segments.
    pub(super) partial: DecodedPartial,
}

impl BlockOutcome {
    /// An inline partial; it is dropped after the merge.
    pub(super) fn take_inline(&mut self) -> Vec<Option<Contribution>> {
        match &mut self.partial {
            DecodedPartial::Inline(contributions) => std::mem::take(contributions),
            DecodedPartial::Kept(_) => Vec::new(),
        }
    }

    /// One merge segment of an inline partial.
    pub(super) fn inline(&self, segment: usize) -> Option<&Contribution> {
        match &self.partial {
            DecodedPartial::Inline(contributions) => contributions.get(segment)?.as_ref(),
            DecodedPartial::Kept(_) => None,
        }
    }

    /// The expected hash of a merge segment that is pulled.
    pub(super) fn hash(&self, segment: usize) -> Option<u128> {
        match &self.partial {
            DecodedPartial::Inline(_) => None,
            DecodedPartial::Kept(hashes) => hashes.get(segment).copied(),
        }
    }
}
