//! Lifts the suspicion that a shard killed workers: if a worker comes back, it did not die; if
//! several workers were lost together, the likely cause is a switch or the power, not a shard.

use common::id::ProcessId;

use super::deaths::Group;
use super::state::Scheduler;
use super::step::Step;

impl Step {
    /// Removes a process from the suspected deaths of all shards: it is alive.
    pub(super) fn clear_living(&mut self, process: ProcessId) {
        for record in self.failures.values_mut() {
            record.lost_with.remove(&process);
            record.died.remove(&process);
            record.spared.remove(&process);
        }
        self.failures.retain(|_, record| !record.is_over());
    }

    /// Removes the processes of a group from the suspected deaths of shards that only some of
    /// the group had. Deaths during an announced shard are removed only if the group was all
    /// connected processes.
    fn clear_group(&mut self, group: &Group) {
        for record in self.failures.values_mut() {
            if !record.is_suspect() || group.may_have_died_of(record) {
                continue;
            }
            for process in &group.processes {
                let was_lost = record.lost_with.remove(process).is_some();
                let had_begun = group.are_all && record.died.remove(process);
                if was_lost || had_begun {
                    record.spared.insert(*process);
                }
            }
        }
        self.failures.retain(|_, record| !record.is_over());
    }
}

impl Scheduler {
    /// Removes a process from the suspected deaths: it is back, so only its connection was
    /// lost.
    pub(super) fn clear_suspicion(&mut self, process: ProcessId) {
        let Some(step) = self.step_mut() else { return };
        step.deaths.remove(process);
        step.clear_living(process);
    }

    /// Removes workers that were lost together from the suspected deaths of shards that only
    /// some of them had.
    pub(super) fn clear_lost_together(&mut self) {
        let oldest = self.members.values().map(|member| member.joined).min();
        let Some(step) = self.step_mut() else { return };
        for group in step.deaths.groups(oldest) {
            step.clear_group(&group);
        }
    }
}
