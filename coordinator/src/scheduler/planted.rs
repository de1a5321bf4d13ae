//! Bugs on purpose, for tests only: the simulation must catch each of them.
//! Nothing but [`Scheduler::planted`] can switch one on.

use super::{Config, Scheduler};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A duplicate result enters the merge a second time.
    DuplicateTaken,
    /// The blocks of a lost worker are not given to anyone else.
    LostBlockForgotten,
    /// The merge begins while a block is still missing.
    MergeEarly,
    /// Silence never makes a worker lost.
    SilenceForgiven,
    /// A shard is blamed for the death of a worker that never said it begins it.
    UnstartedBlamed,
    /// The merge does not wait for audits.
    AuditSkipped,
    /// Two answers of one process are taken for an audit.
    AuditByOne,
}

impl Scheduler {
    /// A scheduler with a bug.
    pub fn planted(config: Config, plant: Plant) -> Self {
        Self { plant: Some(plant), ..Self::new(config) }
    }

    /// Whether this bug is switched on.
    pub(super) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }
}
