//! The state of one step: every replica is done, being worked on, or waiting.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, StepId, WorkerId};

use super::cover::{Cover, size};
use super::deaths::Deaths;
use super::hands::{Assignment, Hands};
use super::second_answers::Audit;
use super::trouble::Trouble;

/// A step under way.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: StepId,
    pub(super) replicas: u32,
    /// What is done.
    pub(super) cover: Cover,
    /// What is being worked on.
    pub(super) hands: Hands,
    /// What waits for a worker: disjoint blocks, by their first replica.
    pub(super) waiting: BTreeMap<u64, Block>,
    /// Replicas with which something went wrong in this step.
    pub(super) trouble: BTreeMap<u32, Trouble>,
    /// Processes that were lost in this step.
    pub(super) deaths: Deaths,
    /// What two processes are to answer.
    pub(super) audit: Audit,
    /// Workers that did not give a partial that they had said was done: others
    /// get what is left, if there are any.
    pub(super) lacked: BTreeSet<WorkerId>,
    pub(super) merge: Merge,
}

/// Where the merge of a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The step was never complete.
    Waiting,
    /// [`super::Action::Merge`] is the last word.
    UnderWay,
    /// [`super::Action::PauseMerge`] is the last word.
    Paused,
}

/// How a waiting block is to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Together with others, wherever there is room.
    None,
    /// Rather not to a worker where it failed.
    Elsewhere,
    /// To a worker that has nothing else, and says that it begins: a worker may
    /// have died of it, and should another one, that is known.
    Alone,
}

impl Step {
    /// A step of which nothing is done yet.
    pub(super) fn new(id: StepId, replicas: u32, audited: Vec<u32>) -> Self {
        let root = Block::root(replicas);
        Self {
            id,
            replicas,
            cover: Cover::new(replicas),
            hands: Hands::new(replicas),
            waiting: (replicas > 0).then_some((0, root)).into_iter().collect(),
            trouble: BTreeMap::new(),
            deaths: Deaths::default(),
            audit: Audit::new(audited),
            lacked: BTreeSet::new(),
            merge: Merge::Waiting,
        }
    }

    /// Makes the replicas of a block wait again, as far as they are not done,
    /// in other hands or waiting already. Blocks with a troubled replica are
    /// split until it is by itself.
    pub(super) fn release(&mut self, block: Block) {
        if size(block, self.replicas) == 0
            || self.cover.covers(block)
            || self.hands.hold(block)
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

    /// Joins waiting siblings, so that what many workers left behind is handed
    /// out in few blocks. What something is wrong with stays apart.
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

    /// The block that the last one, or the last two, of `blocks` make up, and how
    /// many it is of.
    fn joinable(&self, blocks: &[Block]) -> Option<(Block, usize)> {
        let last = *blocks.last()?;
        let sibling = last.sibling();
        let parts = match last.is_left() {
            // There may be nothing to the right of it.
            true if size(sibling, self.replicas) == 0 => 1,
            false if blocks.len() > 1 && blocks[blocks.len() - 2] == sibling => 2,
            _ => return None,
        };
        let parent = last.parent();
        let may_be = last.level < Block::root(self.replicas).level
            && self.care(parent) == Care::None
            && !self.is_suspect(parent);
        may_be.then_some((parent, parts))
    }

    /// Takes the replicas of a block that is done out of the waiting ones.
    pub(super) fn settle(&mut self, block: Block) {
        // One around it may begin with the same replica as one inside it.
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

    /// The parts of a block of which no replica is done.
    pub(super) fn undone(&self, block: Block, found: &mut Vec<Block>) {
        if size(block, self.replicas) == 0 || self.cover.covers(block) {
            return;
        }
        match block.halves() {
            Some((left, right)) if !self.cover.is_clear_of(block) => {
                self.undone(left, found);
                self.undone(right, found);
            }
            _ => found.push(block),
        }
    }

    /// How a block is to be handed out.
    pub(super) fn care(&self, block: Block) -> Care {
        let troubles = || self.trouble.range(block.replicas(self.replicas)).map(|(_, it)| it);
        if troubles().any(Trouble::is_cornered) {
            Care::Alone
        } else if troubles().any(|it| !it.failed_on.is_empty()) {
            Care::Elsewhere
        } else {
            Care::None
        }
    }

    /// Whether a worker may have died of something of the block.
    pub(super) fn is_suspect(&self, block: Block) -> bool {
        let mut troubles = self.trouble.range(block.replicas(self.replicas));
        troubles.any(|(_, trouble)| trouble.is_suspect())
    }

    /// The replicas, not done, of which so many workers are known to have died.
    pub(super) fn deadly(&self, crash_limit: u32) -> impl Iterator<Item = (u32, &Trouble)> {
        let is_deadly = move |(replica, trouble): &(u32, &Trouble)| {
            trouble.crashes() >= crash_limit.max(1)
                && !self.cover.covers(Block::of_replica(*replica))
        };
        self.trouble.iter().map(|(replica, trouble)| (*replica, trouble)).filter(is_deadly)
    }

    /// Whether one of them is in the block.
    pub(super) fn is_deadly(&self, block: Block, crash_limit: u32) -> bool {
        self.deadly(crash_limit).any(|(replica, _)| block.contains(Block::of_replica(replica)))
    }

    /// The workers on which something of the block failed, in this step.
    pub(super) fn failed_on(&self, block: Block) -> BTreeSet<WorkerId> {
        let troubles = self.trouble.range(block.replicas(self.replicas));
        troubles.flat_map(|(_, trouble)| &trouble.failed_on).copied().collect()
    }

    /// Whether something of the block failed on a worker, in this step.
    pub(super) fn has_failed_on(&self, block: Block, worker: WorkerId) -> bool {
        let mut troubles = self.trouble.range(block.replicas(self.replicas));
        troubles.any(|(_, trouble)| trouble.failed_on.contains(&worker))
    }

    /// Whether an assignment is not needed any more.
    pub(super) fn is_needless(&self, it: &Assignment) -> bool {
        self.cover.covers(it.block) && !self.is_audited_by(it)
    }

    /// Whether an assignment is the second copy that an audit waits for.
    pub(super) fn is_audited_by(&self, it: &Assignment) -> bool {
        it.is_audit && self.audit.is_open(it.block)
    }

    /// Whether nothing is left to do but to merge.
    pub(super) fn is_complete(&self) -> bool {
        self.cover.is_complete() && self.audit.is_over()
    }

    /// Whether one waiting block contains this one.
    fn waits(&self, block: Block) -> bool {
        let before = self.waiting.range(..=block.start()).next_back();
        before.is_some_and(|(_, waiting)| waiting.contains(block))
    }

    /// Whether no replica of the block is done, in hands or waiting.
    fn is_free(&self, block: Block) -> bool {
        self.cover.is_clear_of(block)
            && !self.hands.touch(block)
            && self.waiting.range(block.start()..block.end()).next().is_none()
    }

    fn is_troubled(&self, block: Block) -> bool {
        size(block, self.replicas) > 1 && self.care(block) != Care::None
    }
}
