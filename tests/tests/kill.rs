//! A few of the runs of `src/bin/kill_test`, one of each kind of spec.

use std::sync::atomic::AtomicBool;

use tests::kill::{Scenario, Spec, ride};

/// Always the same: a longer test draws others.
const SEED: u64 = 1;

#[test]
fn runs_end_in_the_same_bits_whoever_is_killed() {
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
    }
}
