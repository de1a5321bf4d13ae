//! What is kept of a finished block until its step is merged.

use common::digest::Digest;
use common::merge::Contribution;

use super::merge::DecodedPartial;

/// What a worker said of a block that it finished. Its results are combined with
/// those of the step as they come.
#[derive(Debug)]
pub(super) struct BlockOutcome {
    pub(super) weight: u64,
    pub(super) digest: Digest,
    /// Bytes of the partial.
    pub(super) bytes: u64,
    /// Name of the worker that said so first.
    pub(super) worker_name: String,
    /// The partial, or what its merge segments are known by.
    pub(super) partial: DecodedPartial,
}

impl BlockOutcome {
    /// What came inline, to be merged and forgotten.
    pub(super) fn take_inline(&mut self) -> Vec<Option<Contribution>> {
        match &mut self.partial {
            DecodedPartial::Inline(contributions) => std::mem::take(contributions),
            DecodedPartial::Kept(_) => Vec::new(),
        }
    }

    /// What came inline of a merge segment.
    pub(super) fn inline(&self, segment: usize) -> Option<&Contribution> {
        match &self.partial {
            DecodedPartial::Inline(contributions) => contributions.get(segment)?.as_ref(),
            DecodedPartial::Kept(_) => None,
        }
    }

    /// What a merge segment that is pulled must be known by.
    pub(super) fn hash(&self, segment: usize) -> Option<u128> {
        match &self.partial {
            DecodedPartial::Inline(_) => None,
            DecodedPartial::Kept(hashes) => hashes.get(segment).copied(),
        }
    }
}
