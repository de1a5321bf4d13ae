//! Divides blocks among workers: each gets replicas in proportion to its speed, in blocks as
//! large as possible, because every block is one partial that must be sent. No worker gets more
//! blocks than its message queue has room for; the rest waits.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use common::id::{Block, WorkerId};
use common::limits::BLOCK_REPLICAS;

use super::completed_set::size;

/// A worker that may get blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) worker: WorkerId,
    /// Shards that it runs at a time.
    pub(super) slots: u32,
    /// Time that a shard takes on it.
    pub(super) nanos: u64,
    /// Replicas that it has already.
    pub(super) load: u32,
    /// Number of further blocks that it may get.
    pub(super) room: usize,
}

impl Candidate {
    /// When it would be done with one more replica, and its id to break ties.
    pub(super) fn done_at(&self) -> (u64, WorkerId) {
        let work = u128::from(self.load + 1) * u128::from(self.nanos);
        let nanos = work / u128::from(self.slots.max(1));
        (u64::try_from(nanos).unwrap_or(u64::MAX), self.worker)
    }

    /// Records that it gets a block with this number of replicas.
    pub(super) fn take(&mut self, replicas: u32) {
        self.load += replicas;
        self.room -= 1;
    }
}

/// Blocks in the order of [`keyed`].
type Free = BTreeSet<(u32, Reverse<u64>, Block)>;

/// Divides all replicas of `blocks` among the candidates, as far as these have room. Returns each
/// candidate's blocks, larger ones first, and the remaining blocks. Equal input gives equal
/// output.
pub(super) fn share(
    blocks: impl Iterator<Item = Block>,
    replicas: u32,
    candidates: &[Candidate],
) -> (Vec<(WorkerId, Block)>, Vec<Block>) {
    let mut free: Free = blocks.map(|block| keyed(block, replicas)).collect();
    let mut open = candidates.to_vec();
    let mut shared = Vec::new();
    loop {
        open.retain(|candidate| candidate.room > 0);
        if free.is_empty() || open.is_empty() {
            return (shared, free.into_iter().map(|(.., block)| block).collect());
        }
        shared.extend(deal(&mut free, replicas, &mut open));
    }
}

/// Gives each candidate its part of the free blocks. Blocks stay free only if a candidate has no
/// more room.
fn deal(free: &mut Free, replicas: u32, candidates: &mut [Candidate]) -> Vec<(WorkerId, Block)> {
    let total = free.iter().map(|(size, ..)| size).sum();
    let mut quotas = quotas(total, candidates);
    let mut dealt = Vec::new();
    while let Some((quota, Reverse(at))) = quotas.pop() {
        let candidate = &mut candidates[at];
        if candidate.room == 0 {
            continue;
        }
        let block = carve(free, quota.min(BLOCK_REPLICAS), replicas);
        candidate.take(size(block, replicas));
        dealt.push((candidate.worker, block));
        let rest = quota - size(block, replicas);
        if rest > 0 {
            quotas.push((rest, Reverse(at)));
        }
    }
    dealt
}

/// The number of the `total` replicas for each candidate, by index: one replica after another goes
/// to the candidate that would finish it first.
fn quotas(total: u32, candidates: &[Candidate]) -> BinaryHeap<(u32, Reverse<usize>)> {
    let mut heap: BinaryHeap<_> = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| Reverse((candidate.done_at(), at)))
        .collect();
    let mut loaded = candidates.to_vec();
    for _ in 0..total {
        let Some(mut top) = heap.peek_mut() else { break };
        let Reverse((done_at, at)) = &mut *top;
        loaded[*at].load += 1;
        *done_at = loaded[*at].done_at();
    }
    let pairs = candidates.iter().zip(&loaded).enumerate();
    let quota = pairs.map(|(at, (before, after))| (after.load - before.load, Reverse(at)));
    quota.filter(|(quota, _)| *quota > 0).collect()
}

/// Removes and returns the largest free block of at most `quota` replicas; if there is none, splits
/// the smallest larger one. The quotas add up to at most the number of free replicas, so there is
/// always a block.
fn carve(free: &mut Free, quota: u32, replicas: u32) -> Block {
    let above = (quota + 1, Reverse(u64::MAX), Block { level: 0, index: 0 });
    loop {
        if let Some(found) = free.range(..above).next_back().copied() {
            free.remove(&found);
            return found.2;
        }
        let larger = *free.range(above..).next().expect("no quota is above what is free");
        free.remove(&larger);
        let (left, right) = larger.2.halves().expect("a block of two replicas has halves");
        for half in [left, right] {
            if size(half, replicas) > 0 {
                free.insert(keyed(half, replicas));
            }
        }
    }
}

/// Blocks in order of size, and of equal ones the first replicas last: the
/// end of the order is what to take first.
fn keyed(block: Block, replicas: u32) -> (u32, Reverse<u64>, Block) {
    (size(block, replicas), Reverse(block.start()), block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(worker: u64, slots: u32, nanos: u64) -> Candidate {
        Candidate { worker: WorkerId(worker), slots, nanos, load: 0, room: usize::MAX }
    }

    fn loads(replicas: u32, candidates: &[Candidate]) -> Vec<u32> {
        let (shared, _) = share([Block::root(replicas)].into_iter(), replicas, candidates);
        let load = |candidate: &Candidate| {
            let mine = shared.iter().filter(|(worker, _)| *worker == candidate.worker);
            mine.map(|(_, block)| size(*block, replicas)).sum()
        };
        candidates.iter().map(load).collect()
    }

    #[test]
    fn equal_workers_share_evenly() {
        let three = [candidate(1, 1, 5), candidate(2, 1, 5), candidate(3, 1, 5)];
        assert_eq!(loads(8, &three), [3, 3, 2]);
        assert_eq!(loads(2, &three), [1, 1, 0]);
        assert_eq!(loads(9, &three), [3, 3, 3]);
    }

    #[test]
    fn few_partials_cross_the_wire() {
        let one = [candidate(1, 3, 5)];
        assert_eq!(
            share([Block::root(13)].into_iter(), 13, &one),
            (vec![(WorkerId(1), Block::root(13))], vec![])
        );
        let two = [candidate(1, 4, 5), candidate(2, 4, 5)];
        let (shared, _) = share([Block::root(8)].into_iter(), 8, &two);
        assert_eq!(
            shared,
            [
                (WorkerId(1), Block { level: 2, index: 0 }),
                (WorkerId(2), Block { level: 2, index: 1 })
            ]
        );
    }

    #[test]
    fn a_block_has_no_more_shards_than_its_news_may_name() {
        let replicas = 3 * BLOCK_REPLICAS + 5;
        let one = [candidate(1, 1, 5)];
        let (shared, _) = share([Block::root(replicas)].into_iter(), replicas, &one);
        assert!(shared.iter().all(|(_, block)| size(*block, replicas) <= BLOCK_REPLICAS));
        assert_eq!(shared.len(), 4);
    }

    #[test]
    fn speed_and_slots_count() {
        assert_eq!(loads(9, &[candidate(1, 2, 10), candidate(2, 1, 10)]), [6, 3]);
        assert_eq!(loads(9, &[candidate(1, 1, 5), candidate(2, 1, 10)]), [6, 3]);
        assert_eq!(loads(4, &[candidate(1, 1, 1), candidate(2, 1, 1000)]), [4, 0]);
    }

    proptest! {
        #[test]
        fn every_replica_is_given_once(
            replicas in 1u32..300,
            workers in prop::collection::vec((1u32..5, 1u64..100, 0u32..20, 0usize..9), 1..9),
        ) {
            let candidates: Vec<_> = workers
                .iter()
                .zip(1..)
                .map(|(&(slots, nanos, load, room), id)| {
                    Candidate { load, room, ..candidate(id, slots, nanos) }
                })
                .collect();
            let (shared, left) = share([Block::root(replicas)].into_iter(), replicas, &candidates);
            for candidate in &candidates {
                let blocks = shared.iter().filter(|(worker, _)| *worker == candidate.worker).count();
                prop_assert!(blocks <= candidate.room);
                prop_assert!(left.is_empty() || blocks == candidate.room, "room is left");
            }
            let blocks = shared.iter().map(|(_, block)| block).chain(&left);
            let mut given: Vec<u32> = blocks.flat_map(|block| block.replicas(replicas)).collect();
            given.sort_unstable();
            prop_assert_eq!(given, (0..replicas).collect::<Vec<_>>());
        }
    }
}
