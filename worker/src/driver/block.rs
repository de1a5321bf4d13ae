//! Merging of a block, by the threads that run its shards.
//!
//! [`common::merge::MergeTree`] combines inside `insert`. Here that would mean combining under a
//! lock, on a thread pool whose threads take other shards while they wait for a parallel combine:
//! such a shard would then wait for the lock that its own thread holds. So a shard's thread takes
//! its sibling's outcome out of the lock, combines without it, and moves up the tree. Tree and
//! order are the same, and siblings in different halves are combined in parallel.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::{BufMut, Bytes, BytesMut};
use common::digest::Digest;
use common::id::{Block, StepId};
use common::limits;
use common::merge::{Merge, Partial};
use common::state::{Layout, Segment};
use common::wire::message::{BlockDone, ShardDone};

/// Outcomes of a block's shards that wait for their siblings.
#[derive(Debug)]
pub(super) struct BlockMerge<T> {
    root: Block,
    replicas: u32,
    waiting: Mutex<BTreeMap<Block, Option<T>>>,
}

impl<T: Merge> BlockMerge<T> {
    /// An empty tree for `root`, in a step of `replicas`.
    pub(super) fn new(root: Block, replicas: u32) -> Self {
        Self { root, replicas, waiting: Mutex::default() }
    }

    /// Inserts the contribution of `replica` (`None` if it had no examples) and combines as far up
    /// as possible. Returns the block's outcome to the caller that completes it. Each replica must
    /// be inserted exactly once.
    pub(super) fn insert(&self, replica: u32, mut value: Option<T>) -> Option<Option<T>> {
        let mut block = Block::of_replica(replica);
        while block != self.root {
            let sibling = block.sibling();
            if sibling.start() < u64::from(self.replicas) {
                let mut waiting = self.waiting.lock().expect("no code panics under this lock");
                let Some(other) = waiting.remove(&sibling) else {
                    waiting.insert(block, value);
                    return None;
                };
                drop(waiting);
                value = if block.is_left() { join(value, other) } else { join(other, value) };
            }
            block = block.parent();
        }
        Some(value)
    }
}

fn join<T: Merge>(left: Option<T>, right: Option<T>) -> Option<T> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.merge(right)),
        (left, right) => left.or(right),
    }
}

/// The report of a finished block without its results, and the partial to be kept with it. `root`
/// is `None` if no replica of the block had an example. `hashes` are the hashes of its segments, if
/// known: hashing a large partial takes as long as sending it. `learnt` is false for a step that
/// does not change the state; its partials hold results only.
pub(super) fn finish(
    step: StepId,
    block: Block,
    (root, hashes): (Option<Partial>, Option<Vec<u128>>),
    learnt: bool,
    layout: &Layout,
    segments: &[Segment],
    (shards, compute_us): (Vec<ShardDone>, u64),
) -> (BlockDone, Partial) {
    let mut partial = root.unwrap_or_default();
    let has_tensors = learnt && partial.tensors.iter().any(Option::is_some);
    if !has_tensors {
        partial.tensors = vec![None; layout.tensors.len()];
    }
    let partial_bytes = if has_tensors { partial.encoded_bytes(layout) } else { 0 };
    // Results may be large, and are never pulled: only the message contains them.
    let results = std::mem::take(&mut partial.results);
    let is_inline = partial_bytes <= limits::INLINE_PARTIAL_BYTES;
    let hashes = hashes.unwrap_or_else(|| partial.segment_hashes(layout));
    let mut done = BlockDone {
        step,
        block,
        weight: partial.weight,
        results,
        digest: Digest::of(b""),
        shards,
        partial_bytes,
        compute_us,
        is_inline,
        payload: if is_inline {
            inline(&partial, layout, segments)
        } else {
            hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect()
        },
    };
    done.digest = done.digest_of(hashes);
    (done, partial)
}

/// All segments in order, each after its length in 4 bytes.
fn inline(partial: &Partial, layout: &Layout, segments: &[Segment]) -> Bytes {
    let mut out = BytesMut::new();
    for segment in segments {
        let payload = match partial.tensors[segment.tensor] {
            Some(_) => partial.segment(layout, segment),
            None => Vec::new(),
        };
        out.put_u32(payload.len() as u32);
        out.put_slice(&payload);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shows the tree's shape: `(0 1)`.
    #[derive(Clone, Debug, PartialEq)]
    struct Shape(String);

    impl Merge for Shape {
        fn merge(self, right: Self) -> Self {
            Self(format!("({} {})", self.0, right.0))
        }
    }

    /// The subtree of `block`, written recursively.
    fn expected(block: Block, replicas: u32, idle: &[u32]) -> Option<Shape> {
        if block.replicas(replicas).is_empty() {
            return None;
        }
        match block.halves() {
            None => {
                let replica = block.index;
                (!idle.contains(&replica)).then(|| Shape(replica.to_string()))
            }
            Some((left, right)) => {
                join(expected(left, replicas, idle), expected(right, replicas, idle))
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_gives_the_tree_of_the_block(
            replicas in 1u32..40,
            level in 0u8..6,
            index in 0u32..8,
            idle in prop::collection::vec(0u32..40, 0..6),
            order in any::<u64>(),
        ) {
            let block = Block { level, index };
            let mut members: Vec<u32> = block.replicas(replicas).collect();
            prop_assume!(!members.is_empty() && level <= Block::root(replicas).level);
            members.sort_by_key(|replica| (u64::from(*replica) + 1).wrapping_mul(order | 1));
            let merge = BlockMerge::new(block, replicas);
            let last = members.len() - 1;
            for (at, replica) in members.into_iter().enumerate() {
                let value = (!idle.contains(&replica)).then(|| Shape(replica.to_string()));
                let outcome = merge.insert(replica, value);
                prop_assert_eq!(outcome.is_some(), at == last);
                if let Some(outcome) = outcome {
                    prop_assert_eq!(outcome, expected(block, replicas, &idle));
                }
            }
        }
    }

    #[test]
    fn shards_that_end_at_once_complete_the_block_once() {
        let block = Block { level: 6, index: 0 };
        let merge = BlockMerge::new(block, 61);
        let finished: Vec<Shape> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..61)
                .map(|replica| {
                    let merge = &merge;
                    scope.spawn(move || merge.insert(replica, Some(Shape(replica.to_string()))))
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().flatten()).collect()
        });
        assert_eq!(finished, [expected(block, 61, &[]).unwrap()]);
    }
}
