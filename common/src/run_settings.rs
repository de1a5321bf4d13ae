//! [`RunSettings`]: the settings of a run that do not change its bits. Everything else is in
//! its spec.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time between two checkpoints, in seconds: a week.
const SECONDS: u64 = 7 * 24 * 3600;

/// The settings of a run. None of them influences its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Workers to wait for before the run starts; default 1.
    pub min_workers: Option<u32>,
    /// When to write checkpoints; default: the coordinator's setting.
    pub checkpoint_every: Option<CheckpointEvery>,
    /// Number of checkpoints to keep; default: the coordinator's setting.
    pub keep_checkpoints: Option<u32>,
    /// The coordinator's log filter while the run is active; default: its own setting.
    pub log_level: Option<String>,
    /// Share of the shards that two workers compute, 0 to 1; default: that of the spec.
    pub audit: Option<f64>,
}

impl RunSettings {
    /// These settings, with unset ones taken from `before`.
    pub fn or(self, before: Self) -> Self {
        Self {
            min_workers: self.min_workers.or(before.min_workers),
            checkpoint_every: self.checkpoint_every.or(before.checkpoint_every),
            keep_checkpoints: self.keep_checkpoints.or(before.keep_checkpoints),
            log_level: self.log_level.or(before.log_level),
            audit: self.audit.or(before.audit),
        }
    }
}

/// When a run writes checkpoints, apart from the one at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CheckpointEvery {
    /// After every N training rounds, at least 1.
    Rounds(u64),
    /// After the first round that ends at least this many seconds after the start of the last
    /// checkpoint.
    Seconds(u64),
}

impl CheckpointEvery {
    /// Whether a checkpoint is due, given the rounds and the time since the last one.
    pub fn is_due(self, rounds: u64, since: Duration) -> bool {
        match self {
            Self::Rounds(every) => rounds >= every,
            Self::Seconds(every) => since >= Duration::from_secs(every),
        }
    }
}

impl Default for CheckpointEvery {
    fn default() -> Self {
        Self::Seconds(30)
    }
}

/// A text that is neither a time nor a number of rounds.
#[derive(Debug, thiserror::Error)]
#[error("expected rounds or seconds from 1, as in `10` or `30s` (at most {SECONDS}s), found {0:?}")]
pub struct ParseCheckpointEveryError(String);

impl FromStr for CheckpointEvery {
    type Err = ParseCheckpointEveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseCheckpointEveryError(text.chars().take(80).collect());
        let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0);
        match text.strip_suffix('s') {
            Some(seconds) => {
                let seconds = number(seconds).filter(|seconds| *seconds <= SECONDS);
                seconds.map(Self::Seconds).ok_or_else(error)
            }
            None => number(text).map(Self::Rounds).ok_or_else(error),
        }
    }
}

impl fmt::Display for CheckpointEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounds(rounds) => write!(f, "{rounds}"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

impl TryFrom<String> for CheckpointEvery {
    type Error = ParseCheckpointEveryError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CheckpointEvery> for String {
    fn from(every: CheckpointEvery) -> Self {
        every.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_and_seconds_are_told_apart() {
        for (text, expected) in [
            ("1", Some(CheckpointEvery::Rounds(1))),
            ("30s", Some(CheckpointEvery::Seconds(30))),
            ("0", None),
            ("0s", None),
            ("s", None),
            ("-1", None),
            ("99999999s", None),
            ("5 m", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
            if let Some(every) = expected {
                assert_eq!(every.to_string(), text);
            }
        }
    }

    #[test]
    fn rounds_count_rounds_and_seconds_time() {
        let second = Duration::from_secs(1);
        assert!(CheckpointEvery::Rounds(2).is_due(2, Duration::ZERO));
        assert!(!CheckpointEvery::Rounds(2).is_due(1, 99 * second));
        assert!(CheckpointEvery::Seconds(2).is_due(1, 2 * second));
        assert!(!CheckpointEvery::Seconds(2).is_due(99, second));
    }
}
