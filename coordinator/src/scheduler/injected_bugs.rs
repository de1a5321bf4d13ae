//! Injected bugs, each of which the simulation must catch. Only `Scheduler::with_bug` can enable
//! one; it exists only with the feature `injected_bugs`, for the package `tests`. Without the feature,
//! the program contains none of them.

/// An injected bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// A duplicate result enters the merge a second time.
    DuplicateTaken,
    /// The blocks of a lost worker are not handed to other workers.
    LostBlockForgotten,
    /// The merge begins while a block is still missing.
    MergeEarly,
    /// Silence never makes a worker lost.
    SilenceForgiven,
    /// A shard is blamed for the death of a worker that never announced its start.
    UnstartedBlamed,
    /// The merge does not wait for audits.
    AuditSkipped,
    /// Two results of one process count as an audit.
    AuditByOne,
    /// A worker that cannot work on a run gets work of it.
    UnfitServed,
}
