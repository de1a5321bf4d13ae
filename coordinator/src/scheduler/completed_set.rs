//! The partials of a step: a partition of the replicas done so far.
//!
//! Two aligned blocks are nested or disjoint, so a new block is contained in one of the partition
//! (a duplicate), disjoint from all (added), or contains some (it replaces them if it adds a
//! replica).

use std::collections::BTreeMap;

use common::id::{Block, WorkerId};

use super::event::PartialRef;

/// The partials so far: disjoint blocks, by their first replica.
#[derive(Debug)]
pub(super) struct CompletedSet {
    replicas: u32,
    parts: BTreeMap<u64, PartialRef>,
    covered: u32,
}

/// The number of replicas of a block that exist in a step of `replicas`.
pub(super) fn size(block: Block, replicas: u32) -> u32 {
    block.replicas(replicas).len() as u32
}

/// Whether a step of `replicas` can have this block: inside the merge tree, with at least one
/// replica.
pub(super) fn exists(block: Block, replicas: u32) -> bool {
    block.level <= Block::root(replicas).level && block.start() < u64::from(replicas)
}

impl CompletedSet {
    pub(super) fn new(replicas: u32) -> Self {
        Self { replicas, parts: BTreeMap::new(), covered: 0 }
    }

    /// Adds a part, unless all its replicas are done already. Returns whether it was added.
    pub(super) fn take(&mut self, part: PartialRef) -> bool {
        if self.covers(part.block) {
            return false;
        }
        let inside: Vec<Block> = self.within(part.block).map(|part| part.block).collect();
        for block in inside {
            self.remove(block);
        }
        self.covered += size(part.block, self.replicas);
        self.parts.insert(part.block.start(), part);
        true
    }

    /// Counts a block a second time: an injected bug.
    pub(super) fn count_twice(&mut self, block: Block) {
        self.covered += size(block, self.replicas);
    }

    /// Removes exactly this block.
    pub(super) fn remove(&mut self, block: Block) -> Option<PartialRef> {
        let part = self.get(block)?;
        self.parts.remove(&block.start());
        self.covered -= size(block, self.replicas);
        Some(part)
    }

    /// The part of exactly this block.
    pub(super) fn get(&self, block: Block) -> Option<PartialRef> {
        self.parts.get(&block.start()).copied().filter(|part| part.block == block)
    }

    /// Whether every replica of the block is done.
    pub(super) fn covers(&self, block: Block) -> bool {
        self.is_held(block) || self.covered_in(block) == size(block, self.replicas)
    }

    /// Whether no replica of the block is done.
    pub(super) fn is_clear_of(&self, block: Block) -> bool {
        !self.is_held(block) && self.within(block).next().is_none()
    }

    /// Whether every replica of the step is done.
    pub(super) fn is_complete(&self) -> bool {
        self.covered >= self.replicas
    }

    /// Replicas done.
    pub(super) fn covered(&self) -> u32 {
        self.covered
    }

    /// All parts, in replica order.
    pub(super) fn parts(&self) -> impl Iterator<Item = PartialRef> + '_ {
        self.parts.values().copied()
    }

    /// The blocks whose partials only this worker has.
    pub(super) fn kept_by(&self, worker: WorkerId) -> Vec<Block> {
        self.parts().filter(|part| part.holder == Some(worker)).map(|part| part.block).collect()
    }

    /// Whether one part contains the block.
    fn is_held(&self, block: Block) -> bool {
        let before = self.parts.range(..=block.start()).next_back();
        before.is_some_and(|(_, part)| part.block.contains(block))
    }

    /// The parts inside the block.
    fn within(&self, block: Block) -> impl Iterator<Item = PartialRef> + '_ {
        let range = self.parts.range(block.start()..block.end());
        range.map(|(_, part)| *part).filter(move |part| block.contains(part.block))
    }

    fn covered_in(&self, block: Block) -> u32 {
        self.within(block).map(|part| size(part.block, self.replicas)).sum()
    }
}
