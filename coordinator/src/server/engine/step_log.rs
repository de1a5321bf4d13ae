//! What is logged of the steps of a run: how it goes, once a second at most. Every
//! step is there for those who log at `debug`.

use std::time::Duration;

use common::wire::message::RunEvent;
use tokio::time::Instant;
use tracing::{debug, info};

use super::Engine;
use crate::server::text::rounded;

/// Shortest time between two lines about steps, of whatever run.
const INTERVAL: Duration = Duration::from_secs(1);

/// Workers whose memory a round's log line names.
const LOGGED_WORKERS: usize = 16;

/// When a step was logged last. Pure.
#[derive(Debug, Default)]
pub(super) struct StepLog {
    last: Option<Instant>,
}

impl StepLog {
    /// Whether a step is to be logged for everybody.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// Logs at `info` what is due, and else at `debug`.
macro_rules! log {
    ($due:expr, $($line:tt)*) => {
        if $due { info!($($line)*) } else { debug!($($line)*) }
    };
}

impl Engine {
    /// Logs a step that is done.
    pub(super) fn log_step(&mut self, event: &RunEvent) {
        let due = self.step_log.is_due(self.now);
        match event {
            RunEvent::Round {
                run,
                round,
                rounds,
                loss,
                accuracy,
                compute_ms,
                synchronisation_ms,
                workers,
                ..
            } if due || tracing::enabled!(tracing::Level::DEBUG) => {
                let share = synchronisation_ms / (compute_ms + synchronisation_ms).max(1e-9);
                log!(
                    due,
                    run = run.0,
                    loss = loss.map(rounded),
                    accuracy = accuracy.map(rounded),
                    compute_ms = rounded(*compute_ms),
                    synchronisation_ms = rounded(*synchronisation_ms),
                    synchronisation_share = rounded(share),
                    workers,
                    memory = self.memory(),
                    "round {round} of {rounds}"
                );
            }
            RunEvent::Labelled { run, epochs, examples } => {
                log!(due, run = run.0, "labelled by {examples} examples after epoch {epochs}");
            }
            RunEvent::Evaluation { run, epochs, split, loss, accuracy, .. } => log!(
                due,
                run = run.0,
                loss = loss.map(rounded),
                accuracy = accuracy.map(rounded),
                "evaluated on {split:?} after epoch {epochs}"
            ),
            _ => {}
        }
    }

    /// Each worker's memory, for a log line.
    fn memory(&self) -> String {
        let mut text = String::new();
        for (worker, about) in self.peers.workers().take(LOGGED_WORKERS) {
            let separator = if text.is_empty() { "" } else { ", " };
            text += &format!("{separator}{worker} {} MiB", about.memory() >> 20);
        }
        if self.peers.worker_count() > LOGGED_WORKERS {
            text += ", …";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_a_second_is_for_everybody() {
        let (mut log, start) = (StepLog::default(), Instant::now());
        let tenths = (0..25).filter(|tenth| log.is_due(start + Duration::from_millis(100 * tenth)));
        assert_eq!(tenths.collect::<Vec<_>>(), [0, 10, 20]);
    }
}
