//! Processes whose memory is limited: workers that plan with it, and workers and a coordinator that
//! are killed for it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::wire::shared_memory::{PARTIAL_SLOTS, SLOT_BYTES, STATE_SLOTS};
use tests::binaries::binaries;
use tests::cgroup::MemoryGroup;
use tests::client::Client;
use tests::expected;
use tests::logged::{Logged, PATIENCE};
use tests::trouble;

const LIMIT: u64 = 256 << 20;

/// A state of 23 MB. Four of its replicas at work do not fit in [`LIMIT`] together.
const LARGE: &str = r#"
model = "mlp"
seed = 5
replicas = 4
batch_size = 2
update_interval = 2
rounds = 2
[parameters]
hidden = [1700, 1600]
[dataset]
source = "digits"
"#;

/// 270 MiB, the last of them in some seconds.
const GREEDY: &str = r#"
model = "greedy"
replicas = 1
batch_size = 1
update_interval = 80
rounds = 1
[parameters]
pause_ms = 100
[dataset]
source = "digits"
"#;

/// Set where control groups are known to work: then no test is skipped.
const NEEDED: &str = "SAMEBIT_TEST_CGROUPS";

/// A control group of [`LIMIT`] bytes, if such can be made here.
fn group(name: &str) -> Option<MemoryGroup> {
    group_of(name, LIMIT)
}

/// The same of another size.
fn group_of(name: &str, bytes: u64) -> Option<MemoryGroup> {
    let refused = |error: &std::io::Error| {
        assert!(std::env::var_os(NEEDED).is_none(), "no control group can be made: {error}");
        println!("skipped: no control group can be made: {error}");
    };
    MemoryGroup::new(name, bytes).inspect_err(refused).ok()
}

/// The program that knows the model, as one or the other.
fn trouble(role: &str) -> Command {
    trouble::program(env!("CARGO_BIN_EXE_trouble"), role)
}

fn greedy_worker_in(group: &MemoryGroup, address: &str) -> Logged {
    let mut command = group.command(Path::new(env!("CARGO_BIN_EXE_trouble")));
    command.arg("worker");
    let worker = Logged::worker_by(command, "small", address, &["--slots", "1"]);
    await_sharing(&worker);
    worker
}

/// Waits until a worker shares memory with its coordinator.
fn await_sharing(worker: &Logged) {
    let is_said = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with("shares memory"))
    };
    worker.log.wait_for(is_said).expect("a worker on this host shares memory");
}

/// What a process has in memory of its own, in bytes: all but what it shares with others.
fn unshared(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let kibibytes = |field: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    1024 * (kibibytes("RssAnon:") + kibibytes("RssFile:"))
}

/// The memory of the only worker, as the status of its coordinator shows it.
fn shown(address: &str) -> u64 {
    let mut status = Command::new(&binaries().coordinator);
    let output = status.args(["status", "--json", "--coordinator", address]).output();
    let found: serde_json::Value =
        serde_json::from_slice(&output.expect("it runs").stdout).expect("JSON");
    found["workers"][0]["memory"].as_u64().unwrap_or(0)
}

/// What `coordinator explain` says of run 1, once its coordinator has left.
fn explain(mut coordinator: Logged) -> String {
    coordinator.leave();
    let mut explain = Command::new(&binaries().coordinator);
    let output = explain.args(["explain", "1", "--runs"]).arg(coordinator.runs()).output();
    String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
}

#[test]
fn a_worker_runs_as_many_shards_at_once_as_fit_in_its_control_group() {
    let Some(group) = group("fits") else { return };
    let (_coordinator, address) = Logged::coordinator(&[]);
    let command = group.command(&binaries().worker);
    let worker = Logged::worker_by(command, "small", &address, &["--slots", "4"]);
    let mut client = Client::submit(&address, LARGE);
    let is_open = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with("run 1 is open"))
    };
    let line = worker.log.wait_for(is_open).unwrap();
    assert_eq!(line["message"], "run 1 is open, 2 shards at once");
    assert_eq!(client.finish(), expected::digest(LARGE));
    assert_eq!(group.kills(), 0);
}

/// Each side pays for what it writes, whoever reads it, and a worker tells of its own side only.
#[test]
fn what_two_control_groups_share_counts_once() {
    let (Some(here), Some(there)) = (group("shares"), group("shared")) else { return };
    let command = here.command(&binaries().coordinator);
    let (_coordinator, address) = Logged::coordinator_by(command, &[]);
    let command = there.command(&binaries().worker);
    let worker = Logged::worker_by(command, "small", &address, &["--slots", "1"]);
    await_sharing(&worker);
    let mut client = Client::submit(&address, LARGE);
    assert_eq!(client.finish(), expected::digest(LARGE));
    assert_eq!((here.kills(), there.kills()), (0, 0));
    let (states, partials) = (here.shared(), there.shared());
    let slots = |most: u64| 1..=most * SLOT_BYTES as u64;
    assert!(slots(STATE_SLOTS.into()).contains(&states), "{states} bytes of states");
    assert!(slots(PARTIAL_SLOTS.into()).contains(&partials), "{partials} bytes of partials");
    // Once it is idle, the next heartbeat tells what it has.
    let end = Instant::now() + PATIENCE;
    loop {
        let (expected, found) = (unshared(worker.id()) + partials, shown(&address));
        if expected.abs_diff(found) < SLOT_BYTES as u64 {
            return;
        }
        assert!(Instant::now() < end, "expected about {expected} bytes, found {found}");
        std::thread::yield_now();
    }
}

#[test]
fn a_run_outlives_a_worker_that_is_killed_for_memory() {
    let Some(group) = group("outlived") else { return };
    let (coordinator, address) = Logged::coordinator_by(trouble("coordinator"), &[]);
    let _small = greedy_worker_in(&group, &address);
    let flags = ["--coordinator", &address];
    let mut client = Client::start_by(trouble("coordinator"), GREEDY, &flags);
    while client.wait_for("worker")["what"] != "lost" {}
    assert_eq!(group.kills(), 1);
    let _large = Logged::worker_by(trouble("worker"), "large", &address, &[]);
    let at_once = GREEDY.replace("pause_ms = 100", "pause_ms = 0");
    assert_eq!(client.finish(), expected::digest_with(trouble::registry(), &at_once));
    let text = explain(coordinator);
    let lost = text.lines().find(|line| line.starts_with("Lost: small, ")).expect(&text);
    assert!(lost.contains(" of 256 MiB of memory and may have been killed for that. "), "{text}");
    assert!(lost.contains("--memory-limit") && lost.contains("`replica_bytes`"), "{text}");
}

#[test]
fn a_shard_that_kills_for_memory_fails_its_run_at_the_crash_limit() {
    let Some(group) = group("fails") else { return };
    let flags = ["--crash-limit", "1"];
    let (coordinator, address) = Logged::coordinator_by(trouble("coordinator"), &flags);
    let _small = greedy_worker_in(&group, &address);
    let flags = ["--coordinator", &address];
    let mut client = Client::start_by(trouble("coordinator"), GREEDY, &flags);
    // A first death makes a suspect of the shard; whoever is given it then says that
    // it begins, and its death counts.
    while client.wait_for("worker")["what"] != "lost" {}
    let _second = greedy_worker_in(&group, &address);
    let reason = client.wait_for("failed")["reason"].to_string();
    assert!(reason.contains("1 worker died while running replica 0"), "{reason}");
    assert_eq!((client.wait().code(), group.kills()), (Some(3), 2));
    let text = explain(coordinator);
    assert!(text.contains("killed for that. Give it more memory"), "{text}");
}

#[test]
fn a_run_outlives_a_coordinator_that_is_killed_for_memory() {
    // Enough for the state, and too little for merging it.
    let Some(group) = group_of("coordinator", 36 << 20) else { return };
    let here = || group.command(&binaries().coordinator);
    let (coordinator, address) = Logged::coordinator_by(here(), &[]);
    let worker = Logged::worker("one", &address, &[]);
    let client = Client::submit(&address, LARGE);
    let runs = coordinator.into_runs();
    assert_eq!(group.kills(), 1);
    drop((worker, client));
    group.grow(LIMIT).expect("a group can be given more");
    let (coordinator, address) = Logged::coordinator_on(runs, here(), &[]);
    let _worker = Logged::worker("two", &address, &[]);
    assert_eq!(Client::follow(&address, 1).finish(), expected::digest(LARGE));
    let text = explain(coordinator);
    let resumed = text.lines().find(|line| line.starts_with("Resumed: ")).expect(&text);
    assert!(resumed.contains(" of 36 MiB of memory and may have been killed for that. "), "{text}");
    assert!(resumed.contains("Give the coordinator more memory"), "{text}");
}

/// 100 MB of examples of zeros, as the files of `npy:FOLDER`.
fn zeros(folder: &Path) {
    let write = |name: &str, kind: &str, shape: &str, bytes: u64| {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:117}\n");
        let head = [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes()].concat();
        std::fs::write(folder.join(name), &head).expect("room");
        let file = std::fs::File::options().append(true).open(folder.join(name)).expect("a file");
        file.set_len(head.len() as u64 + bytes).expect("room for a hole");
    };
    write("train_features.npy", "<f4", "(25000, 1000)", 100_000_000);
    write("train_labels.npy", "|u1", "(25000,)", 25_000);
}

/// A round that reads from nearly each of 96 chunks, and needs 4 MB of them.
const WIDE: &str = r#"
model = "softmax"
replicas = 1
batch_size = 500
update_interval = 2
rounds = 2
[dataset]
source = "npy:FOLDER"
shuffle_window = 1024
classes = 2
"#;

#[test]
fn a_worker_holds_examples_and_not_the_chunks_that_they_lie_in() {
    // Far less than the chunks, and enough for what it says that it needs.
    let Some(group) = group_of("chunks", 80 << 20) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    zeros(folder.path());
    let spec = WIDE.replace("FOLDER", folder.path().to_str().expect("a plain path"));
    let (_coordinator, address) = Logged::coordinator(&[]);
    let command = group.command(&binaries().worker);
    let flags = ["--slots", "1", "--memory-limit", "32MiB"];
    let _worker = Logged::worker_by(command, "small", &address, &flags);
    let mut client = Client::submit(&address, &spec);
    assert_eq!(client.finish(), expected::digest(&spec));
    assert_eq!(group.kills(), 0);
}

/// Two epochs over three chunks, each a window of its own.
#[test]
fn examples_that_are_shuffled_in_windows_and_fetched_again_give_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wide.csv");
    let row = |row: usize| {
        // With fractions: whole numbers would be bytes, and the split one window.
        let values = (0..400).map(|column| format!("{}.5", (row * 7 + column * 3) % 17));
        values.collect::<Vec<_>>().join(",") + &format!(",{}\n", row % 3)
    };
    std::fs::write(&file, (0..1500).map(row).collect::<String>()).expect("room");
    let spec = |window: u32| {
        format!(
            "model = \"softmax\"\nreplicas = 4\nbatch_size = 10\nrounds = 60\n[dataset]\n\
             source = \"csv:{}\"\nshuffle_window = {window}\n",
            file.display()
        )
    };
    let expected = expected::digest(&spec(1));
    assert_ne!(expected, expected::digest(&spec(64)));
    let (coordinator, address) = Logged::coordinator(&[]);
    // Of a chunk of a MiB, one keeps none.
    let _one = Logged::worker("one", &address, &["--cache-limit", "1000KB"]);
    let _two = Logged::worker("two", &address, &["--cache-limit", "1MiB"]);
    let mut client = Client::submit(&address, &spec(1));
    assert_eq!(client.finish(), expected);
    let text = explain(coordinator);
    assert!(text.contains("Small cache: one, ") && !text.contains("Small cache: two"), "{text}");
}
