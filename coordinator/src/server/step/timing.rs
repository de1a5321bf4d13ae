//! Durations of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::WorkerId;
use tokio::time::Instant;

use crate::runs::Progress;

/// Durations, for people only: no decision depends on them.
#[derive(Debug)]
pub(super) struct Timing {
    started: Instant,
    /// Time that the run took with earlier coordinators.
    before: Duration,
    step_started: Instant,
    /// Per worker: its compute time in this step, and the end of its last block.
    busy: BTreeMap<WorkerId, (Duration, Instant)>,
    training: Duration,
    computing: Duration,
    /// Examples of all training rounds.
    pub(super) examples: u64,
    /// Loss and accuracy of the last evaluation.
    pub(super) evaluated: (Option<f64>, Option<f64>),
}

impl Timing {
    /// A clock that continues from a run's earlier progress.
    pub(super) fn resume(progress: &Progress, now: Instant) -> Self {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        Self {
            before: seconds(progress.seconds),
            training: seconds(progress.training_seconds),
            computing: seconds(progress.computing_seconds),
            examples: progress.examples,
            evaluated: (progress.evaluation_loss, progress.evaluation_accuracy),
            ..Self::new(now)
        }
    }

    /// The progress, to continue from later.
    pub(super) fn progress(&self, now: Instant) -> Progress {
        let (evaluation_loss, evaluation_accuracy) = self.evaluated;
        Progress {
            examples: self.examples,
            seconds: self.seconds(now),
            training_seconds: self.training.as_secs_f64(),
            computing_seconds: self.computing.as_secs_f64(),
            evaluation_loss,
            evaluation_accuracy,
            ..Progress::default()
        }
    }

    fn new(now: Instant) -> Self {
        Self {
            started: now,
            before: Duration::ZERO,
            step_started: now,
            busy: BTreeMap::new(),
            training: Duration::ZERO,
            computing: Duration::ZERO,
            examples: 0,
            evaluated: (None, None),
        }
    }

    /// Begins a step at the end of the one before: `now` may be the time of an event that was
    /// handled before that.
    pub(super) fn begin_step(&mut self, now: Instant) {
        self.step_started = now.max(self.step_started);
        self.busy.clear();
    }

    /// Adds a block with this compute time. Overlapping blocks of a worker count once.
    pub(super) fn computed(&mut self, now: Instant, worker: WorkerId, compute: Duration) {
        let (busy, until) = self.busy.entry(worker).or_insert((Duration::ZERO, self.step_started));
        let begun = now.checked_sub(compute).unwrap_or(*until).max(*until);
        *busy += now.saturating_duration_since(begun);
        *until = now.max(*until);
    }

    /// Ends a training round: returns the longest compute time of a worker, and the time of the
    /// whole round.
    pub(super) fn end_round(&mut self, now: Instant, examples: u64) -> (Duration, Duration) {
        let round = now - self.step_started;
        let compute = self.busy.values().map(|(busy, _)| *busy).max().unwrap_or_default();
        let compute = compute.min(round);
        self.training += round;
        self.computing += compute;
        self.examples += examples;
        // Later blocks of this round are not counted again.
        self.step_started = now;
        (compute, round)
    }

    /// Seconds that the run has taken, without the time between two coordinators.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        (self.before + (now - self.started)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine merges a small round within the event that completes it, and then begins the next
    /// one at the time of that event.
    #[test]
    fn no_time_counts_for_two_rounds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timing = Timing::new(start);
        assert_eq!(timing.end_round(at(12), 5).1, Duration::from_millis(12));
        timing.begin_step(at(10));
        timing.computed(at(11), WorkerId(1), Duration::from_millis(9));
        assert_eq!(timing.end_round(at(20), 5), (Duration::ZERO, Duration::from_millis(8)));
        timing.begin_step(at(25));
        assert_eq!(timing.end_round(at(30), 5).1, Duration::from_millis(5));
    }

    #[test]
    fn overlapping_blocks_count_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timing = Timing::new(start);
        let worker = WorkerId(1);
        timing.computed(at(10), worker, Duration::from_millis(8));
        timing.computed(at(12), worker, Duration::from_millis(9));
        timing.computed(at(11), WorkerId(2), Duration::from_secs(9));
        let (compute, round) = timing.end_round(at(20), 5);
        assert_eq!((compute, round), (Duration::from_millis(11), Duration::from_millis(20)));
        assert!((timing.progress(at(20)).synchronisation_share() - 0.45).abs() < 1e-9);
    }
}
