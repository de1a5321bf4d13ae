//! The same bits, whoever dies. Each test proves that its fault happened.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::cluster::{Cluster, Process};
use tests::expected;
use tests::proxy::{Fault, Proxy};

use crate::cluster::SOFTMAX;

/// Rounds of [`LONG`].
const ROUNDS: usize = 6;

/// Rounds that take long enough to be struck in the middle, and a state that
/// is pulled in pieces rather than sent along.
const LONG: &str = r#"
model = "mlp"
seed = 3
replicas = 8
batch_size = 9
update_interval = 20
rounds = 6
[parameters]
hidden = [768, 768]
[dataset]
source = "digits"
"#;

/// The same of spikes: labels are given after the last round.
const LONG_SPIKING: &str = r#"
model = "spiking"
seed = 3
replicas = 8
batch_size = 1
update_interval = 60
rounds = 6
[parameters]
neurons = 150
theta_step = 2
[dataset]
source = "digits"
[evaluation]
labelling = true
"#;

#[test]
fn a_worker_killed_in_every_round() {
    kill_in_every_round(LONG);
}

#[test]
fn a_worker_killed_in_every_round_of_a_spiking_network() {
    kill_in_every_round(LONG_SPIKING);
}

fn kill_in_every_round(spec: &str) {
    let mut cluster = Cluster::start().with_workers(2, 1);
    let mut client = cluster.submit_when(spec, 2);
    for round in 0..ROUNDS {
        if round > 0 {
            client.wait_for("round");
        } else {
            client.wait_for("started");
        }
        cluster.workers.remove(0).signal(Signal::SIGKILL);
        cluster.add_worker(1);
    }
    assert_eq!(client.finish(), expected::digest(spec));
    assert!(client.count_worker_events("lost") >= ROUNDS, "{:#?}", client.events);
    // Those that are gone are called by their names as well.
    let mut names = client.events.iter().filter_map(|event| event["worker"].as_str());
    assert!(names.all(|name| name.starts_with("test-")), "{:#?}", client.events);
}

#[test]
fn all_workers_killed_at_once() {
    let mut cluster = Cluster::start().with_workers(3, 1);
    let mut client = cluster.submit_when(LONG, 3);
    client.wait_for("round");
    for worker in &cluster.workers {
        worker.signal(Signal::SIGKILL);
    }
    for _ in 0..3 {
        while client.wait_for("worker")["what"] != "lost" {}
    }
    cluster.add_worker(2);
    assert_eq!(client.finish(), expected::digest(LONG));
    assert_eq!(client.count_worker_events("lost"), 3);
}

#[test]
fn a_worker_stopped_past_the_timeout_and_continued() {
    let cluster = Cluster::start_with(&["--heartbeat-timeout", "2"]).with_workers(2, 1);
    let mut client = cluster.submit_when(LONG, 2);
    client.wait_for("started");
    cluster.workers[0].stop();
    while client.wait_for("worker")["what"] != "lost" {}
    cluster.workers[0].signal(Signal::SIGCONT);
    assert_eq!(client.finish(), expected::digest(LONG));
}

#[test]
fn a_worker_that_joins_half_way() {
    let mut cluster = Cluster::start().with_workers(1, 1);
    let mut client = cluster.submit_when(LONG, 1);
    for _ in 0..ROUNDS / 2 {
        client.wait_for("round");
    }
    cluster.add_worker(2);
    while client.wait_for("worker")["what"] != "joined" {}
    assert_eq!(client.finish(), expected::digest(LONG));
}

#[test]
fn a_worker_that_leaves_by_sigterm() {
    let mut cluster = Cluster::start().with_workers(2, 1);
    let mut client = cluster.submit_when(LONG, 2);
    client.wait_for("round");
    cluster.workers[0].signal(Signal::SIGTERM);
    while client.wait_for("worker")["what"] != "left" {}
    assert!(cluster.workers[0].wait().success());
    assert_eq!(client.finish(), expected::digest(LONG));
    assert_eq!(client.count_worker_events("lost"), 0);
}

#[test]
fn connections_that_are_reset() {
    let mut cluster = Cluster::start();
    // Enough to shake hands and to begin: then the connection breaks while
    // blocks are done or partials are pulled, again and again.
    let proxy = Proxy::start(&cluster.address, Fault::Reset { after: 20_000 });
    let address = proxy.address.clone();
    cluster.add_worker_at(&address, 1);
    cluster.add_worker_at(&address, 2);
    let mut client = cluster.submit_when(LONG, 2);
    assert_eq!(client.finish(), expected::digest(LONG));
    assert!(proxy.resets() >= 3, "{}", proxy.resets());
}

#[test]
fn frames_that_come_late_and_in_pieces() {
    let mut cluster = Cluster::start();
    let fault = Fault::Split { piece: 31, pause: Duration::from_micros(50) };
    let proxy = Proxy::start(&cluster.address, fault);
    let address = proxy.address.clone();
    cluster.add_worker_at(&address, 1);
    cluster.add_worker_at(&address, 1);
    let mut client = cluster.submit_when(SOFTMAX, 2);
    assert_eq!(client.finish(), expected::digest(SOFTMAX));
    assert!(proxy.pieces() > 500, "{}", proxy.pieces());
}

#[test]
fn results_that_come_twice_and_late() {
    let mut cluster = Cluster::start();
    let proxy = Proxy::start(&cluster.address, Fault::Repeat);
    let address = proxy.address.clone();
    cluster.add_worker_at(&address, 1);
    cluster.add_worker_at(&address, 2);
    let mut client = cluster.submit_when(SOFTMAX, 2);
    assert_eq!(client.finish(), expected::digest(SOFTMAX));
    assert!(proxy.duplicates() > 10 && proxy.late() > 10);
}

#[test]
fn bits_that_flip_on_their_way_reach_no_result() {
    /// Flips in each direction.
    const FLIPS: u64 = 200;
    let mut cluster = Cluster::start();
    let proxy = Proxy::start(&cluster.address, Fault::Flip { seed: 1 });
    for _ in 0..4 {
        cluster.add_worker_at(&proxy.address, 1);
    }
    let expected = expected::digest(SOFTMAX);
    while proxy.flips().into_iter().any(|flips| flips < FLIPS) {
        assert_eq!(cluster.submit(SOFTMAX).finish(), expected, "{:?}", proxy.flips());
    }
    // None of them was sent away for what it did not say.
    assert!(cluster.workers.iter_mut().all(|worker| worker.try_wait().is_none()));
}

#[test]
fn all_workers_stopped_at_once() {
    let cluster = Cluster::start_with(&["--heartbeat-timeout", "2"]).with_workers(4, 1);
    let mut client = cluster.submit_when(LONG, 4);
    client.wait_for("round");
    cluster.workers.iter().for_each(Process::stop);
    for _ in 0..4 {
        while client.wait_for("worker")["what"] != "lost" {}
    }
    cluster.workers.iter().for_each(|worker| worker.signal(Signal::SIGCONT));
    assert_eq!(client.finish(), expected::digest(LONG));
}

#[test]
fn a_coordinator_stopped_past_the_timeout() {
    let timeout = Duration::from_secs(2);
    let cluster = Cluster::start_with(&["--heartbeat-timeout", "2"]).with_workers(4, 1);
    let mut client = cluster.submit_when(LONG, 4);
    client.wait_for("round");
    cluster.coordinator.stop();
    // That it stands still for so long is the fault itself.
    std::thread::sleep(timeout + Duration::from_secs(1));
    cluster.coordinator.signal(Signal::SIGCONT);
    assert_eq!(client.finish(), expected::digest(LONG));
    // The workers hung up, for it was silent, and said so. None was lost for its own
    // silence.
    let mut lost = client.events.iter().filter(|event| event["what"] == "lost");
    let is_told =
        |event: &serde_json::Value| event["detail"] == "it hung up: the coordinator is silent";
    assert!(lost.clone().count() > 0 && lost.all(is_told), "{:#?}", client.events);
}
