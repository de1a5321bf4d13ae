//! The partial in a block's message: the whole partial, or the hashes of its segments.

use bytes::Bytes;
use common::id::Block;
use common::merge::{
    Contribution, MergeError, MergeRule, MergeTree, Partial, copy_kept, finish_segment,
    segment_hash,
};
use common::state::NetworkState;
use common::wire::message::BlockDone;

use super::Cut;

/// Merges a step whose partials are all inline and small, without other threads.
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

/// A state to merge into: `spare` if given. Tensors that the merge does not write (rule `keep`) are
/// copied from `base`.
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

/// The partial in the message of a finished block.
#[derive(Debug, PartialEq)]
pub(in crate::server) enum DecodedPartial {
    /// The contributions, by merge segment.
    Inline(Vec<Option<Contribution>>),
    /// The [`segment_hash`] of each merge segment: the worker keeps the partial.
    Kept(Vec<u128>),
}

/// Properties that a finished block must have, whichever worker computed it.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Expected {
    /// Number of examples of the block.
    pub(in crate::server) weight: u64,
    /// Number of its replicas.
    pub(in crate::server) shards: usize,
    /// Whether its step changes the state. Otherwise a block has results only.
    pub(in crate::server) learns: bool,
    /// Number of scores: 0 unless its step predicts.
    pub(in crate::server) scores: u64,
}

impl Expected {
    fn check(self, done: &BlockDone) -> Result<(), PartialError> {
        let Self { weight, shards, learns, scores } = self;
        if done.weight != weight {
            return Err(PartialError::Weight { expected: weight, found: done.weight });
        }
        if done.shards.len() != shards {
            return Err(PartialError::Shards { expected: shards, found: done.shards.len() });
        }
        if done.results.examples != weight {
            let found = done.results.examples;
            return Err(PartialError::Examples { expected: weight, found });
        }
        let found = done.results.scores.len() as u64;
        if found != scores {
            return Err(PartialError::Scores { expected: scores, found });
        }
        if done.is_inline || learns { Ok(()) } else { Err(PartialError::NotInline) }
    }
}

/// Decodes the payload of a finished block. If its digest is correct, the digested bytes are as the
/// worker made them.
pub(in crate::server) fn decode_partial(
    cut: &Cut,
    done: &BlockDone,
    expected: Expected,
) -> Result<DecodedPartial, PartialError> {
    let (segments, payload) = (cut.segments.len(), done.payload.clone());
    if !done.is_inline {
        let (hashes, rest) = payload.as_chunks::<16>();
        if hashes.len() != segments || !rest.is_empty() {
            return Err(PartialError::Hashes { segments, found: payload.len() });
        }
        let hashes: Vec<u128> = hashes.iter().map(|hash| u128::from_be_bytes(*hash)).collect();
        check(done, &hashes)?;
        expected.check(done)?;
        check_shard(done, &hashes)?;
        return Ok(DecodedPartial::Kept(hashes));
    }
    let pieces = split(segments, payload)?;
    let hashes: Vec<u128> = pieces.iter().map(|piece| segment_hash(piece)).collect();
    check(done, &hashes)?;
    expected.check(done)?;
    check_shard(done, &hashes)?;
    if !expected.learns {
        return match pieces.iter().position(|piece| !piece.is_empty()) {
            None => Ok(DecodedPartial::Inline(vec![None; segments])),
            Some(segment) => Err(PartialError::NotEmpty { segment }),
        };
    }
    let decode = |(index, piece): (usize, &Bytes)| decode(cut, index, done.weight, piece);
    let contributions = pieces.iter().enumerate().map(decode).collect::<Result<_, _>>()?;
    Ok(DecodedPartial::Inline(contributions))
}

/// Decodes a piece of a partial with this many examples, of a step that changes the state.
pub(super) fn decode(
    cut: &Cut,
    index: usize,
    weight: u64,
    piece: &Bytes,
) -> Result<Option<Contribution>, PartialError> {
    let segment = &cut.segments[index];
    let tensor = &cut.layout.tensors[segment.tensor];
    // Only units may be left unchanged.
    if piece.is_empty() && weight > 0 && !tensor.rule.by_unit() {
        let (rule, tensor) = (tensor.rule, tensor.name.clone());
        return Err(PartialError::Empty { segment: index, tensor, rule, weight });
    }
    Ok(Contribution::decode(&cut.layout, index, segment, weight, piece)?)
}

/// The digest of a block of one shard must be the digest of that shard.
fn check_shard(done: &BlockDone, hashes: &[u128]) -> Result<(), PartialError> {
    let [shard] = done.shards[..] else { return Ok(()) };
    let partial = Partial::digest_of(done.weight, hashes.iter().copied());
    if Partial::shard_digest_of(partial, done.results.digest()) == shard.digest {
        Ok(())
    } else {
        Err(PartialError::ShardDigest)
    }
}

fn check(done: &BlockDone, hashes: &[u128]) -> Result<(), PartialError> {
    if done.digest_of(hashes.iter().copied()) == done.digest {
        Ok(())
    } else {
        Err(PartialError::Altered)
    }
}

/// Splits an inline partial into its segments.
fn split(segments: usize, mut inline: Bytes) -> Result<Vec<Bytes>, PartialError> {
    let mut pieces = Vec::with_capacity(segments);
    for segment in 0..segments {
        let short = PartialError::Short { segment, segments };
        let Some((length, _)) = inline.split_first_chunk::<4>() else { return Err(short) };
        let length = u32::from_be_bytes(*length) as usize;
        if inline.len() - 4 < length {
            return Err(short);
        }
        pieces.push(inline.split_to(4 + length).slice(4..));
    }
    match inline.len() {
        0 => Ok(pieces),
        left => Err(PartialError::Long(left)),
    }
}

/// An invalid partial: its bytes changed on the way, or its worker made something that no correct
/// worker makes. Either is a failure of the block's shards.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum PartialError {
    /// It is too short.
    #[error("an inline partial ends inside merge segment {segment} of {segments}")]
    Short {
        /// Index of the segment.
        segment: usize,
        /// Number of segments in the layout.
        segments: usize,
    },
    /// It is too long.
    #[error("{0} bytes follow the last merge segment of an inline partial")]
    Long(usize),
    /// It has the wrong number of segment hashes.
    #[error("expected 16 bytes for each of {segments} merge segments, found {found} bytes")]
    Hashes {
        /// Number of segments in the layout.
        segments: usize,
        /// Number of bytes received.
        found: usize,
    },
    /// Its bytes do not match its digest.
    #[error(
        "it does not have the digest that came with it: its bytes changed in the memory of a \
         machine or, without keys, on the network"
    )]
    Altered,
    /// Its number of examples is not that of its block.
    #[error("expected a weight of {expected} examples, found {found}")]
    Weight {
        /// Number of examples of the block.
        expected: u64,
        /// The weight received.
        found: u64,
    },
    /// Its number of scores is not that of its examples.
    #[error("expected {expected} scores, found {found}")]
    Scores {
        /// The scores of all examples of the block.
        expected: u64,
        /// Number of scores received.
        found: u64,
    },
    /// Its number of shards is not that of its block.
    #[error("expected {expected} shards, found {found}")]
    Shards {
        /// Number of replicas of the block.
        expected: usize,
        /// Number of shards received.
        found: usize,
    },
    /// Its results are for a different number of examples than its block.
    #[error("expected results of {expected} examples, found {found}")]
    Examples {
        /// Number of examples of the block.
        expected: u64,
        /// Number of examples of the results.
        found: u64,
    },
    /// It is from one shard, but differs from that shard's digest.
    #[error(
        "expected the digest of its only shard to equal the digest of the block, found another"
    )]
    ShardDigest,
    /// A tensor is missing.
    #[error(
        "merge segment {segment} of tensor `{tensor}`: expected values under the rule `{rule}` of \
         {weight} examples, found nothing"
    )]
    Empty {
        /// Index of the segment.
        segment: usize,
        /// Name of the tensor.
        tensor: String,
        /// Its rule.
        rule: MergeRule,
        /// The partial's weight.
        weight: u64,
    },
    /// Its step does not change the state, but it has values to merge.
    #[error("merge segment {segment}: expected results only, found values to merge")]
    NotEmpty {
        /// Index of the segment.
        segment: usize,
    },
    /// It is to be pulled, but its step does not change the state.
    #[error("expected results only, which are sent inline, found a partial to be pulled")]
    NotInline,
    /// A segment has invalid content.
    #[error(transparent)]
    Segment(#[from] MergeError),
}
