//! States and partials in memory that a coordinator shares with the workers on its host.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::digest::Digest;
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::cluster::Cluster;
use tests::expected;

use crate::commands::{alone, text};

/// States of 0.6 MB, and partials that are pulled in pieces.
const WIDE: &str = r#"
model = "mlp"
seed = 7
replicas = 7
batch_size = 6
update_interval = 1
rounds = 12
dataset.source = "digits"
[parameters]
hidden = [240, 240]
momentum = 0.9
momentum_state = "merged"
"#;

/// Bound on hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the status of a cluster is as it should be.
fn await_status(cluster: &Cluster, is_right: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = alone(&["status", "--json", "--coordinator", &cluster.address]);
        let found: Value = serde_json::from_str(text(&output.stdout)).unwrap_or_default();
        if is_right(&found) {
            return;
        }
        assert!(Instant::now() < end, "{found:#}");
        std::thread::yield_now();
    }
}

/// Number of workers that are connected and share memory, or do not.
fn sharing(status: &Value, shares: bool) -> usize {
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().filter(|worker| worker["shares_memory"] == shares).count()
}

/// Regions of shared memory that a process holds.
fn regions(process: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs");
    let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
    let targets = descriptors.flatten().filter_map(target);
    targets.filter(|target| target.to_string_lossy().contains("memfd:samebit")).count()
}

/// The digest of a run on workers of which so many share memory, and so many do not.
fn digest_of(share: usize, are_sent: usize) -> Digest {
    let mut cluster = Cluster::start();
    for _ in 0..share {
        cluster.add_worker_with(&[]);
    }
    for _ in 0..are_sent {
        cluster.add_worker_with(&["--no-shared-memory"]);
    }
    let is_right =
        |found: &Value| (sharing(found, true), sharing(found, false)) == (share, are_sent);
    await_status(&cluster, is_right);
    let digest = cluster.submit(WIDE).finish();
    // The slots of states, and those of each worker's partials.
    assert_eq!(regions(cluster.coordinator.id()), 1 + share);
    digest
}

#[test]
fn memory_network_and_both_give_the_same_bits() {
    let expected = expected::digest(WIDE);
    for (share, are_sent) in [(1, 0), (2, 0), (7, 0), (0, 2), (2, 1)] {
        let found = digest_of(share, are_sent);
        assert_eq!(found, expected, "{share} workers share memory, {are_sent} do not");
    }
}

#[test]
fn the_dead_leave_nothing_in_memory() {
    let mut cluster = Cluster::start().with_workers(3, 1);
    await_status(&cluster, |found| sharing(found, true) == 3);
    let mut run = cluster.submit(WIDE);
    run.wait_for("round");
    cluster.workers[0].signal(Signal::SIGKILL);
    assert_eq!(run.finish(), expected::digest(WIDE));
    await_status(&cluster, |found| sharing(found, true) == 2);
    assert_eq!(regions(cluster.coordinator.id()), 1 + 2);
    assert_eq!(regions(cluster.workers[1].id()), 2);
    cluster.coordinator.signal(Signal::SIGKILL);
    let end = Instant::now() + PATIENCE;
    while regions(cluster.workers[1].id()) > 0 {
        assert!(Instant::now() < end, "a worker keeps the memory of a dead coordinator");
        std::thread::yield_now();
    }
    // A new coordinator at the same address takes the place of the dead one's socket.
    cluster.restart();
    await_status(&cluster, |found| sharing(found, true) == 2);
}

#[test]
fn the_socket_alone_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("sockets");
    let flags = ["--socket-dir", directory.to_str().unwrap()];
    let mut cluster = Cluster::start_with(&flags);
    let socket = socket_in(&directory);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&[7; 16]).unwrap();
    let mut found = Vec::new();
    stream.read_to_end(&mut found).unwrap();
    assert!(found.is_empty(), "a token that was not offered: {found:?}");
    // A worker that looks elsewhere is sent everything, one that looks there shares.
    cluster.add_worker_with(&["--socket-dir", "/nowhere"]);
    cluster.add_worker_with(&flags);
    await_status(&cluster, |found| (sharing(found, true), sharing(found, false)) == (1, 1));
    assert_eq!(cluster.submit(WIDE).finish(), expected::digest(WIDE));
    cluster.coordinator.signal(Signal::SIGTERM);
    cluster.coordinator.wait();
    assert!(!socket.exists(), "a coordinator that stops removes its socket");
}

/// The only socket in a directory, once it is there: a coordinator makes it after it has said where
/// it listens.
fn socket_in(directory: &Path) -> PathBuf {
    let end = Instant::now() + PATIENCE;
    loop {
        let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let is_named = |path: &PathBuf| path.extension().is_some_and(|it| it == "sock");
        if let Some(socket) = files.map(|file| file.path()).find(is_named) {
            return socket;
        }
        assert!(Instant::now() < end, "the coordinator makes no socket");
        std::thread::yield_now();
    }
}
