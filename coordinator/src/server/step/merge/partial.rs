//! What comes of a partial with the news that its block is done: all of it, or
//! what its segments are to be known by.

use bytes::Bytes;
use common::id::Block;
use common::merge::{
    Contribution, MergeError, MergeRule, MergeTree, Partial, copy_kept, finish_segment,
    segment_hash,
};
use common::state::NetworkState;
use common::wire::message::BlockDone;

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

/// What came of a finished block's partial with the news of it.
#[derive(Debug, PartialEq)]
pub(in crate::server) enum DecodedPartial {
    /// The contributions, by merge segment.
    Inline(Vec<Option<Contribution>>),
    /// The [`segment_hash`] of each merge segment: the worker keeps the rest.
    Kept(Vec<u128>),
}

/// What a finished block must be, whoever computed it.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Expected {
    /// Examples of the block.
    pub(in crate::server) weight: u64,
    /// Its replicas.
    pub(in crate::server) shards: usize,
    /// Whether its step changes the state. Only then there may be more than
    /// results.
    pub(in crate::server) learns: bool,
}

impl Expected {
    fn check(self, done: &BlockDone) -> Result<(), PartialError> {
        let Self { weight, shards, learns } = self;
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
        match done.is_inline || learns {
            true => Ok(()),
            false => Err(PartialError::NotInline),
        }
    }
}

/// Opens the payload of a finished block. Where its digest is right, what that
/// covers is as the worker meant it to be.
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

/// Decodes a piece of a partial of so many examples, of a step that changes the
/// state.
pub(super) fn decode(
    cut: &Cut,
    index: usize,
    weight: u64,
    piece: &Bytes,
) -> Result<Option<Contribution>, PartialError> {
    let segment = &cut.segments[index];
    let tensor = &cut.layout.tensors[segment.tensor];
    // Only units may be left as they were.
    if piece.is_empty() && weight > 0 && !tensor.rule.by_unit() {
        let (rule, tensor) = (tensor.rule, tensor.name.clone());
        return Err(PartialError::Empty { segment: index, tensor, rule, weight });
    }
    Ok(Contribution::decode(&cut.layout, index, segment, weight, piece)?)
}

/// A block of one shard is what that shard gave.
fn check_shard(done: &BlockDone, hashes: &[u128]) -> Result<(), PartialError> {
    let [shard] = done.shards[..] else { return Ok(()) };
    let partial = Partial::digest_of(done.weight, hashes.iter().copied());
    match Partial::shard_digest_of(partial, done.results.digest()) == shard.digest {
        true => Ok(()),
        false => Err(PartialError::ShardDigest),
    }
}

fn check(done: &BlockDone, hashes: &[u128]) -> Result<(), PartialError> {
    match done.digest_of(hashes.iter().copied()) == done.digest {
        true => Ok(()),
        false => Err(PartialError::Altered),
    }
}

/// Cuts an inline partial into its segments.
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

/// What is wrong with a partial: its bytes changed on their way, or its worker
/// made what no worker can have made. Either is a failure of the block's shards.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum PartialError {
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
    /// It does not say what each segment is known by.
    #[error("expected 16 bytes for each of {segments} merge segments, found {found} bytes")]
    Hashes {
        /// Segments of the layout.
        segments: usize,
        /// Bytes that came.
        found: usize,
    },
    /// Its bytes are not those that its worker made.
    #[error(
        "it does not have the digest that came with it: its bytes changed in the memory of a \
         machine or, without keys, on the network"
    )]
    Altered,
    /// It is of more or fewer examples than its block.
    #[error("expected a weight of {expected} examples, found {found}")]
    Weight {
        /// Examples of the block.
        expected: u64,
        /// The weight that came.
        found: u64,
    },
    /// It is of more or fewer shards than its block.
    #[error("expected {expected} shards, found {found}")]
    Shards {
        /// Replicas of the block.
        expected: usize,
        /// Shards that came.
        found: usize,
    },
    /// Its results are of more or fewer examples than its block.
    #[error("expected results of {expected} examples, found {found}")]
    Examples {
        /// Examples of the block.
        expected: u64,
        /// Those of the results.
        found: u64,
    },
    /// It is of one shard, and not what that one is said to have given.
    #[error("expected the digest of its only shard to be that of what came, found another")]
    ShardDigest,
    /// A tensor is left out.
    #[error(
        "merge segment {segment} of tensor `{tensor}`: expected values under the rule `{rule}` of \
         {weight} examples, found nothing"
    )]
    Empty {
        /// The segment.
        segment: usize,
        /// Name of the tensor.
        tensor: String,
        /// Its rule.
        rule: MergeRule,
        /// The partial's weight.
        weight: u64,
    },
    /// Its step changes nothing, and it has something to merge.
    #[error("merge segment {segment}: expected results alone, found something to merge")]
    NotEmpty {
        /// The segment.
        segment: usize,
    },
    /// It is to be pulled, and there is nothing to pull.
    #[error("expected results alone, which come inline, found a partial to be pulled")]
    NotInline,
    /// A segment is wrong, as its worker made it.
    #[error(transparent)]
    Segment(#[from] MergeError),
}
