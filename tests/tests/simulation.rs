//! Thousands of clusters through the pure cores, in virtual time: the
//! scheduler and its workers' sessions under faults, all invariants checked
//! after every event, then healed, and all work must end.
//!
//! A failure names its seed. `SAMEBIT_SIM_SEED=SEED cargo test -p tests
//! simulation` runs that cluster alone; `SAMEBIT_SIM_CLUSTERS=COUNT` runs so
//! many.

use std::collections::BTreeSet;
use std::time::Duration;

use ::coordinator::scheduler::SchedulerConfig;
use ::coordinator::scheduler::injected_bugs::InjectedBug;
use common::id::{RunId, StepId};
use rayon::prelude::*;

mod cluster;
mod context;
mod coordinator;
mod faults;
mod network;
mod process;

use self::coordinator::Outcome;
use cluster::{Report, Setup};
use context::Random;
use faults::{Fault, Faults};
use process::{Machine, Wrongs};

/// Clusters in one test.
const CLUSTERS: u64 = 5000;

/// Seeds among which an injected bug must be caught.
const PLANTED_CLUSTERS: u64 = 200;

/// A cluster of the seed's making.
fn setup(seed: u64, plant: Option<InjectedBug>) -> Setup {
    let mut random = Random::new(seed ^ 0x5a3e_b175);
    let heartbeat_timeout = Duration::from_secs(random.within(3..11));
    let config = SchedulerConfig {
        heartbeat_timeout,
        crash_limit: random.within(1..5) as u32,
        shard_error_limit: random.within(2..4) as u32,
        assignments: [1, 2, 3, 5, 8, 128][random.within(0..6) as usize],
        last_assignment: 0,
    };
    let workers = random.within(1..8);
    let shard_time = 1000 << random.within(0..11);
    let inline = [0, 500, 1000][random.within(0..3) as usize];
    let machines = (0..workers).map(|_| {
        let slots = random.within(1..5) as u32;
        let slowness = if random.chance(100) { 10 } else { 1 };
        let faulty = if random.chance(20) { random.within(1..300) } else { 0 };
        Machine {
            slots,
            parallel: random.within(1..5) as u32,
            shard_time: shard_time * slowness,
            inline,
            heartbeat_timeout,
            faulty,
            lacks: None,
        }
    });
    let mut machines: Vec<Machine> = machines.collect();
    let runs: Vec<(u32, Vec<u32>)> = (0..random.within(1..4))
        .map(|_| {
            let steps = 1 + random.within(0..30);
            let widest = 1 << random.within(1..6);
            let steps = (0..steps).map(|_| 1 + random.within(0..widest) as u32).collect();
            (random.within(0..workers + 1) as u32, steps)
        })
        .collect();
    let heal_at = random.within(5..40) * 1_000_000;
    // Each cluster knows only some kinds of faults: rare combinations come up
    // more often that way than if all were mixed.
    let kinds: Vec<Fault> = Fault::PLANNED.into_iter().filter(|_| random.chance(350)).collect();
    let mut planned = Vec::new();
    for _ in 0..if kinds.is_empty() { 0 } else { random.within(0..40) } {
        let kind = kinds[random.within(0..kinds.len() as u64) as usize];
        planned.push((random.within(0..heal_at), kind));
    }
    let wrongs = wrongs(&mut random, &runs);
    let cancel = random
        .chance(100)
        .then(|| (random.within(0..heal_at), RunId(1 + random.within(0..runs.len() as u64))));
    let audit = [0, 0, 100, 1000][random.within(0..4) as usize];
    if random.chance(200) {
        let lacks = RunId(1 + random.within(0..runs.len() as u64));
        let unfit = machines.iter_mut().filter(|_| random.chance(700));
        unfit.for_each(|machine| machine.lacks = Some(lacks));
    }
    Setup { seed, machines, config, runs, wrongs, audit, faults: planned, cancel, heal_at, plant }
}

/// Shards that are wrong, in some clusters.
fn wrongs(random: &mut Random, runs: &[(u32, Vec<u32>)]) -> Wrongs {
    let mut shard = || {
        let run = random.within(0..runs.len() as u64);
        let steps = &runs[run as usize].1;
        let index = random.within(0..steps.len() as u64);
        let replica = random.within(0..u64::from(steps[index as usize])) as u32;
        (StepId { run: RunId(run + 1), index }, replica)
    };
    let (poison, broken) = (shard(), shard());
    let flaky: BTreeSet<_> = (0..4).map(|_| shard()).collect();
    Wrongs {
        poison: random.chance(120).then_some(poison),
        broken: random.chance(60).then_some(broken),
        is_fatal: random.chance(500),
        flaky: if random.chance(200) { flaky } else { BTreeSet::new() },
    }
}

/// Runs a seed's cluster; a panic in it is a failure like any other.
fn run(seed: u64, plant: Option<InjectedBug>) -> Result<Report, String> {
    let outcome = std::panic::catch_unwind(|| cluster::run(setup(seed, plant)));
    outcome.unwrap_or_else(|_| Err("a panic, see above".into()))
}

#[test]
fn any_cluster_keeps_its_promises() {
    let single = std::env::var("SAMEBIT_SIM_SEED").ok().map(|seed| seed.parse().unwrap());
    let clusters = std::env::var("SAMEBIT_SIM_CLUSTERS").ok();
    let clusters = clusters.map_or(CLUSTERS, |clusters| clusters.parse().unwrap());
    let seeds: Vec<u64> = single.map_or((0..clusters).collect(), |seed| vec![seed]);
    let mut reports: Vec<(u64, Result<Report, String>)> =
        seeds.par_iter().map(|seed| (*seed, run(*seed, None))).collect();
    reports.sort_by_key(|(seed, _)| *seed);
    let failed = reports.iter().filter(|(_, report)| report.is_err()).count();
    let mut faults = Faults::default();
    let (mut events, mut seconds) = (0, 0.0);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (seed, report) in &reports {
        match report {
            Ok(report) => {
                faults.add(&report.faults);
                events += report.events;
                seconds += report.seconds;
                outcomes.extend(report.outcomes.iter().map(|(_, outcome)| outcome.clone()));
            }
            Err(broken) => panic!(
                "{failed} clusters failed; seed {seed}: {broken}\nrun it alone with \
                 SAMEBIT_SIM_SEED={seed} cargo test -p tests simulation"
            ),
        }
    }
    let finished = outcomes.iter().filter(|it| **it == Outcome::Finished).count();
    let clusters = reports.len();
    println!("{clusters} clusters, {events} events, {seconds:.0} s of virtual time");
    println!("{finished} of {} runs finished", outcomes.len());
    for fault in Fault::ALL {
        println!("{fault:?}: {}", faults.count(fault));
    }
    if single.is_none() {
        let never = Fault::ALL.into_iter().find(|fault| faults.count(*fault) == 0);
        assert_eq!(never, None, "a kind of fault never fired");
        assert!(finished * 10 > outcomes.len() * 7, "most runs should finish");
    }
}

/// A seed among the first ones whose cluster catches the bug.
fn caught(plant: InjectedBug) -> Option<(u64, String)> {
    let catch = |seed: u64| run(seed, Some(plant)).err().map(|broken| (seed, broken));
    (0..PLANTED_CLUSTERS).into_par_iter().find_map_any(catch)
}

#[test]
fn injected_bugs_are_caught() {
    let plants = [
        InjectedBug::DuplicateTaken,
        InjectedBug::LostBlockForgotten,
        InjectedBug::MergeEarly,
        InjectedBug::SilenceForgiven,
        InjectedBug::UnstartedBlamed,
        InjectedBug::AuditSkipped,
        InjectedBug::AuditByOne,
        InjectedBug::UnfitServed,
    ];
    for plant in plants {
        let (seed, broken) = caught(plant).unwrap_or_else(|| panic!("{plant:?} was not caught"));
        let broken: String = broken.chars().take(200).collect();
        println!("{plant:?} is caught by seed {seed}: {broken}");
    }
}
