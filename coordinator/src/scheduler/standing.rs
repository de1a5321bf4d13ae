//! The recent failures of processes. A process that fails in several steps gets less work, and then
//! none for a while, if there are others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::ProcessId;
use common::limits::CONNECTIONS;

/// A process is set aside at this score: steps in which it failed, minus steps in which it only
/// succeeded.
pub(super) const STRIKES: u32 = 5;

/// How long a process is set aside for the first time, at least. The time doubles with each further
/// time.
const ASIDE: Duration = Duration::from_secs(60);

/// How often the time doubles: to about an hour.
const DOUBLINGS: u32 = 6;

/// Limit of remembered processes.
const REMEMBERED: usize = CONNECTIONS;

/// The record of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    strikes: u32,
    /// Whether it failed, or finished a block, in the current step.
    has_failed: bool,
    has_worked: bool,
    /// Until when it is set aside.
    aside_until: Option<Instant>,
    /// How often it was set aside since its record was last clean.
    times: u32,
}

/// The records of processes with failures; others are not stored.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<ProcessId, Standing>);

impl Standings {
    /// Records a failure of a process. Several failures in one step count once, as one cause may
    /// affect all its blocks. Returns how long it is set aside, if it is from now on.
    pub(super) fn failed(&mut self, now: Instant, process: ProcessId) -> Option<Duration> {
        if !self.0.contains_key(&process) && self.0.len() >= REMEMBERED {
            // The process with the fewest failures.
            let least = self.0.iter().min_by_key(|(_, it)| it.strikes).map(|(process, _)| *process);
            least.map(|process| self.0.remove(&process));
        }
        let standing = self.0.entry(process).or_default();
        if std::mem::replace(&mut standing.has_failed, true) {
            return None;
        }
        standing.strikes += 1;
        if standing.strikes < STRIKES || standing.aside_until.is_some() {
            return None;
        }
        let wait = ASIDE * 2_u32.pow(standing.times.min(DOUBLINGS));
        standing.times += 1;
        standing.aside_until = Some(now + wait);
        Some(wait)
    }

    pub(super) fn worked(&mut self, process: ProcessId) {
        if let Some(standing) = self.0.get_mut(&process) {
            standing.has_worked = true;
        }
    }

    /// Called when a step begins: counts the previous step, and ends the pause of processes whose
    /// time is over.
    pub(super) fn step_begins(&mut self, now: Instant) {
        for standing in self.0.values_mut() {
            let Standing { strikes, has_failed, has_worked, aside_until, .. } = standing;
            if std::mem::take(has_worked) && !*has_failed {
                *strikes -= 1;
            }
            *has_failed = false;
            if aside_until.take_if(|until| *until <= now).is_some() {
                *strikes = STRIKES - 1;
            }
        }
        self.0.retain(|_, standing| standing.strikes > 0);
    }

    /// The divisor of its share of work.
    pub(super) fn strikes(&self, process: ProcessId) -> u32 {
        self.0.get(&process).map_or(0, |standing| standing.strikes)
    }

    pub(super) fn is_aside(&self, process: ProcessId) -> bool {
        self.0.get(&process).is_some_and(|standing| standing.aside_until.is_some())
    }
}
