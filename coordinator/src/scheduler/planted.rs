//! Bugs on purpose: the simulation must catch each of them. Nothing but
//! `Scheduler::planted` can switch one on, which is there with the feature `planted`
//! alone, for the package `tests`. Without it, none of them is in the program.

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
    /// A worker that cannot work on a run is given work of it.
    UnfitServed,
}
