//! Where a run stands.

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Phase {
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl Phase {
    /// Whether the run is over.
    pub(in crate::server) fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// What people call it.
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
