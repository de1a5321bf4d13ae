//! The fixed binary tree over replica indexes.

use std::collections::BTreeMap;

use super::{Merge, merge_options};
use crate::id::Block;

/// Combines the results of blocks over the fixed binary tree of replica indexes, in any order
/// of arrival.
#[derive(Debug)]
pub struct MergeTree<T> {
    root: Block,
    replicas: u32,
    /// The inserted nodes, without overlaps: when both children of a node are present, the
    /// node replaces them.
    nodes: BTreeMap<Block, Option<T>>,
}

impl<T: Merge> MergeTree<T> {
    /// The tree of all replicas of a step.
    pub fn new(replicas: u32) -> Self {
        Self::of_block(Block::root(replicas), replicas)
    }

    /// The subtree of one block, of a step of `replicas`.
    pub fn of_block(block: Block, replicas: u32) -> Self {
        Self { root: block, replicas, nodes: BTreeMap::new() }
    }

    /// Inserts the result of `block`; `None` is the identity (no replica of the block had an
    /// example). Combines it with siblings as far up as possible. Every replica must be
    /// inserted exactly once: anything else is a bug of the caller, and panics.
    pub fn insert(&mut self, block: Block, value: Option<T>) {
        let Self { root, replicas, .. } = *self;
        assert!(root.contains(block), "block {block} is outside the tree {root}");
        assert!(self.exists(block), "block {block} is beyond the last of {replicas} replicas");
        assert!(!self.overlaps(block), "replicas of block {block} are already in the tree");

        let (mut block, mut value) = (block, value);
        while block != root {
            let sibling = block.sibling();
            // Only a right sibling can be beyond the last replica.
            let other = if self.exists(sibling) {
                match self.nodes.remove(&sibling) {
                    Some(other) => other,
                    None => break,
                }
            } else {
                None
            };
            value = if block.is_left() {
                merge_options(value, other)
            } else {
                merge_options(other, value)
            };
            block = block.parent();
        }
        self.nodes.insert(block, value);
    }

    /// Inserts the result of `block` like [`MergeTree::insert`], but permits replicas that are
    /// present already. All copies of a result have the same bits, so it replaces its parts,
    /// or is dropped if all its replicas are present.
    pub fn offer(&mut self, block: Block, value: Option<T>) {
        if self.is_held(block) {
            return;
        }
        for level in 0..block.level {
            let (first, last) = within(block, level);
            let inside: Vec<Block> = self.nodes.range(first..=last).map(|(at, _)| *at).collect();
            for at in inside {
                self.nodes.remove(&at);
            }
        }
        self.insert(block, value);
    }

    /// The result of the whole tree, once complete.
    pub fn root(&self) -> Option<&T> {
        self.nodes.get(&self.root)?.as_ref()
    }

    /// Whether all replicas are present.
    pub fn is_complete(&self) -> bool {
        !self.exists(self.root) || self.nodes.contains_key(&self.root)
    }

    /// The result of the whole tree. Panics if it is not complete.
    pub fn into_root(mut self) -> Option<T> {
        assert!(self.is_complete(), "the tree {} lacks replicas", self.root);
        self.nodes.remove(&self.root).flatten()
    }

    /// Whether any replica of the block exists.
    fn exists(&self, block: Block) -> bool {
        block.start() < u64::from(self.replicas)
    }

    /// Whether a replica of `block` is present already: in this node, in a node above, or in a
    /// node below.
    fn overlaps(&self, block: Block) -> bool {
        let has_parts = |level| {
            let (first, last) = within(block, level);
            self.nodes.range(first..=last).next().is_some()
        };
        self.is_held(block) || (0..block.level).any(has_parts)
    }

    /// Whether one node contains all replicas of `block`.
    fn is_held(&self, block: Block) -> bool {
        let mut above = block;
        while above != self.root {
            if self.nodes.contains_key(&above) {
                return true;
            }
            above = above.parent();
        }
        self.nodes.contains_key(&self.root)
    }
}

/// The first and last block of a lower level inside `block`.
fn within(block: Block, level: u8) -> (Block, Block) {
    let at = |replica: u64| Block { level, index: (replica >> level) as u32 };
    (at(block.start()), at(block.end() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Combines by writing down how.
    impl Merge for String {
        fn merge(self, right: Self) -> Self {
            format!("({self} {right})")
        }
    }

    fn insert(tree: &mut MergeTree<String>, level: u8, index: u32) {
        let block = Block { level, index };
        tree.insert(block, Some(format!("{level}.{index}")));
    }

    #[test]
    fn a_missing_child_passes_the_other_through() {
        let mut tree = MergeTree::new(5);
        insert(&mut tree, 0, 4);
        insert(&mut tree, 0, 1);
        tree.insert(Block::of_replica(0), None);
        assert!(!tree.is_complete());
        insert(&mut tree, 1, 1);
        assert!(tree.is_complete());
        assert_eq!(tree.into_root().unwrap(), "((0.1 1.1) 0.4)");
    }

    #[test]
    fn a_subtree_has_its_own_root() {
        let mut tree = MergeTree::of_block(Block { level: 1, index: 3 }, 8);
        insert(&mut tree, 0, 7);
        assert!(!tree.is_complete());
        insert(&mut tree, 0, 6);
        assert_eq!(tree.into_root().unwrap(), "(0.6 0.7)");
    }

    #[test]
    fn a_tree_without_replicas_is_complete() {
        let tree = MergeTree::<String>::new(0);
        assert!(tree.is_complete());
        assert_eq!(tree.into_root(), None);
    }

    #[test]
    fn what_is_in_twice_is_a_bug() {
        let twice = [((0, 2), (0, 2)), ((1, 1), (0, 2)), ((0, 2), (1, 1)), ((3, 0), (0, 0))];
        for (first, second) in twice {
            let outcome = std::panic::catch_unwind(|| {
                let mut tree = MergeTree::new(8);
                insert(&mut tree, first.0, first.1);
                insert(&mut tree, second.0, second.1);
            });
            assert!(outcome.is_err(), "{first:?} {second:?}");
        }
    }

    #[test]
    fn copies_of_outcomes_leave_the_tree_as_it_is() {
        let mut once = MergeTree::new(6);
        (0..6).for_each(|replica| insert(&mut once, 0, replica));
        let outcome = |block: Block| {
            let mut tree = MergeTree::of_block(block, 6);
            block.replicas(6).for_each(|replica| insert(&mut tree, 0, replica));
            tree.into_root()
        };
        let mut tree = MergeTree::new(6);
        for (level, index) in [(0, 1), (0, 2), (0, 0), (1, 0), (2, 0), (0, 3), (0, 5), (1, 2)] {
            assert_eq!(tree.root(), None);
            let block = Block { level, index };
            tree.offer(block, outcome(block));
        }
        assert_eq!(tree.root().cloned(), once.into_root());
        tree.offer(Block { level: 3, index: 0 }, None);
        assert!(tree.root().is_some());
    }

    #[test]
    #[should_panic(expected = "is outside the tree")]
    fn a_block_of_elsewhere_is_a_bug() {
        insert(&mut MergeTree::of_block(Block { level: 1, index: 3 }, 8), 0, 5);
    }

    #[test]
    #[should_panic(expected = "beyond the last of 5 replicas")]
    fn a_block_without_replicas_is_a_bug() {
        insert(&mut MergeTree::new(5), 0, 5);
    }

    #[test]
    #[should_panic(expected = "lacks replicas")]
    fn the_root_of_an_incomplete_tree_is_a_bug() {
        MergeTree::<String>::new(2).into_root();
    }
}
