//! Deaths: which processes were lost in a step without a goodbye, and what
//! follows from it. Workers that are lost together say nothing about a shard:
//! a switch failed, or the power.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::ProcessId;

use super::Scheduler;
use super::step::{Step, Trouble};

/// What is lost within this time is lost together.
const TOGETHER: Duration = Duration::from_secs(1);

/// A run fails when workers were lost on so many times as many occasions in
/// one step as may die of one shard, whatever they died of.
const OCCASIONS: u32 = 10;

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

    /// On how many occasions workers were lost that had work in hands. Those that were lost together count as one: what takes a rack
    /// takes it once.
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

    /// The groups of processes that were lost together, and with them all that
    /// there were. `oldest` is when the first of those that are still here
    /// joined.
    fn of_all(&self, oldest: Option<Instant>) -> Vec<Vec<ProcessId>> {
        let mut groups = Vec::new();
        for death in self.0.values() {
            let was_there = |joined: Instant| joined <= death.at;
            let outlived = |other: &Death| {
                was_there(other.joined) && other.at.saturating_duration_since(death.at) > TOGETHER
            };
            if oldest.is_some_and(was_there) || self.0.values().any(outlived) {
                continue;
            }
            let apart = |at: Instant| {
                at.saturating_duration_since(death.at).max(death.at.saturating_duration_since(at))
            };
            let together = self.0.iter().filter(|(_, other)| apart(other.at) <= TOGETHER);
            let group: Vec<ProcessId> = together.map(|(process, _)| *process).collect();
            if group.len() > 1 {
                groups.push(group);
            }
        }
        groups
    }
}

impl Scheduler {
    /// Takes deaths back that all workers died together. They stay with a shard
    /// that each of them may have died of: one that kills at once can go through
    /// all workers in less than a second.
    pub(super) fn acquit_lost_together(&mut self) {
        let oldest = self.members.values().map(|member| member.joined).min();
        let Some(step) = self.step_mut() else { return };
        let Step { deaths, trouble, .. } = step;
        for group in deaths.of_all(oldest) {
            let is_spared = |it: &&mut Trouble| !group.iter().all(|who| it.died.contains(who));
            for trouble in trouble.values_mut().filter(is_spared) {
                group.iter().for_each(|process| {
                    trouble.died.remove(process);
                });
            }
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
