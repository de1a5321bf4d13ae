//! What went wrong with a replica in one step, and how much is to be thought of it.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{ProcessId, WorkerId};

/// What went wrong with a replica in this step. Of processes that came back nothing
/// is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Processes that were lost while it may have been running.
    pub(super) lost_with: BTreeMap<ProcessId, Ground>,
    /// Processes that were lost after they had said that they begin it, and had
    /// nothing else: what counts.
    pub(super) died: BTreeSet<ProcessId>,
    /// Processes of either kind that were lost together with others, and do not count
    /// any more. They had the replica all the same: a process that was lost together
    /// with them alone may have died of it.
    pub(super) spared: BTreeSet<ProcessId>,
    /// Errors that it gave.
    pub(super) errors: u32,
    /// How often it came altered.
    pub(super) altered: u32,
    /// Where it gave errors, or from where it came altered.
    pub(super) failed_on: BTreeSet<WorkerId>,
}

/// How well it is known what ran on a process as it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It was one of no more shards than the process ran at a time.
    Narrow,
    /// It was one of many.
    Wide,
}

impl Trouble {
    /// Workers that are known to have died while it was running.
    pub(super) fn crashes(&self) -> u32 {
        self.died.len() as u32
    }

    /// Whether the shard itself may be what is wrong.
    pub(super) fn is_of_shard(&self) -> bool {
        self.errors > 0 || self.is_suspect()
    }

    /// Whether a worker may have died of it.
    pub(super) fn is_suspect(&self) -> bool {
        !self.died.is_empty() || !self.lost_with.is_empty()
    }

    /// Whether it is one of few that a worker may have died of, or one that
    /// several may have.
    pub(super) fn is_cornered(&self) -> bool {
        let is_narrow = |ground: &Ground| *ground == Ground::Narrow;
        !self.died.is_empty() || self.lost_with.len() > 1 || self.lost_with.values().any(is_narrow)
    }

    /// Whether a process may have been running it as it was lost.
    pub(super) fn was_with(&self, process: &ProcessId) -> bool {
        self.died.contains(process)
            || self.lost_with.contains_key(process)
            || self.spared.contains(process)
    }

    /// Whether nothing is wrong with it after all.
    pub(super) fn is_over(&self) -> bool {
        !self.is_of_shard()
            && self.altered == 0
            && self.failed_on.is_empty()
            && self.spared.is_empty()
    }
}
