//! A few of the runs of `src/bin/kill_test`, one of each kind of spec.

use std::sync::atomic::AtomicBool;

use tests::kill::{Fault, Scenario, Spec, Tally, ride};

/// Always the same: a longer test draws others.
const SEED: u64 = 1;

#[test]
fn runs_end_in_the_same_bits_whoever_is_killed() {
    let mut fired = Tally::default();
    for number in 0..Spec::KINDS as u64 {
        let scenario = Scenario::draw(SEED, number);
        let folder = tempfile::tempdir().expect("a folder");
        let ridden = ride(&scenario, folder.path(), &AtomicBool::new(false));
        let report = ridden.unwrap_or_else(|what| {
            panic!(
                "{what}\nwith its logs, again: kill_test --seed {SEED} --only {number}\n\
                 {scenario:#?}"
            )
        });
        println!("run {number}: {}, {} shards offered", report.fired, report.offered);
        fired.add_all(&report.fired);
    }
    let kills = |of: fn(Fault) -> bool| {
        let kinds = Fault::ALL.into_iter().filter(|fault| fault.kills() && of(*fault));
        kinds.map(|fault| fired.count(fault)).sum::<u64>()
    };
    assert!(kills(Fault::is_of_coordinator) > 0, "no coordinator was killed: {fired}");
    assert!(kills(Fault::is_of_workers) > 0, "no worker was killed: {fired}");
}
