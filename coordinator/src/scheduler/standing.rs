//! How processes have done lately. One that fails in step after step gets less to
//! do, and then, for a while, nothing, as long as there are others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::ProcessId;
use common::limits::CONNECTIONS;

/// Steps in which a process failed, those in which it only did well taken off,
/// from which on it is set aside.
pub(super) const STRIKES: u32 = 5;

/// How long a process is set aside for the first time, at least. Each further time
/// is twice as long as the one before.
const ASIDE: Duration = Duration::from_secs(60);

/// How often the time doubles: to about an hour.
const DOUBLINGS: u32 = 6;

/// Processes that are remembered, at most.
const REMEMBERED: usize = CONNECTIONS;

/// How a process has done.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    strikes: u32,
    /// Whether it failed, or finished something, in the step under way.
    has_failed: bool,
    has_worked: bool,
    /// Until when it is set aside.
    aside_until: Option<Instant>,
    /// How often it was, since it last stood well.
    times: u32,
}

/// Of processes that stand well nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<ProcessId, Standing>);

impl Standings {
    /// A process failed at something. More often in one step is no worse: what
    /// went wrong once may go wrong with all that it has. Says for how long it is
    /// set aside, if it is from now on.
    pub(super) fn failed(&mut self, now: Instant, process: ProcessId) -> Option<Duration> {
        if !self.0.contains_key(&process) && self.0.len() >= REMEMBERED {
            // The one with the least against it.
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

    /// A step begins: the one before counts, and whose time aside is over is tried
    /// again.
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

    /// So many times its share is to be divided.
    pub(super) fn strikes(&self, process: ProcessId) -> u32 {
        self.0.get(&process).map_or(0, |standing| standing.strikes)
    }

    pub(super) fn is_aside(&self, process: ProcessId) -> bool {
        self.0.get(&process).is_some_and(|standing| standing.aside_until.is_some())
    }
}
