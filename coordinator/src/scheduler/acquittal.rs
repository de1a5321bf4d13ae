//! Who did not die of a shard after all: whoever came back, and workers that were
//! lost together, which says nothing about a shard: a switch failed, or the power.

use common::id::ProcessId;

use super::deaths::Group;
use super::state::Scheduler;
use super::step::Step;

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
    /// Takes back what a process was taken to have died of: it is back, so only
    /// its connection had died.
    pub(super) fn acquit(&mut self, process: ProcessId) {
        let Some(step) = self.step_mut() else { return };
        step.deaths.remove(process);
        step.acquit_living(process);
    }

    /// Takes back that workers which were lost together died of shards that took
    /// only some of them.
    pub(super) fn acquit_lost_together(&mut self) {
        let oldest = self.members.values().map(|member| member.joined).min();
        let Some(step) = self.step_mut() else { return };
        for group in step.deaths.groups(oldest) {
            step.acquit_group(&group);
        }
    }
}
