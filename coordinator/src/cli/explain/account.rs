//! Sums over the rows of a run, of bounded size for any number of rows.

use std::collections::BTreeMap;

use crate::ledger::{
    CheckpointRow, EventKind, EventRow, StepName, StoredRun, StoredShard, StoredStep,
};

/// Limit of workers that are counted separately; the work of further workers counts only
/// for the run.
const WORKERS: usize = 4096;

/// Limit of events of one kind that are kept, the first ones.
pub(super) const KEPT_EVENTS: usize = 5;

/// Sums over the rows of a run.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) run: StoredRun,
    /// The flag that other commands need to find the run, after its number.
    pub(super) flag: String,
    /// Training rounds, and their times together, in ms.
    pub(super) rounds: u64,
    pub(super) compute_ms: f64,
    pub(super) synchronisation_ms: f64,
    /// Bytes merged in them.
    pub(super) bytes: u64,
    /// When the last step was merged.
    pub(super) last_ms: Option<u64>,
    /// Shards of all steps; shards that were handed out more than once; the largest number
    /// of times for one shard.
    pub(super) shards: u64,
    pub(super) repeated: u64,
    pub(super) attempts: u32,
    /// Of training rounds, by name.
    pub(super) workers: BTreeMap<String, WorkerTime>,
    pub(super) events: BTreeMap<EventKind, Events>,
    pub(super) checkpoints: u64,
    /// Time to write them, in ms.
    pub(super) checkpoint_ms: f64,
}

/// The work of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WorkerTime {
    pub(super) shards: u64,
    pub(super) us: u64,
}

impl WorkerTime {
    /// Mean time of a shard, in ms.
    pub(super) fn ms(self) -> f64 {
        self.us as f64 / 1e3 / self.shards.max(1) as f64
    }

    pub(super) fn add(&mut self, other: Self) {
        self.shards += other.shards;
        self.us = self.us.saturating_add(other.us);
    }
}

/// Events of one kind.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) count: u64,
    /// Number of shards in them.
    pub(super) shards: u64,
    pub(super) first: Vec<EventRow>,
    pub(super) last: Option<EventRow>,
}

impl Account {
    pub(super) fn new(run: StoredRun) -> Self {
        Self {
            run,
            flag: String::new(),
            rounds: 0,
            compute_ms: 0.0,
            synchronisation_ms: 0.0,
            bytes: 0,
            last_ms: None,
            shards: 0,
            repeated: 0,
            attempts: 0,
            workers: BTreeMap::new(),
            events: BTreeMap::new(),
            checkpoints: 0,
            checkpoint_ms: 0.0,
        }
    }

    pub(super) fn take_step(&mut self, step: &StoredStep) {
        self.last_ms = Some(step.at_ms);
        if step.kind == StepName::Train {
            self.rounds += 1;
            self.compute_ms += step.compute_ms.unwrap_or(0.0);
            self.synchronisation_ms += step.synchronisation_ms.unwrap_or(0.0);
            self.bytes = self.bytes.saturating_add(step.bytes.unwrap_or(0));
        }
    }

    pub(super) fn take_shard(&mut self, shard: &StoredShard) {
        let (round, shard) = (shard.round, &shard.shard);
        self.shards += 1;
        self.repeated += u64::from(shard.attempt > 1);
        self.attempts = self.attempts.max(shard.attempt);
        // Shards of evaluations have another size.
        if round.is_none() {
            return;
        }
        let work = WorkerTime { shards: 1, us: shard.compute_us };
        if let Some(known) = self.workers.get_mut(&shard.worker) {
            known.add(work);
        } else if self.workers.len() < WORKERS {
            self.workers.insert(shard.worker.clone(), work);
        }
    }

    pub(super) fn take_event(&mut self, event: EventRow) {
        let events = self.events.entry(event.kind).or_default();
        events.count += 1;
        events.shards = events.shards.saturating_add(shards_of(&event.detail));
        if events.first.len() < KEPT_EVENTS {
            events.first.push(event.clone());
        }
        events.last = Some(event);
    }

    pub(super) fn take_checkpoint(&mut self, row: &CheckpointRow) {
        self.checkpoints += 1;
        self.checkpoint_ms += Some(row.ms).filter(|ms| ms.is_finite()).unwrap_or(0.0);
    }

    /// Time of all training rounds, in ms.
    pub(super) fn rounds_ms(&self) -> f64 {
        self.compute_ms + self.synchronisation_ms
    }

    /// How many events of a kind there are.
    pub(super) fn count(&self, kind: EventKind) -> u64 {
        self.events.get(&kind).map_or(0, |events| events.count)
    }

    /// How many shards events of a kind are about.
    pub(super) fn shards(&self, kind: EventKind) -> u64 {
        self.events.get(&kind).map_or(0, |events| events.shards)
    }
}

/// The number at the beginning of a detail; 1 if there is none.
fn shards_of(detail: &str) -> u64 {
    let digits = detail.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_begin_with_a_number_of_shards_or_are_of_one() {
        assert_eq!(shards_of("4 shards of step 3"), 4);
        assert_eq!((shards_of("replica 7"), shards_of("")), (1, 1));
        assert_eq!(shards_of("99999999999999999999999 shards"), 1);
    }
}
