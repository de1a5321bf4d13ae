//! The assigned blocks, by assignment, by position and by worker.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use common::id::{AssignmentId, Block, WorkerId};

use super::completed_set::size;

/// An assigned block.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) worker: WorkerId,
    pub(super) block: Block,
    /// When it was assigned.
    pub(super) since: Instant,
    /// Replicas that the worker has to process up to its end, including those of earlier
    /// assignments.
    pub(super) queued: u32,
    /// Whether it is the worker's only block, whose start the worker announces.
    pub(super) alone: bool,
    /// Whether the start was announced.
    pub(super) is_begun: bool,
    /// Whether it is a second copy of an audited shard.
    pub(super) is_audit: bool,
    /// The running replicas that the worker last reported, if any.
    pub(super) running: Option<Vec<u32>>,
}

/// How a block is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Beside others.
    Shared,
    /// As the only one.
    Alone,
    /// As the second copy of an audited shard.
    Audit,
}

/// The assigned blocks of a worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) blocks: usize,
    pub(super) replicas: u32,
    /// Whether it gets no other block.
    pub(super) is_reserved: bool,
}

/// All assignments of a step. Copies of a block, or of parts of it, overlap.
#[derive(Debug)]
pub(super) struct InFlight {
    replicas: u32,
    assignments: BTreeMap<AssignmentId, Assignment>,
    /// The same by position: larger blocks before smaller ones that start at the same replica.
    places: BTreeSet<(u64, Reverse<u8>, AssignmentId)>,
    by_worker: BTreeMap<WorkerId, (Load, BTreeSet<AssignmentId>)>,
}

impl InFlight {
    /// No assignments, in a step of `replicas`.
    pub(super) fn new(replicas: u32) -> Self {
        Self {
            replicas,
            assignments: BTreeMap::new(),
            places: BTreeSet::new(),
            by_worker: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, id: AssignmentId, it: Assignment) {
        self.places.insert(place(it.block, id));
        let (load, ids) = self.by_worker.entry(it.worker).or_default();
        load.blocks += 1;
        load.replicas += size(it.block, self.replicas);
        load.is_reserved |= it.alone;
        ids.insert(id);
        self.assignments.insert(id, it);
    }

    pub(super) fn remove(&mut self, id: AssignmentId) -> Option<Assignment> {
        let it = self.assignments.remove(&id)?;
        self.places.remove(&place(it.block, id));
        if let Some((load, ids)) = self.by_worker.get_mut(&it.worker) {
            load.blocks -= 1;
            load.replicas -= size(it.block, self.replicas);
            load.is_reserved &= !it.alone;
            ids.remove(&id);
            if ids.is_empty() {
                self.by_worker.remove(&it.worker);
            }
        }
        Some(it)
    }

    /// Removes and returns all of a worker's assignments that `is_wanted`, in the order of their
    /// ids.
    pub(super) fn take(
        &mut self,
        worker: WorkerId,
        is_wanted: impl Fn(&Assignment) -> bool,
    ) -> Vec<Assignment> {
        let its = self.by_worker.get(&worker).into_iter().flat_map(|(_, ids)| ids);
        let is_wanted = |id: &AssignmentId| self.assignments.get(id).is_some_and(&is_wanted);
        let wanted: Vec<AssignmentId> = its.copied().filter(is_wanted).collect();
        wanted.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub(super) fn get(&self, id: AssignmentId) -> Option<&Assignment> {
        self.assignments.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: AssignmentId) -> Option<&mut Assignment> {
        self.assignments.get_mut(&id)
    }

    /// The blocks of a worker.
    pub(super) fn load(&self, worker: WorkerId) -> Load {
        self.by_worker.get(&worker).map(|(load, _)| *load).unwrap_or_default()
    }

    /// All assignments, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AssignmentId, &Assignment)> {
        self.assignments.iter().map(|(id, it)| (*id, it))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.assignments.is_empty()
    }

    /// Whether one assignment has the whole block.
    pub(super) fn hold(&self, block: Block) -> bool {
        self.around(block).next().is_some()
    }

    /// Whether some assignment has a part of the block, or the whole of it.
    pub(super) fn touch(&self, block: Block) -> bool {
        self.hold(block) || self.inside(block).next().is_some()
    }

    /// Assignments that share a replica with this block, each once, the oldest
    /// first.
    pub(super) fn overlapping(&self, block: Block) -> BTreeSet<AssignmentId> {
        self.around(block).chain(self.inside(block)).collect()
    }

    /// Assignments of this block or of one that contains it.
    fn around(&self, block: Block) -> impl Iterator<Item = AssignmentId> {
        // The height of a merge tree is limited by the number of replicas of a step.
        let highest = Block::root(self.replicas).level.max(block.level);
        let levels = block.level..=highest;
        levels.flat_map(move |level| {
            let start = block.start() >> level << level;
            let first = (start, Reverse(level), AssignmentId(0));
            let last = (start, Reverse(level), AssignmentId(u64::MAX));
            self.places.range(first..=last).map(|(.., id)| *id)
        })
    }

    /// Assignments of this block or of one contained in it.
    fn inside(&self, block: Block) -> impl Iterator<Item = AssignmentId> {
        let first = place(block, AssignmentId(0));
        let end = (block.end(), Reverse(u8::MAX), AssignmentId(0));
        self.places.range(first..end).map(|(.., id)| *id)
    }
}

fn place(block: Block, id: AssignmentId) -> (u64, Reverse<u8>, AssignmentId) {
    (block.start(), Reverse(block.level), id)
}
