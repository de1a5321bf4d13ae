//! A shard that kills whoever runs it, with real processes.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use tests::client::Client;
use tests::expected;
use tests::logged::Logged;
use tests::trouble;

use crate::commands::text;

/// Four replicas of eight examples a round, one of which is deadly.
const SPEC: &str = r#"
model = "deadly"
seed = 7
replicas = 4
batch_size = 8
update_interval = 1
epochs = 1
[parameters]
example = 1000
file = "FILE"
[dataset]
source = "digits"
"#;

/// The program that knows the model, as one or the other.
fn trouble(role: &str) -> Command {
    trouble::program(env!("CARGO_BIN_EXE_trouble"), role)
}

#[test]
fn a_deadly_shard_fails_its_run_by_name_and_the_run_goes_on_once_it_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deadly");
    std::fs::write(&file, "").expect("the file is written");
    let spec = SPEC.replace("FILE", file.to_str().expect("a plain path"));
    let (coordinator, address) = Logged::coordinator_by(trouble("coordinator"), &[]);
    let flags = ["--coordinator", &address];
    let mut client = Client::start_by(trouble("coordinator"), &spec, &flags);
    let start = |number: usize| {
        let name = format!("w{number}");
        Logged::worker_by(trouble("worker"), &name, &address, &["--slots", "2"])
    };
    let mut workers: Vec<Logged> = (1..=2).map(start).collect();
    let reason = loop {
        let event = client.next_event().expect("the run fails");
        match (event["event"].as_str(), event["what"].as_str()) {
            (Some("failed"), _) => break event["reason"].as_str().expect("a reason").to_owned(),
            // As a supervisor would.
            (Some("worker"), Some("lost")) => workers.push(start(workers.len() + 1)),
            _ => {}
        }
    };
    assert!(reason.contains(": 3 workers died while running replica "), "{reason}");
    assert!(reason.contains("then resume the run"), "{reason}");
    // It is that shard, and not one beside it.
    let replay = reason.split('`').find(|text| text.starts_with("coordinator replay 1 "));
    let replay = replay.expect("the command that runs it alone").split(' ').skip(1);
    let mut alone = trouble("coordinator");
    let alone = alone.args(replay).arg("--runs").arg(coordinator.runs()).output();
    assert_eq!(alone.expect("it runs").status.signal(), Some(Signal::SIGABRT as i32));
    // One made it a suspect, with what it had beside it; three more are what counts.
    assert!((6..=8).contains(&workers.len()), "{} workers", workers.len());
    assert_eq!(client.wait().code(), Some(3));

    std::fs::remove_file(&file).expect("it was there");
    let resumed = trouble("coordinator").args(["resume", "1"]).args(flags).output();
    let resumed = resumed.expect("it runs");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    let expected = expected::digest_with(trouble::registry(), &spec);
    assert_eq!(Client::follow(&address, 1).finish(), expected);
}
