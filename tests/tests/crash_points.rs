//! The coordinator is killed at every write, fsync, rename, … of the runs
//! folder, in turn, and started again: the same bits, each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::expected;
use tests::kill::crash::{Call, Point, crash};

/// Crashes that are tried at the same time.
const PARALLEL: usize = 3;

/// Two rounds and an evaluation, of two replicas.
const SPEC: &str = r#"
model = "softmax"
seed = 5
replicas = 2
rounds = 2
batch_size = 10
update_interval = 2
[dataset]
source = "digits"
[evaluation]
every = 2
"#;

/// Some of what a coordinator is sure to do, if not all of it.
const SURE: [(&str, &str); 12] = [
    ("rename", "1/run.json.temporary"),
    ("create", "1/round-1.safetensors.temporary"),
    ("write", "1/round-1.safetensors.temporary"),
    ("fsync", "1/round-1.safetensors.temporary"),
    ("rename", "1/round-1.safetensors.temporary"),
    ("write", "1/round-1.json.temporary"),
    ("fsync", "1/round-1.json.temporary"),
    ("rename", "1/round-1.json.temporary"),
    ("fsync", "1"),
    ("unlink", "1/round-1.json"),
    ("pwrite64", "history.sqlite-wal"),
    ("fsync", "history.sqlite-wal"),
];

#[test]
fn a_coordinator_killed_at_any_write_ends_its_run_in_the_same_bits() {
    let expected = expected::digest(SPEC);
    let next = AtomicU64::new(0);
    let calls = Mutex::new(BTreeMap::<Call, u64>::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let folder = tempfile::tempdir().unwrap();
                    // Two in turn before a write, two after half of it: SQLite
                    // writes frames of its log in two pieces.
                    let point = Point { number, torn: number % 4 >= 2 };
                    let call = crash(SPEC, expected, point, folder.path());
                    let call = call.unwrap_or_else(|what| {
                        panic!("{point:?}: {what}; logs: {}", folder.keep().display())
                    });
                    let Some(call) = call else { break };
                    *calls.lock().unwrap().entry(call).or_default() += 1;
                }
            });
        }
    });
    let calls = calls.into_inner().unwrap();
    println!("killed at {} calls:", calls.values().sum::<u64>());
    calls.iter().for_each(|(call, count)| println!("{count:5}  {call}"));
    let names: BTreeSet<(&str, &str)> =
        calls.keys().map(|call| (call.name, call.path.to_str().unwrap())).collect();
    let missing: Vec<_> = SURE.iter().filter(|sure| !names.contains(*sure)).collect();
    assert!(missing.is_empty(), "never killed at {missing:?}");
}
