//! A run and its faults, drawn from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Spec;

/// Silence after which a worker or a coordinator counts as lost, in seconds.
pub(super) const HEARTBEAT_TIMEOUT: u64 = 2;

/// What is done to processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL of workers, which are started again.
    KillWorkers,
    /// SIGKILL of the coordinator, which is started again.
    KillCoordinator,
    /// Both, at the same moment.
    KillBoth,
    /// SIGSTOP of a worker, then SIGCONT before its silence is noticed.
    StopWorkerBriefly,
    /// The same, for longer than the heartbeat timeout.
    StopWorkerLong,
    /// SIGSTOP of the coordinator, then SIGCONT before its silence is noticed.
    StopCoordinatorBriefly,
    /// The same, for longer than the heartbeat timeout.
    StopCoordinatorLong,
    /// SIGSTOP of all workers at once, for longer than the heartbeat timeout.
    StopAllWorkersLong,
    /// SIGKILL of the coordinator, and a bit of a record in its folder flips
    /// before it is started again.
    DamageRecord,
    /// The run is cancelled, and taken up again at once.
    CancelAndResume,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::KillWorkers,
        Self::KillCoordinator,
        Self::KillBoth,
        Self::StopWorkerBriefly,
        Self::StopWorkerLong,
        Self::StopCoordinatorBriefly,
        Self::StopCoordinatorLong,
        Self::StopAllWorkersLong,
        Self::DamageRecord,
        Self::CancelAndResume,
    ];

    /// Whether it strikes the coordinator.
    pub fn is_of_coordinator(self) -> bool {
        use Fault::{
            CancelAndResume, DamageRecord, KillBoth, KillCoordinator, StopCoordinatorBriefly,
            StopCoordinatorLong,
        };
        let stops = matches!(self, StopCoordinatorBriefly | StopCoordinatorLong);
        stops || matches!(self, KillCoordinator | KillBoth | DamageRecord | CancelAndResume)
    }

    /// Whether it strikes workers.
    pub fn is_of_workers(self) -> bool {
        use Fault::{KillBoth, KillWorkers, StopAllWorkersLong, StopWorkerBriefly, StopWorkerLong};
        let stops = matches!(self, StopWorkerBriefly | StopWorkerLong | StopAllWorkersLong);
        stops || matches!(self, KillWorkers | KillBoth)
    }

    /// Whether it kills.
    pub fn kills(self) -> bool {
        use Fault::{DamageRecord, KillBoth, KillCoordinator, KillWorkers};
        matches!(self, KillWorkers | KillCoordinator | KillBoth | DamageRecord)
    }

    /// How long the process is gone, or stands still, in ms.
    fn gone_ms(self) -> Range<u64> {
        let timeout = HEARTBEAT_TIMEOUT * 1000;
        match self {
            Self::CancelAndResume => 0..1,
            _ if self.kills() => 0..400,
            Self::StopWorkerBriefly | Self::StopCoordinatorBriefly => 20..timeout / 2,
            _ => timeout + 200..timeout + 1000,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillWorkers => "kill workers",
            Self::KillCoordinator => "kill coordinator",
            Self::KillBoth => "kill both",
            Self::StopWorkerBriefly => "stop worker briefly",
            Self::StopWorkerLong => "stop worker long",
            Self::StopCoordinatorBriefly => "stop coordinator briefly",
            Self::StopCoordinatorLong => "stop coordinator long",
            Self::StopAllWorkersLong => "stop all workers long",
            Self::DamageRecord => "damage a record",
            Self::CancelAndResume => "cancel and resume",
        })
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Once a follower has seen this round, or the start for 0 …
    pub round: u64,
    /// … and so much later,
    pub delay: Duration,
    /// this happens
    pub fault: Fault,
    /// to these workers, if to workers.
    pub workers: Vec<usize>,
    /// Then processes are gone, or stand still, so long.
    pub gone: Duration,
    /// Which record is damaged, and which of its bits, if one is.
    pub place: u64,
}

/// One run and the faults that it meets, drawn from a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The seed of all runs.
    pub seed: u64,
    /// The run among them, from 0.
    pub number: u64,
    /// What is run.
    pub spec: Spec,
    /// The slots of each worker.
    pub slots: Vec<u32>,
    /// Whether the coordinator shares memory with them.
    pub shares_memory: bool,
    /// At least one that kills the coordinator, and one that kills a worker.
    pub faults: Vec<Planned>,
}

impl Scenario {
    /// The scenario of this number.
    pub fn draw(seed: u64, number: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(number);
        let mut below = |end: u64| random.next_u64() % end;
        let replicas = [3, 5, 8][below(3) as usize];
        // Their kinds take turns, so that a few runs have all of them.
        let spec = Spec::new(number as usize, 1 + below(2), replicas);
        // By turns, and with every kind of spec.
        let shares_memory = (number as usize / Spec::KINDS).is_multiple_of(2);
        let slots: Vec<u32> = (0..2 + below(3)).map(|_| 1 + below(2) as u32).collect();
        // Two that are sure to come before the end, one whose turn it is, and
        // some more.
        let turn = Fault::ALL[number as usize % Fault::ALL.len()];
        let mut kinds = vec![(Fault::KillCoordinator, 2), (Fault::KillWorkers, 2), (turn, 3)];
        let more = below(3);
        kinds.extend((0..more).map(|_| (Fault::ALL[below(Fault::ALL.len() as u64) as usize], 3)));
        let mut faults = Vec::new();
        for (fault, thirds) in kinds {
            let count = if fault.kills() { 1 + below(slots.len() as u64) } else { 1 };
            let first = below(slots.len() as u64);
            let workers = (first..first + count).map(|it| it as usize % slots.len()).collect();
            let gone = fault.gone_ms();
            faults.push(Planned {
                round: below(spec.rounds * thirds / 3 + 1),
                delay: Duration::from_millis(below(40)),
                fault,
                workers,
                gone: Duration::from_millis(gone.start + below(gone.end - gone.start)),
                place: below(u64::MAX),
            });
        }
        faults.sort_by_key(|planned| planned.round);
        Self { seed, number, spec, slots, shares_memory, faults }
    }
}

/// Faults by kind, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Fault, u64>);

impl Tally {
    /// Counts one.
    pub fn add(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Adds another tally to this one.
    pub fn add_all(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// How many of a kind there were.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (fault, count)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{fault}")?;
            if *count > 1 {
                write!(f, " ×{count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_what_its_seed_and_number_say() {
        assert_eq!(Scenario::draw(7, 3), Scenario::draw(7, 3));
        assert_ne!(Scenario::draw(7, 3), Scenario::draw(7, 4));
        assert_ne!(Scenario::draw(7, 3), Scenario::draw(8, 3));
    }

    #[test]
    fn all_is_drawn_within_its_bounds() {
        let mut tally = Tally::default();
        for number in 0..200 {
            let Scenario { spec, slots, faults, .. } = Scenario::draw(1, number);
            assert!((2..=4).contains(&slots.len()));
            assert!(faults.iter().any(|it| it.fault == Fault::KillCoordinator));
            assert!(faults.iter().any(|it| it.fault == Fault::KillWorkers));
            for planned in faults {
                assert!(planned.round <= spec.rounds);
                assert!(!planned.workers.is_empty());
                assert!(planned.workers.iter().all(|worker| *worker < slots.len()));
                tally.add(planned.fault);
            }
        }
        assert!(Fault::ALL.iter().all(|fault| tally.count(*fault) > 20), "{tally}");
    }
}
