//! Runs go on and workers get in, however many stand at the door.

use tests::client::Client;
use tests::crowd::Crowd;
use tests::expected;
use tests::logged::Logged;

use super::{KeyFiles, coordinator, status, text};
use crate::cluster::SOFTMAX;

/// Connections that are half open at one time.
const CROWD: usize = 2_000;

/// Those of them that a coordinator lets stand.
const STANDING: u64 = common::limits::HANDSHAKES as u64;

#[test]
fn two_thousand_half_open_connections_hold_up_nobody() {
    let files = KeyFiles::new();
    let keys = files.new_cluster("cluster.pem");
    let flags = ["--keys", text(keys.path())];
    let (mut coordinator, address) = coordinator(&keys);
    let mut first = Logged::worker("first", &address, &flags);
    let spec = SOFTMAX.replace("epochs = 2", "epochs = 60");
    let mut client = Client::start(&spec, &[&["--coordinator", &address][..], &flags].concat());
    client.wait_for("round");
    let crowd = Crowd::start(&address, CROWD);
    let mut second = Logged::worker("second", &address, &flags);
    // It waits for the second worker, and so does this test.
    let submit = ["--coordinator", &address, "--min-workers", "2"];
    let mut other = Client::start(SOFTMAX, &[&submit[..], &flags].concat());
    assert_eq!(client.finish(), expected::digest(&spec));
    assert_eq!(other.finish(), expected::digest(SOFTMAX));
    assert_eq!(client.count_worker_events("lost") + other.count_worker_events("lost"), 0);
    let status = status(&address, Some(keys.path()));
    let opened = crowd.opened();
    println!("{opened} connections, {} turned away", status["refused"]);
    let refused = status["refused"].as_u64().expect("a number");
    assert!(refused + STANDING >= CROWD as u64, "{refused} of {opened}");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2), "{status}");
    drop(crowd);
    for process in [&mut first, &mut second, &mut coordinator] {
        process.leave();
    }
}
