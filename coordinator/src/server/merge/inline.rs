//! Partials that came along with the news that they are done.

use bytes::Bytes;
use common::id::Block;
use common::merge::{Contribution, MergeError, MergeTree, copy_kept, finish_segment};
use common::state::NetworkState;

use super::Cut;

/// Merges a step whose partials all came inline, and are small, right here.
pub(in crate::server) fn merge_inline(
    replicas: u32,
    cut: &Cut,
    base: &NetworkState,
    mut parts: Vec<(Block, Vec<Option<Contribution>>)>,
    next: &mut NetworkState,
) {
    for (index, segment) in cut.segments.iter().enumerate() {
        let mut tree = MergeTree::new(replicas);
        for (block, contributions) in &mut parts {
            tree.insert(*block, contributions.get_mut(index).and_then(Option::take));
        }
        finish_segment(base, segment, tree.into_root().as_ref(), next);
    }
}

/// A state to merge into: `spare` if there is one, and all that the merge
/// does not write (tensors under `keep`) as in `base`.
pub(in crate::server) fn next_state(
    base: &NetworkState,
    spare: Option<NetworkState>,
) -> NetworkState {
    let mut next = match spare {
        Some(spare) => spare,
        None => NetworkState::zeros(&base.layout()).expect("the layout of a state is valid"),
    };
    copy_kept(base, &mut next);
    next
}

/// Cuts an inline partial into its segments' contributions.
pub(in crate::server) fn decode_inline(
    cut: &Cut,
    weight: u64,
    mut inline: Bytes,
) -> Result<Vec<Option<Contribution>>, InlineError> {
    let mut contributions = Vec::with_capacity(cut.segments.len());
    for (index, segment) in cut.segments.iter().enumerate() {
        let short = InlineError::Short { segment: index, segments: cut.segments.len() };
        let Some((length, _)) = inline.split_first_chunk::<4>() else { return Err(short) };
        let length = u32::from_be_bytes(*length) as usize;
        if inline.len() - 4 < length {
            return Err(short);
        }
        let payload = inline.split_to(4 + length).slice(4..);
        contributions.push(Contribution::decode(&cut.layout, index, segment, weight, &payload)?);
    }
    match inline.len() {
        0 => Ok(contributions),
        left => Err(InlineError::Long(left)),
    }
}

/// What is wrong with a partial that came inline.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum InlineError {
    /// It ends too early.
    #[error("an inline partial ends inside merge segment {segment} of {segments}")]
    Short {
        /// The segment.
        segment: usize,
        /// Segments of the layout.
        segments: usize,
    },
    /// It does not end.
    #[error("{0} bytes follow the last merge segment of an inline partial")]
    Long(usize),
    /// A segment is wrong.
    #[error(transparent)]
    Segment(#[from] MergeError),
}
