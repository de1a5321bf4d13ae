//! Deaths: which processes were lost in a step without a goodbye, and which of them
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::id::ProcessId;

use super::trouble::Trouble;

/// What is lost within this time is lost together.
pub(super) const TOGETHER: Duration = Duration::from_secs(1);

/// Where at least so many are lost together, one cause took them, and no shard that
/// not even most of them may have died of.
const MANY: usize = 3;

/// A process that was lost, and has not come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// When its connection ended, or it was heard last.
    pub(super) at: Instant,
    /// When it had joined.
    pub(super) joined: Instant,
    /// Whether it had some of the step in hands.
    pub(super) was_busy: bool,
}

/// Processes that were lost together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) processes: Vec<ProcessId>,
    /// Whether they were all that there were.
    pub(super) are_all: bool,
}

/// All deaths of a step.
#[derive(Debug, Default)]
pub(super) struct Deaths(BTreeMap<ProcessId, Death>);

impl Deaths {
    pub(super) fn insert(&mut self, process: ProcessId, death: Death) {
        self.0.insert(process, death);
    }

    /// A process is back.
    pub(super) fn remove(&mut self, process: ProcessId) {
        self.0.remove(&process);
    }

    /// When it is known which other processes were lost together with the last of
    /// these. Later deaths do not delay that.
    pub(super) fn known_at(&self, processes: &BTreeSet<ProcessId>) -> Option<Instant> {
        let deaths = processes.iter().filter_map(|process| self.0.get(process));
        deaths.map(|death| death.at + TOGETHER).max()
    }

    /// On how many occasions workers were lost that had work in hands. Those that
    /// were lost together count as one: what takes a rack takes it once.
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

    /// The groups of several processes that were lost together. `oldest` is when
    /// the first of those that are still here joined.
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
    /// Whether it may be this shard that its processes died of. One that kills at
    /// once can go through all workers in less than a second, but then each of them
    /// had it.
    pub(super) fn may_have_died_of(&self, trouble: &Trouble) -> bool {
        let had_it = self.processes.iter().filter(|process| trouble.was_with(process)).count();
        let all = self.processes.len();
        let least = match (self.are_all, all >= MANY) {
            (true, _) => all,
            (false, true) => all / 2 + 1,
            (false, false) => 0,
        };
        had_it >= least
    }
}
