//! A living cluster that strangers talk to, while runs go on.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::digest::Digest;
use serde_json::Value;
use tests::binaries::binaries;
use tests::client::Client;
use tests::expected;
use tests::logged::{Logged, PATIENCE};

use super::stranger::Stranger;
use crate::cluster::SOFTMAX;

/// Workers that the runs are to be done by.
const WORKERS: [&str; 2] = ["good-1", "good-2"];

/// Lets all strangers talk to one coordinator at the same time, while it does
/// one run after another: each run ends in the digest of the reference, none
/// of its workers is lost, and in the end all processes leave in order.
pub(super) fn meet(strangers: Vec<Stranger>) {
    let expected = expected::digest(SOFTMAX);
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let mut workers = WORKERS.map(|name| Logged::worker(name, &address, &[]));
    let over = AtomicBool::new(false);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let (started, first) = mpsc::channel();
        let runs = scope.spawn(|| run_until(&over, &address, expected, started));
        first.recv_timeout(PATIENCE).expect("the first run starts");
        let (address, log) = (&address, &coordinator.log);
        let talks: Vec<_> = strangers
            .iter()
            .map(|stranger| scope.spawn(move || stranger.talk(address, log)))
            .collect();
        let failures = talks
            .into_iter()
            .zip(&strangers)
            .filter_map(|(talk, stranger)| {
                let error = talk.join().expect("a talk reports its failure").err()?;
                Some(format!("{}: {error}", stranger.name))
            })
            .collect();
        over.store(true, Ordering::SeqCst);
        runs.join().expect("the runs go on undisturbed");
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert_status(&address);
    for process in workers.iter_mut().chain([&mut coordinator]) {
        process.leave();
    }
}

/// Does one run after another until it is `over`; says when the first one has
/// begun.
fn run_until(over: &AtomicBool, address: &str, expected: Digest, started: mpsc::Sender<()>) {
    loop {
        let mut client = Client::start(SOFTMAX, &["--coordinator", address, "--min-workers", "2"]);
        client.wait_for("started");
        // Only the first is waited for.
        let _ = started.send(());
        assert_eq!(client.finish(), expected);
        let is_ours = |event: &&Value| WORKERS.iter().any(|name| event["worker"] == *name);
        let lost = client.events.iter().filter(is_ours).find(|event| event["what"] == "lost");
        assert!(lost.is_none(), "{lost:?}");
        if over.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// The coordinator answers, and both workers are still there.
fn assert_status(address: &str) {
    let output = Command::new(&binaries().coordinator)
        .args(["status", "--json", "--coordinator", address])
        .output()
        .expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for name in WORKERS {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
}
