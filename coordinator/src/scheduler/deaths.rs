//! Deaths: the processes that were lost in a step without leaving in order, and which of them
//! were lost together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::id::ProcessId;

use super::failure_record::FailureRecord;

/// Processes that are lost within this time count as lost together.
pub(super) const TOGETHER: Duration = Duration::from_secs(1);

/// If at least this many are lost together, they had one cause: a shard is suspected only if most
/// of them may have been running it.
const MANY: usize = 3;

/// A process that was lost and has not come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// When its connection ended, or when it was last heard.
    pub(super) at: Instant,
    /// When it had joined.
    pub(super) joined: Instant,
    /// Whether it had blocks of the step.
    pub(super) was_busy: bool,
}

/// Processes that were lost together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) processes: Vec<ProcessId>,
    /// Whether they were all connected processes.
    pub(super) are_all: bool,
}

/// All deaths of a step.
#[derive(Debug, Default)]
pub(super) struct Deaths(BTreeMap<ProcessId, Death>);

impl Deaths {
    pub(super) fn insert(&mut self, process: ProcessId, death: Death) {
        self.0.insert(process, death);
    }

    /// Removes a process that is back.
    pub(super) fn remove(&mut self, process: ProcessId) {
        self.0.remove(&process);
    }

    /// The time from which it is certain which processes were lost together with the last of
    /// these. Later deaths do not delay it.
    pub(super) fn known_at(&self, processes: &BTreeSet<ProcessId>) -> Option<Instant> {
        let deaths = processes.iter().filter_map(|process| self.0.get(process));
        deaths.map(|death| death.at + TOGETHER).max()
    }

    /// The number of occasions on which workers with work were lost. Workers that were lost
    /// together count as one occasion.
    pub(super) fn occasions(&self) -> u32 {
        let mut times: Vec<Instant> =
            self.0.values().filter(|death| death.was_busy).map(|death| death.at).collect();
        times.sort_unstable();
        let (mut count, mut begun) = (0, None);
        for at in times {
            if begun.is_none_or(|begun| at.duration_since(begun) > TOGETHER) {
                (count, begun) = (count + 1, Some(at));
            }
        }
        count
    }

    /// The groups of several processes that were lost together. `oldest` is the time when the
    /// first connected process joined.
    pub(super) fn groups(&self, oldest: Option<Instant>) -> BTreeSet<Group> {
        let mut groups = BTreeSet::new();
        for death in self.0.values() {
            let was_there = |joined: Instant| joined <= death.at;
            let outlived = |other: &Death| {
                was_there(other.joined) && other.at.saturating_duration_since(death.at) > TOGETHER
            };
            let are_all = !oldest.is_some_and(was_there) && !self.0.values().any(outlived);
            let apart = |at: Instant| {
                at.saturating_duration_since(death.at).max(death.at.saturating_duration_since(at))
            };
            let together = self.0.iter().filter(|(_, other)| apart(other.at) <= TOGETHER);
            let processes: Vec<ProcessId> = together.map(|(process, _)| *process).collect();
            if processes.len() > 1 {
                groups.insert(Group { processes, are_all });
            }
        }
        groups
    }
}

impl Group {
    /// Whether this shard may have killed the group's processes. A shard that kills immediately
    /// can go through all workers in less than a second, but then all of them had it.
    pub(super) fn may_have_died_of(&self, record: &FailureRecord) -> bool {
        let had_it = self.processes.iter().filter(|process| record.was_with(process)).count();
        let all = self.processes.len();
        let least = match (self.are_all, all >= MANY) {
            (true, _) => all,
            (false, true) => all / 2 + 1,
            (false, false) => 0,
        };
        had_it >= least
    }
}
