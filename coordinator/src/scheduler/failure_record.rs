//! The failure record of a replica in one step.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{ProcessId, WorkerId};

/// The failures of a replica in this step. Processes that came back are removed.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureRecord {
    /// Processes that were lost while it may have been running.
    pub(super) lost_with: BTreeMap<ProcessId, Ground>,
    /// Processes that were lost after they had announced its start and had no other block: these
    /// count for the crash limit.
    pub(super) died: BTreeSet<ProcessId>,
    /// Processes of either kind that were lost together with others, and no longer count. They
    /// still had the replica: a process that was lost together with only them may have been
    /// killed by it.
    pub(super) spared: BTreeSet<ProcessId>,
    /// Number of errors.
    pub(super) errors: u32,
    /// How often its result arrived altered.
    pub(super) altered: u32,
    /// The workers with errors or altered results.
    pub(super) failed_on: BTreeSet<WorkerId>,
}

/// How certain it is that a replica was running on a process when it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It was one of at most as many shards as the process ran at a time.
    Narrow,
    /// It was one of many.
    Wide,
}

impl FailureRecord {
    /// Number of workers that are known to have died while it was running.
    pub(super) fn crashes(&self) -> u32 {
        self.died.len() as u32
    }

    /// Whether the shard itself may be the cause.
    pub(super) fn is_of_shard(&self) -> bool {
        self.errors > 0 || self.is_suspect()
    }

    /// Whether it may have killed a worker.
    pub(super) fn is_suspect(&self) -> bool {
        !self.died.is_empty() || !self.lost_with.is_empty()
    }

    /// Whether it is one of few that may have killed a worker, or may have killed several.
    pub(super) fn is_cornered(&self) -> bool {
        let is_narrow = |ground: &Ground| *ground == Ground::Narrow;
        !self.died.is_empty() || self.lost_with.len() > 1 || self.lost_with.values().any(is_narrow)
    }

    /// Whether a process may have been running it when it was lost.
    pub(super) fn was_with(&self, process: &ProcessId) -> bool {
        self.died.contains(process)
            || self.lost_with.contains_key(process)
            || self.spared.contains(process)
    }

    /// Whether the record is empty.
    pub(super) fn is_over(&self) -> bool {
        !self.is_of_shard()
            && self.altered == 0
            && self.failed_on.is_empty()
            && self.spared.is_empty()
    }
}
