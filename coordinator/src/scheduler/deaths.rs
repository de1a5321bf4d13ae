//! Deaths: which processes were lost in a step without a goodbye, and what
//! follows from it. Workers that are lost together say nothing about a shard:
//! a switch failed, or the power.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::id::ProcessId;

use super::Scheduler;
use super::step::{Step, Trouble};

/// What is lost within this time is lost together.
pub(super) const TOGETHER: Duration = Duration::from_secs(1);

/// A run fails when workers were lost on so many times as many occasions in
/// one step as may die of one shard, whatever they died of.
const OCCASIONS: u32 = 10;

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
struct Group {
    processes: Vec<ProcessId>,
    /// Whether they were all that there were.
    are_all: bool,
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
    fn groups(&self, oldest: Option<Instant>) -> BTreeSet<Group> {
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
    fn may_have_died_of(&self, trouble: &Trouble) -> bool {
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

impl Step {
    /// Takes back that a process died of any shard: it is alive.
    pub(super) fn acquit_living(&mut self, process: ProcessId) {
        for trouble in self.trouble.values_mut() {
            trouble.lost_with.remove(&process);
            trouble.died.remove(&process);
            trouble.spared.remove(&process);
        }
        self.trouble.retain(|_, trouble| !trouble.is_over());
    }

    /// Takes back that the processes of a group died of shards which took only some of
    /// them. That they had said that they begin such a shard is taken back only where
    /// they were all that there were.
    fn acquit_group(&mut self, group: &Group) {
        for trouble in self.trouble.values_mut() {
            if !trouble.is_suspect() || group.may_have_died_of(trouble) {
                continue;
            }
            for process in &group.processes {
                let was_lost = trouble.lost_with.remove(process).is_some();
                let had_begun = group.are_all && trouble.died.remove(process);
                if was_lost || had_begun {
                    trouble.spared.insert(*process);
                }
            }
        }
        self.trouble.retain(|_, trouble| !trouble.is_over());
    }
}

impl Scheduler {
    /// Takes back that workers which were lost together died of shards that took
    /// only some of them.
    pub(super) fn acquit_lost_together(&mut self) {
        let oldest = self.members.values().map(|member| member.joined).min();
        let Some(step) = self.step_mut() else { return };
        for group in step.deaths.groups(oldest) {
            step.acquit_group(&group);
        }
    }

    /// Fails the run where workers were lost again and again in one step. Says
    /// whether it did.
    pub(super) fn fail_on_deaths(&mut self) -> bool {
        let limit = self.config.crash_limit.max(1).saturating_mul(OCCASIONS);
        let Some(step) = self.step() else { return false };
        if step.deaths.occasions() < limit {
            return false;
        }
        let reason = format!(
            "{}: workers were lost {limit} times in this one step, and no shard is known to be \
             what kills them; look into their last log lines and into the network, then resume \
             the run",
            step.id,
        );
        self.fail_run(reason, None);
        true
    }
}
