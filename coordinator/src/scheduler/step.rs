//! The state of one step: every replica is done, being worked on, or waiting.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, ProcessId, StepId, WorkerId};

use super::audit::Audit;
use super::cover::{Cover, size};
use super::deaths::Deaths;
use super::hands::{Assignment, Hands};

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

/// What a worker has in hands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) replicas: u32,
    /// Whether it gets nothing beside.
    pub(super) is_reserved: bool,
}

/// What went wrong with a replica in this step.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Processes that died while it was running, and were not seen again.
    pub(super) died: BTreeSet<ProcessId>,
    /// Errors that it gave.
    pub(super) errors: u32,
    /// How often it came altered.
    pub(super) altered: u32,
    /// Where it gave errors, or from where it came altered.
    pub(super) failed_on: BTreeSet<WorkerId>,
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
    /// To a worker that has nothing else, because one more crash fails the
    /// run, and it should be known which replica it was.
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
            hands: Hands::default(),
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
    pub(super) fn release(&mut self, block: Block, crash_limit: u32) {
        if size(block, self.replicas) == 0
            || self.cover.covers(block)
            || self.hands.hold(block)
            || self.waits(block)
        {
            return;
        }
        match block.halves() {
            Some((left, right)) if !self.is_free(block) || self.is_troubled(block, crash_limit) => {
                self.release(left, crash_limit);
                self.release(right, crash_limit);
            }
            _ => {
                self.waiting.insert(block.start(), block);
            }
        }
    }

    /// Takes the replicas of a block that is done out of the waiting ones.
    pub(super) fn settle(&mut self, block: Block, crash_limit: u32) {
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
            self.release(around, crash_limit);
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
    pub(super) fn care(&self, block: Block, crash_limit: u32) -> Care {
        let troubles = || self.trouble.range(block.replicas(self.replicas)).map(|(_, it)| it);
        if troubles().any(|it| it.is_last_chance(crash_limit)) {
            Care::Alone
        } else if troubles().any(|it| !it.failed_on.is_empty()) {
            Care::Elsewhere
        } else {
            Care::None
        }
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

    /// What each worker has in hands.
    pub(super) fn loads(&self) -> BTreeMap<WorkerId, Load> {
        let mut loads: BTreeMap<WorkerId, Load> = BTreeMap::new();
        for (_, assignment) in self.hands.iter() {
            let load = loads.entry(assignment.worker).or_default();
            load.replicas += size(assignment.block, self.replicas);
            load.is_reserved |= assignment.alone;
        }
        loads
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

    fn is_troubled(&self, block: Block, crash_limit: u32) -> bool {
        size(block, self.replicas) > 1 && self.care(block, crash_limit) != Care::None
    }
}

impl Trouble {
    /// Workers that died while it was running.
    pub(super) fn crashes(&self) -> u32 {
        self.died.len() as u32
    }

    /// Whether the shard itself may be what is wrong.
    pub(super) fn is_of_shard(&self) -> bool {
        self.errors > 0 || !self.died.is_empty()
    }

    /// Whether one more crash fails the run.
    pub(super) fn is_last_chance(&self, crash_limit: u32) -> bool {
        self.crashes() > 0 && self.crashes() + 1 >= crash_limit
    }
}
