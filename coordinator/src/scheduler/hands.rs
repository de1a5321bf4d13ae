//! The blocks in workers' hands, by assignment and by place.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use common::id::{AssignmentId, Block, WorkerId};

/// A block in a worker's hands.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) worker: WorkerId,
    pub(super) block: Block,
    /// When it was handed out.
    pub(super) since: Instant,
    /// Replicas that the worker had to process by its end, those of earlier
    /// assignments included.
    pub(super) queued: u32,
    /// Whether the worker gets nothing else beside it.
    pub(super) alone: bool,
    /// Whether it is a second copy of an audited shard.
    pub(super) is_audit: bool,
    /// Replicas that were running by the worker's last word, if it said any.
    pub(super) running: Option<Vec<u32>>,
}

/// All assignments of a step. Copies of a block, or of parts of it, overlap.
#[derive(Debug, Default)]
pub(super) struct Hands {
    assignments: BTreeMap<AssignmentId, Assignment>,
    /// Assignments of each block; larger blocks before smaller ones from the
    /// same replica on.
    places: BTreeMap<(u64, Reverse<u8>), usize>,
}

impl Hands {
    pub(super) fn insert(&mut self, id: AssignmentId, assignment: Assignment) {
        *self.places.entry(place(assignment.block)).or_default() += 1;
        self.assignments.insert(id, assignment);
    }

    pub(super) fn remove(&mut self, id: AssignmentId) -> Option<Assignment> {
        let assignment = self.assignments.remove(&id)?;
        let place = place(assignment.block);
        if let Some(count) = self.places.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&place);
            }
        }
        Some(assignment)
    }

    /// Takes out all that `is_wanted`, in the order of their ids.
    pub(super) fn take(
        &mut self,
        is_wanted: impl Fn(&Assignment) -> bool,
    ) -> Vec<(AssignmentId, Assignment)> {
        let wanted = self.assignments.iter().filter(|(_, it)| is_wanted(it));
        let ids: Vec<AssignmentId> = wanted.map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    pub(super) fn get(&self, id: AssignmentId) -> Option<&Assignment> {
        self.assignments.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: AssignmentId) -> Option<&mut Assignment> {
        self.assignments.get_mut(&id)
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
        self.around(block) > 0
    }

    /// Whether some assignment has a part of the block, or the whole of it.
    pub(super) fn touch(&self, block: Block) -> bool {
        self.hold(block) || self.inside(block) > 0
    }

    /// Assignments that share a replica with this block, each once.
    pub(super) fn overlapping(&self, block: Block) -> usize {
        let same = self.places.get(&place(block)).copied().unwrap_or(0);
        self.around(block) + self.inside(block) - same
    }

    /// Assignments of this block or of one around it.
    fn around(&self, block: Block) -> usize {
        let mut count = 0;
        let mut around = block;
        // No merge tree is higher than the replicas of a step can be many.
        while around.level <= 32 {
            count += self.places.get(&place(around)).copied().unwrap_or(0);
            around = around.parent();
        }
        count
    }

    /// Assignments of this block or of one inside it.
    fn inside(&self, block: Block) -> usize {
        let range = self.places.range(place(block)..(block.end(), Reverse(u8::MAX)));
        range.map(|(_, count)| count).sum()
    }
}

fn place(block: Block) -> (u64, Reverse<u8>) {
    (block.start(), Reverse(block.level))
}
