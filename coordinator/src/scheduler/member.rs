//! The state of a connected worker.

use std::time::Instant;

use common::id::ProcessId;

use super::throughput::Throughput;

/// A connected worker.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) process: ProcessId,
    pub(super) slots: u32,
    pub(super) joined: Instant,
    /// When it was last heard.
    pub(super) heard: Instant,
    /// Whether it is leaving and takes no more work.
    pub(super) draining: bool,
    /// Whether it was slow and has not been heard since: it may be suspended, and gets no more
    /// work until it is heard.
    pub(super) stalled: bool,
    /// Whether it cannot work on the active run.
    pub(super) unfit: bool,
    pub(super) throughput: Throughput,
    /// Partials of this step that it reported, and then lacked.
    pub(super) missing: u32,
}

impl Member {
    /// Whether it may get work.
    pub(super) fn is_available(&self) -> bool {
        !self.draining && !self.stalled && !self.unfit
    }
}
