//! Log lines about the steps of a run: at most one per second at `info`, and every step at `debug`.

use std::time::Duration;

use common::wire::message::RunEvent;
use tokio::time::Instant;
use tracing::{debug, info};

use super::Engine;
use crate::server::text::rounded;

/// Shortest time between two log lines about steps, of any run.
const INTERVAL: Duration = Duration::from_secs(1);

/// Most workers whose memory a round's log line lists.
const LOGGED_WORKERS: usize = 16;

/// The time of the last log line about a step. Pure.
#[derive(Debug, Default)]
pub(super) struct StepLog {
    last: Option<Instant>,
}

impl StepLog {
    /// Whether a step is to be logged at `info`.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// Logs at `info` if that is due, otherwise at `debug`.
macro_rules! log {
    ($due:expr, $($line:tt)*) => {
        if $due { info!($($line)*) } else { debug!($($line)*) }
    };
}

impl Engine {
    /// Logs a finished step.
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
            RunEvent::Predicted { run, examples, of } => {
                log!(due, run = run.0, "predicted {examples} of {of} examples");
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
