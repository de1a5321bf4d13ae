//! What a person sees who starts the programs and watches.

use std::time::Instant;

use serde_json::Value;
use tests::cluster::Cluster;
use tests::logged::Logged;

use crate::commands::{alone, command, text};

/// A small run of many rounds.
const QUICK: &[&str] = &["run", "--model", "softmax", "--replicas", "2", "--rounds", "400"];

#[test]
fn a_log_has_a_line_about_steps_each_second_at_most() {
    let began = Instant::now();
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let mut worker = Logged::worker("one", &address, &[]);
    let run = alone(&[QUICK, &["--quiet", "--coordinator", &address]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    worker.leave();
    coordinator.leave();
    let seconds = began.elapsed().as_secs() as usize + 1;
    let lines = coordinator.log.all();
    let of = |level: &str| {
        let says = |line: &&Value, name, what| line[name].as_str().unwrap_or("").starts_with(what);
        let lines = lines.iter().filter(|line| says(line, "level", level));
        lines.filter(|line| says(line, "message", "round ")).count()
    };
    let (told, rest) = (of("INFO"), of("DEBUG"));
    assert_eq!(told + rest, 400, "every round is there for those who want it");
    assert!((1..=seconds + 1).contains(&told), "{told} lines in {seconds} s");
}

#[test]
fn a_run_that_is_wanted_once_is_not_run_again() {
    let cluster = Cluster::start().with_workers(1, 1);
    let run = |flags: &[&str]| {
        let output = command(&cluster, &[QUICK, &["--json"], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout).lines();
        let event = |line| serde_json::from_str::<Value>(line).expect("JSON");
        let events: Vec<Value> = lines.map(event).collect();
        let digest = events.last().expect("its end")["digest"].clone();
        (events[0]["run"].as_u64().expect("its number"), digest)
    };
    let (first, digest) = run(&["--once"]);
    assert_eq!(first, 1);
    assert_eq!(run(&["--once"]), (1, digest.clone()), "the same one");
    assert_eq!(run(&["--once", "--seed", "8"]).0, 2, "another one");
    assert_eq!(run(&[]), (3, digest), "as often as one likes");
}
