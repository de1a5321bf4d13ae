//! What can happen to a worker during a run: the same words in messages, in the history and
//! on the screen.

use serde::{Deserialize, Serialize};

/// An event of a worker during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerEvent {
    /// It joined.
    Joined,
    /// It left in order.
    Left,
    /// It was lost: its blocks go to other workers.
    Lost,
    /// It is slow: a block of it is computed by another worker, too.
    Slow,
    /// A shard failed on it, or it failed otherwise.
    Failed,
    /// It cannot work on the run.
    Cannot,
    /// Its assignments go to other workers.
    Reassigned,
    /// It finished a block that was done already. Clients are not told.
    Duplicate,
    /// It delivered a block that it had finished before it lost its connection.
    Offered,
}

impl WorkerEvent {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Joined,
        Self::Left,
        Self::Lost,
        Self::Slow,
        Self::Failed,
        Self::Cannot,
        Self::Reassigned,
        Self::Duplicate,
        Self::Offered,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Cannot => "cannot",
            Self::Reassigned => "reassigned",
            Self::Duplicate => "duplicate",
            Self::Offered => "offered",
        }
    }
}

impl std::fmt::Display for WorkerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_on_the_wire_are_those_on_the_screen() {
        for event in WorkerEvent::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
            assert_eq!(event.to_string(), event.name());
            let read: WorkerEvent = serde_json::from_value(event.name().into()).unwrap();
            assert_eq!(read, event);
        }
    }
}
