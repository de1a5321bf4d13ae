//! The shards of the current step: which processes they were given to, how often, and their
//! results. Two answers of one shard must be equal, from whichever process.

use std::collections::BTreeSet;

use common::digest::Digest;
use common::id::{Block, ProcessId};
use common::wire::message::ShardDone;

use crate::ledger::step_digest;

/// The result of a shard, and its origin.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::server) struct Shard {
    /// Name of the worker.
    pub(in crate::server) worker: String,
    /// How often the shard had been handed out before this answer, at least 1.
    pub(in crate::server) attempt: u32,
    pub(in crate::server) done: ShardDone,
}

/// Two different answers of a shard.
#[derive(Debug, PartialEq)]
pub(in crate::server) struct Difference {
    pub(in crate::server) replica: u32,
    /// The first answer.
    pub(in crate::server) first: Shard,
    /// The digest of the second answer.
    pub(in crate::server) second: Digest,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::server) struct ShardLog {
    replicas: u32,
    /// By replica; empty until the first shard is handed out or done.
    attempts: Vec<u32>,
    done: Vec<Option<Shard>>,
    /// Blocks given to processes, by the block's first replica and level, so that everything within
    /// a block is one range.
    given: BTreeSet<(ProcessId, u64, u8)>,
}

impl ShardLog {
    /// The shards of a step with this many.
    pub(in crate::server) fn new(replicas: u32) -> Self {
        let count = replicas as usize;
        Self { replicas, attempts: vec![0; count], done: vec![None; count], given: BTreeSet::new() }
    }

    /// Notes that a block is handed out.
    pub(in crate::server) fn give(&mut self, block: Block, process: ProcessId) {
        for replica in block.replicas(self.replicas) {
            self.attempts[replica as usize] += 1;
        }
        self.given.insert((process, block.start(), block.level));
    }

    /// Whether a process was given all of a block, in one part or in several.
    pub(in crate::server) fn was_given(&self, block: Block, process: ProcessId) -> bool {
        let highest = Block::root(self.replicas).level;
        let around = (block.level..=highest).any(|level| {
            let start = block.start() >> level << level;
            self.given.contains(&(process, start, level))
        });
        around || self.gave_parts(block, process)
    }

    /// Whether the parts of a block that a process was given cover its replicas.
    fn gave_parts(&self, block: Block, process: ProcessId) -> bool {
        let end = block.end().min(u64::from(self.replicas));
        let mut covered = block.start();
        if covered >= end {
            return false;
        }
        let parts = (process, block.start(), 0)..(process, end, 0);
        for (_, start, level) in self.given.range(parts) {
            if *start > covered {
                return false;
            }
            covered = covered.max(start + (1_u64 << level));
        }
        covered >= end
    }

    /// Compares a block's shards with earlier answers, and adds the new ones: one for each replica
    /// of the block.
    pub(in crate::server) fn take(
        &mut self,
        worker: &str,
        block: Block,
        shards: &[ShardDone],
    ) -> Result<(), Box<Difference>> {
        for (replica, done) in block.replicas(self.replicas).zip(shards) {
            let attempt = self.attempts[replica as usize].max(1);
            let place = &mut self.done[replica as usize];
            match place {
                Some(first) if first.done.digest != done.digest => {
                    let (first, second) = (first.clone(), done.digest);
                    return Err(Box::new(Difference { replica, first, second }));
                }
                Some(_) => {}
                None => *place = Some(Shard { worker: worker.to_owned(), attempt, done: *done }),
            }
        }
        Ok(())
    }

    /// The first answers of a complete step, in replica order.
    pub(in crate::server) fn all(&self) -> impl Iterator<Item = (u32, &Shard)> {
        let numbered = (0..).zip(&self.done);
        numbered.filter_map(|(replica, shard)| Some((replica, shard.as_ref()?)))
    }

    /// SHA-256 over the 15 bytes `samebit-step-1\n` and the digests of all
    /// shards, in order: the same on every cluster.
    pub(in crate::server) fn digest(&self) -> Digest {
        step_digest(self.all().map(|(_, shard)| &shard.done.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &[u8]) -> ShardDone {
        ShardDone { digest: Digest::of(text), compute_us: 1 }
    }

    #[test]
    fn the_first_answer_counts_and_another_one_is_found() {
        let block = Block { level: 1, index: 1 };
        let mut shards = ShardLog::new(3);
        shards.give(block, ProcessId(7));
        shards.take("one", block, &[done(b"a")]).unwrap();
        shards.give(block, ProcessId(8));
        shards.take("two", block, &[done(b"a")]).unwrap();
        let all: Vec<_> = shards.all().collect();
        let expected = Shard { worker: "one".into(), attempt: 1, done: done(b"a") };
        assert_eq!(all, [(2, &expected)]);
        let difference = shards.take("two", Block::of_replica(2), &[done(b"b")]).unwrap_err();
        assert_eq!((difference.replica, difference.second), (2, Digest::of(b"b")));
        assert_eq!(difference.first, expected);
    }

    #[test]
    fn only_what_was_given_may_be_claimed() {
        let mut shards = ShardLog::new(8);
        let given = |shards: &ShardLog, level, index, process| {
            shards.was_given(Block { level, index }, ProcessId(process))
        };
        shards.give(Block { level: 1, index: 0 }, ProcessId(7));
        assert!(given(&shards, 0, 1, 7) && given(&shards, 1, 0, 7));
        assert!(!given(&shards, 0, 2, 7));
        assert!(!given(&shards, 0, 1, 8));
        // A process that was given one half was not given the other.
        assert!(!given(&shards, 2, 0, 7));
        shards.give(Block::of_replica(3), ProcessId(7));
        assert!(!given(&shards, 2, 0, 7));
        shards.give(Block::of_replica(2), ProcessId(8));
        assert!(!given(&shards, 2, 0, 7), "another process has the rest");
        shards.give(Block::of_replica(2), ProcessId(7));
        assert!(given(&shards, 2, 0, 7) && given(&shards, 1, 1, 7));
        assert!(!given(&shards, 3, 0, 7));
    }

    #[test]
    fn the_end_of_a_step_is_given_with_its_last_replica() {
        let mut shards = ShardLog::new(5);
        shards.give(Block::of_replica(4), ProcessId(7));
        assert!(shards.was_given(Block { level: 2, index: 1 }, ProcessId(7)));
        assert!(!shards.was_given(Block::root(5), ProcessId(7)));
        shards.give(Block { level: 2, index: 0 }, ProcessId(7));
        assert!(shards.was_given(Block::root(5), ProcessId(7)));
    }
}
