//! The state of one step: every replica is done, assigned, or waiting.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, StepId, WorkerId};

use super::completed_set::{CompletedSet, size};
use super::deaths::Deaths;
use super::failure_record::FailureRecord;
use super::in_flight::{Assignment, InFlight};
use super::second_answers::Audit;

/// A step in progress.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: StepId,
    pub(super) replicas: u32,
    /// The finished blocks.
    pub(super) completed: CompletedSet,
    /// The assigned blocks.
    pub(super) in_flight: InFlight,
    /// The waiting blocks: disjoint, by their first replica.
    pub(super) waiting: BTreeMap<u64, Block>,
    /// The failure records of replicas in this step.
    pub(super) failures: BTreeMap<u32, FailureRecord>,
    /// Processes that were lost in this step.
    pub(super) deaths: Deaths,
    /// The audited shards.
    pub(super) audit: Audit,
    /// Workers that lacked a partial that they had reported: remaining blocks go to other
    /// workers, if there are any.
    pub(super) lacked: BTreeSet<WorkerId>,
    pub(super) merge: Merge,
}

/// The state of a step's merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The step was never complete.
    Waiting,
    /// [`super::Action::Merge`] was the last action.
    UnderWay,
    /// [`super::Action::PauseMerge`] was the last action.
    Paused,
}

/// How a waiting block is to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Together with others, to any worker.
    Any,
    /// If possible, not to a worker where it failed.
    AvoidFailed,
    /// Alone, to a worker that announces the start: it may have killed a worker, and if it kills
    /// another one, that is certain.
    Isolated,
}

impl Step {
    /// A new step.
    pub(super) fn new(id: StepId, replicas: u32, audited: Vec<u32>) -> Self {
        let root = Block::root(replicas);
        Self {
            id,
            replicas,
            completed: CompletedSet::new(replicas),
            in_flight: InFlight::new(replicas),
            waiting: (replicas > 0).then_some((0, root)).into_iter().collect(),
            failures: BTreeMap::new(),
            deaths: Deaths::default(),
            audit: Audit::new(audited),
            lacked: BTreeSet::new(),
            merge: Merge::Waiting,
        }
    }

    /// Makes the replicas of a block wait again, unless they are done, assigned to another worker
    /// or waiting already. Blocks with a suspected replica are split until it is alone.
    pub(super) fn release(&mut self, block: Block) {
        if size(block, self.replicas) == 0
            || self.completed.covers(block)
            || self.in_flight.hold(block)
            || self.waits(block)
        {
            return;
        }
        match block.halves() {
            Some((left, right)) if !self.is_free(block) || self.is_troubled(block) => {
                self.release(left);
                self.release(right);
            }
            _ => {
                self.waiting.insert(block.start(), block);
            }
        }
    }

    /// Joins waiting siblings, so that the blocks of many lost workers are handed out as few
    /// blocks. Blocks with failures are not joined.
    pub(super) fn join_waiting(&mut self) {
        let mut joined: Vec<Block> = Vec::new();
        for block in std::mem::take(&mut self.waiting).into_values() {
            joined.push(block);
            while let Some((parent, parts)) = self.joinable(&joined) {
                joined.truncate(joined.len() - parts);
                joined.push(parent);
            }
        }
        self.waiting = joined.into_iter().map(|block| (block.start(), block)).collect();
    }

    /// The block formed by the last one or two of `blocks`, and their number.
    fn joinable(&self, blocks: &[Block]) -> Option<(Block, usize)> {
        let last = *blocks.last()?;
        let sibling = last.sibling();
        let parts = match last.is_left() {
            // It may be the last block.
            true if size(sibling, self.replicas) == 0 => 1,
            false if blocks.len() > 1 && blocks[blocks.len() - 2] == sibling => 2,
            _ => return None,
        };
        let parent = last.parent();
        let may_be = last.level < Block::root(self.replicas).level
            && self.placement(parent) == Placement::Any
            && !self.is_suspect(parent);
        may_be.then_some((parent, parts))
    }

    /// Removes the replicas of a finished block from the waiting ones.
    pub(super) fn finish_block(&mut self, block: Block) {
        // A containing block may begin with the same replica as a contained one.
        let before = self.waiting.range(..=block.start()).next_back();
        let around = before.map(|(_, around)| *around).filter(|it| it.contains(block));
        let range = self.waiting.range(block.start()..block.end());
        let inside: Vec<u64> = range.map(|(start, _)| *start).collect();
        for start in inside {
            self.waiting.remove(&start);
        }
        if let Some(around) = around {
            self.waiting.remove(&around.start());
            self.release(around);
        }
    }

    /// The parts of a block without finished replicas.
    pub(super) fn undone(&self, block: Block, found: &mut Vec<Block>) {
        if size(block, self.replicas) == 0 || self.completed.covers(block) {
            return;
        }
        match block.halves() {
            Some((left, right)) if !self.completed.is_clear_of(block) => {
                self.undone(left, found);
                self.undone(right, found);
            }
            _ => found.push(block),
        }
    }

    /// How a block is to be handed out.
    pub(super) fn placement(&self, block: Block) -> Placement {
        let records = || self.failures.range(block.replicas(self.replicas)).map(|(_, it)| it);
        if records().any(FailureRecord::is_cornered) {
            Placement::Isolated
        } else if records().any(|it| !it.failed_on.is_empty()) {
            Placement::AvoidFailed
        } else {
            Placement::Any
        }
    }

    /// Whether a replica of the block may have killed a worker.
    pub(super) fn is_suspect(&self, block: Block) -> bool {
        let mut records = self.failures.range(block.replicas(self.replicas));
        records.any(|(_, record)| record.is_suspect())
    }

    /// The unfinished replicas that are known to have killed this many workers.
    pub(super) fn deadly(&self, crash_limit: u32) -> impl Iterator<Item = (u32, &FailureRecord)> {
        let is_deadly = move |(replica, record): &(u32, &FailureRecord)| {
            record.crashes() >= crash_limit.max(1)
                && !self.completed.covers(Block::of_replica(*replica))
        };
        self.failures.iter().map(|(replica, record)| (*replica, record)).filter(is_deadly)
    }

    /// Whether one of them is in the block.
    pub(super) fn is_deadly(&self, block: Block, crash_limit: u32) -> bool {
        self.deadly(crash_limit).any(|(replica, _)| block.contains(Block::of_replica(replica)))
    }

    /// The workers on which a replica of the block failed, in this step.
    pub(super) fn failed_on(&self, block: Block) -> BTreeSet<WorkerId> {
        let records = self.failures.range(block.replicas(self.replicas));
        records.flat_map(|(_, record)| &record.failed_on).copied().collect()
    }

    /// Whether a replica of the block failed on a worker, in this step.
    pub(super) fn has_failed_on(&self, block: Block, worker: WorkerId) -> bool {
        let mut records = self.failures.range(block.replicas(self.replicas));
        records.any(|(_, record)| record.failed_on.contains(&worker))
    }

    /// Whether an assignment is no longer needed.
    pub(super) fn is_needless(&self, it: &Assignment) -> bool {
        self.completed.covers(it.block) && !self.is_audited_by(it)
    }

    /// Whether an assignment is the second copy that an audit waits for.
    pub(super) fn is_audited_by(&self, it: &Assignment) -> bool {
        it.is_audit && self.audit.is_open(it.block)
    }

    /// Whether only the merge is left to do.
    pub(super) fn is_complete(&self) -> bool {
        self.completed.is_complete() && self.audit.is_over()
    }

    /// Whether one waiting block contains this one.
    fn waits(&self, block: Block) -> bool {
        let before = self.waiting.range(..=block.start()).next_back();
        before.is_some_and(|(_, waiting)| waiting.contains(block))
    }

    /// Whether no replica of the block is done, assigned or waiting.
    fn is_free(&self, block: Block) -> bool {
        self.completed.is_clear_of(block)
            && !self.in_flight.touch(block)
            && self.waiting.range(block.start()..block.end()).next().is_none()
    }

    fn is_troubled(&self, block: Block) -> bool {
        size(block, self.replicas) > 1 && self.placement(block) != Placement::Any
    }
}
