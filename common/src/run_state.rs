//! Where a run stands, and how one ends: the same words in messages, on disk, in the
//! history and on the screen.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It waits for its turn.
    Queued,
    /// Workers work on it.
    Running,
    /// It is over on this coordinator, although nothing on disk says so: it cannot continue
    /// now, or its coordinators did not survive it.
    #[serde(rename = "set aside")]
    SetAside,
    /// It finished.
    Finished,
    /// It ended by an error.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl RunState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::SetAside => "set aside",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// How it ended, if it has.
    pub fn end(self) -> Option<RunEnd> {
        match self {
            Self::Queued | Self::Running | Self::SetAside => None,
            Self::Finished => Some(RunEnd::Finished),
            Self::Failed => Some(RunEnd::Failed),
            Self::Cancelled => Some(RunEnd::Cancelled),
        }
    }

    /// Whether nothing more is done for it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// Well.
    Finished,
    /// By an error.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl RunEnd {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Finished, Self::Failed, Self::Cancelled];

    /// The word for it.
    pub fn name(self) -> &'static str {
        RunState::from(self).name()
    }
}

impl From<RunEnd> for RunState {
    fn from(end: RunEnd) -> Self {
        match end {
            RunEnd::Finished => Self::Finished,
            RunEnd::Failed => Self::Failed,
            RunEnd::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_on_disk_and_on_the_wire_are_those_on_the_screen() {
        for end in RunEnd::ALL {
            assert_eq!(serde_json::to_value(end).unwrap(), end.name());
            assert_eq!(RunState::from(end).end(), Some(end));
        }
        for state in [RunState::Queued, RunState::Running, RunState::SetAside] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(state.end(), None);
        }
    }
}
