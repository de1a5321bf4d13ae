//! Runs that outlive their coordinator, are taken up again, and are checked
//! later, with the real binaries.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::id::RunId;
use coordinator::runs::{Outcome, RunsFolder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::binaries::binaries;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::expected;

use crate::cluster::SOFTMAX;
use crate::commands::{alone, command, run_state, text};

#[test]
fn a_run_goes_on_when_its_coordinator_is_started_again() {
    let spec = SOFTMAX.replace("epochs = 2", "epochs = 60");
    let mut cluster =
        Cluster::start_with(&["--checkpoint-every", "3", "--resume-wait", "1"]).with_workers(2, 1);
    let mut client = cluster.submit_when(&spec, 2);
    for kill in 0..3 {
        while client.wait_for("checkpoint")["round"].as_u64().expect("a round") < 10 * kill {}
        cluster.coordinator.signal(Signal::SIGKILL);
        cluster.coordinator.wait();
        cluster.restart();
        client.wait_for("resumed");
    }
    assert_eq!(client.finish(), expected::digest(&spec));
    let rounds = client.events.iter().filter(|event| event["event"] == "round");
    let rounds: Vec<u64> = rounds.map(|event| event["round"].as_u64().expect("a round")).collect();
    let last = *rounds.last().expect("rounds");
    assert_eq!(rounds, (1..=last).collect::<Vec<_>>(), "each is told once");
    // Its state and its story are there for those who come later, and hear no more than
    // how it ended: what was told of it is lost.
    cluster.coordinator.signal(Signal::SIGKILL);
    cluster.coordinator.wait();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(cluster.runs().join(format!("history.sqlite{end}")));
    }
    cluster.restart();
    let file = cluster.runs().join("final.safetensors");
    let file = file.to_str().expect("a plain path");
    let later = command(&cluster, &["follow", "1", "--output", file, "--quiet"]);
    assert!(later.status.success(), "{}", text(&later.stderr));
    // The history inside is that of a run that never stopped, too.
    let undisturbed = tempfile::tempdir().expect("a folder");
    let (path, expected) = (undisturbed.path().join("spec"), undisturbed.path().join("state"));
    std::fs::write(&path, &spec).expect("the spec is written");
    let (path, output) = (path.display().to_string(), expected.display().to_string());
    let whole = alone(&["run", &path, "--local", "2", "--output", &output, "--quiet"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let read = |path: &Path| std::fs::read(path).expect("the state is there");
    assert_eq!(read(Path::new(file)), read(&expected), "equal runs write equal files");
    let digest = expected::digest(&spec).to_string();
    assert!(text(&later.stdout).contains(&digest), "{}", text(&later.stdout));
    assert_eq!(run_state(&cluster, 1), "finished");
}

#[test]
fn a_run_is_verified_and_a_shard_replayed() {
    let cluster = Cluster::start_with(&["--keep-checkpoints", "2", "--checkpoint-every", "1"])
        .with_workers(2, 1);
    let mut client = cluster.submit_when(SOFTMAX, 2);
    client.finish();
    let runs = ["--runs", cluster.runs().to_str().expect("a plain path")];
    let with_runs = |args: &[&str]| alone(&[args, &runs].concat());
    for (how, steps) in [
        (&["--local", "2"][..], "of 14 steps are as recorded, and "),
        (&["--coordinator", &cluster.address, "--rounds", "2..3"], "steps are as recorded"),
        // Two states are on disk, and the first one always.
        (&["--local", "1", "--sample", "100%"], "repeating 12 of 12 rounds: 1 to 12\nround 1/"),
        (&["--local", "1", "--sample", "50%", "--quiet"], "repeating 6 of 12 rounds: "),
    ] {
        let verified = with_runs(&[&["verify", "1"], how].concat());
        let (out, error) = (text(&verified.stdout), text(&verified.stderr));
        assert!(verified.status.success() && out.contains(steps), "{how:?}: {out}{error}");
    }
    let replayed = with_runs(&["replay", "1", "--round", "2", "--replica", "1"]);
    let out = text(&replayed.stdout);
    assert!(replayed.status.success() && out.contains("recorded the same, by worker"), "{out}");

    // What the history lacks, in the middle and at the end.
    let history = rusqlite::Connection::open(cluster.runs().join("history.sqlite"));
    let history = history.expect("the history opens");
    for table in ["rounds", "shards"] {
        let lost = history.execute(&format!("DELETE FROM {table} WHERE step IN (5, 13)"), []);
        assert!(lost.is_ok_and(|lost| lost > 0), "{table}");
    }
    let verified = with_runs(&["verify", "1", "--local", "2", "--quiet"]);
    let (out, error) = (text(&verified.stdout), text(&verified.stderr));
    assert!(verified.status.success(), "{out}{error}");
    assert!(out.contains("of 12 steps are as recorded, and "), "{out}");
    assert!(out.ends_with("; 2 steps more without any record\n"), "{out}");

    // As in a history that has grown to its bound.
    let thinned = history.execute("DELETE FROM shards WHERE step < 2", []);
    assert!(thinned.is_ok_and(|thinned| thinned > 0));
    let verified = with_runs(&["verify", "1", "--local", "2", "--quiet"]);
    let out = text(&verified.stdout);
    assert!(verified.status.success(), "{out}");
    let whole = "; 2 steps more could only be compared as a whole, as the history was thinned, and \
                 are as recorded; 2 steps more without any record\n";
    assert!(out.contains("of 10 steps are as recorded, and ") && out.ends_with(whole), "{out}");
    let replayed = with_runs(&["replay", "1", "--round", "2", "--replica", "1"]);
    let out = text(&replayed.stdout);
    assert!(replayed.status.success() && out.contains("the history dropped the shards"), "{out}");

    // One bit of one digest.
    let changed = history
        .execute("UPDATE shards SET digest = zeroblob(32) WHERE step = 3 AND replica = 1", []);
    assert_eq!(changed, Ok(1));
    drop(history);
    let verified = with_runs(&["verify", "1", "--local", "2"]);
    let error = text(&verified.stderr);
    assert_eq!(verified.status.code(), Some(3), "{error}");
    assert!(error.contains("step 3 (round 4), replica 1: worker test-"), "{error}");
    let command = format!("`coordinator replay 1{} --step 3 --replica 1`", runs_flag(&cluster));
    assert!(error.contains(&command), "{error}");
    let unknown = with_runs(&["verify", "7", "--local", "1"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));

    // A damaged history is the same to both, found early or late.
    let replay = &["replay", "1", "--round", "4", "--replica", "1"][..];
    let history = cluster.runs().join("history.sqlite");
    let changed = rusqlite::Connection::open(&history)
        .expect("the history opens")
        .execute("UPDATE shards SET digest = x'00'", []);
    assert!(changed.is_ok(), "{changed:?}");
    for _ in ["late", "early"] {
        for command in [&["verify", "1", "--local", "1"][..], replay] {
            let output = with_runs(command);
            let error = text(&output.stderr);
            assert!(error.contains("found damage"), "{command:?}: {error}");
            assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        }
        std::fs::write(&history, "text").expect("the history is written");
    }
}

/// How a command names the folder of a cluster's runs.
fn runs_flag(cluster: &Cluster) -> String {
    format!(" --runs {}", cluster.runs().display())
}

#[test]
fn the_final_state_is_compared_without_a_checkpoint_of_it() {
    let mut cluster = Cluster::start_with(&["--checkpoint-every", "1000"]).with_workers(2, 1);
    cluster.submit_when(SOFTMAX, 2).finish();
    let folder = cluster.runs().join("1");
    std::fs::remove_file(folder.join("round-12.json")).expect("the last checkpoint");
    let history = cluster.runs().join("history.sqlite");
    let changed = rusqlite::Connection::open(history)
        .expect("the history opens")
        .execute("DELETE FROM checkpoints", []);
    assert_eq!(changed, Ok(1));
    // Round 12 is step 12, and an evaluation follows.
    let runs = cluster.runs().to_str().expect("a plain path").to_owned();
    let verify =
        |rounds| alone(&["verify", "1", "--local", "1", "--runs", &runs, "--rounds", rounds]);
    let verified = verify("12..12");
    let out = text(&verified.stdout);
    assert!(out.ends_with("of 13 steps are as recorded, and 1 state\n"), "{out}");
    let verified = verify("11..11");
    let out = text(&verified.stdout);
    assert!(out.contains("0 states; the last state is not recorded"), "{out}");

    // As if the coordinator had recorded another end.
    let right = expected::digest(SOFTMAX).to_string();
    let wrong = right.chars().rev().collect::<String>();
    cluster.coordinator.signal(Signal::SIGTERM);
    cluster.coordinator.wait();
    let folder = RunsFolder::open(cluster.runs()).expect("nobody uses it");
    let submission = folder.submission(RunId(1)).expect("a submission");
    let outcome = folder.outcome(&submission).expect("an intact record").expect("an outcome");
    let digest = wrong.parse().ok();
    folder.write_outcome(RunId(1), &Outcome { digest, ..outcome }).expect("it can be written");
    let verified = verify("12..12");
    let error = text(&verified.stderr);
    assert_eq!(verified.status.code(), Some(3), "{error}");
    let expected =
        format!("the state after step 12 (round 12) is not as recorded: expected {wrong}");
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("one from step 0 (round 1) to step 12 (round 12)"), "{error}");
}

#[test]
fn a_verify_waits_for_a_coordinator_that_is_not_there_yet() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let runs = kept.to_str().expect("a plain path");
    let spec = folder.path().join("spec.toml");
    std::fs::write(&spec, SOFTMAX).expect("a scratch folder can be written to");
    let spec = spec.to_str().expect("a plain path");
    let run = alone(&["run", spec, "--local", "1", "--quiet", "--runs", runs]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    // Of an address that no other test has, so that nobody takes the port meanwhile.
    let port = TcpListener::bind("127.0.24.2:0").and_then(|listener| listener.local_addr());
    let address = port.expect("loopback has a free port").to_string();
    let mut verify = Command::new(&binaries().coordinator)
        .args(["verify", "1", "--coordinator", &address, "--runs", runs])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let mut stderr = BufReader::new(verify.stderr.take().expect("it is piped"));
    stderr.read_line(&mut said).expect("text");
    assert!(said.contains("; trying again for "), "{said}");
    let mut cluster = Cluster::start_in(folder.path(), &address, &[]).with_workers(1, 1);
    let out = verify.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{said}");
    assert!(text(&out.stdout).contains("are as recorded"), "{}", text(&out.stdout));
    // One that goes while it says what it found is waited for too.
    let mut verify = Command::new(&binaries().coordinator)
        .args(["verify", "1", "--coordinator", &address, "--runs", runs])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let status = || text(&command(&cluster, &["status"]).stdout).to_owned();
    while !status().contains("(replay)\n") && verify.try_wait().is_ok_and(|end| end.is_none()) {}
    cluster.coordinator.signal(Signal::SIGKILL);
    cluster.coordinator.wait();
    cluster.restart();
    assert!(verify.wait().expect("a child can be waited for").success());
}

#[test]
fn a_verify_that_ends_early_leaves_nothing_on_the_cluster() {
    let mut cluster = Cluster::start().with_workers(1, 1);
    cluster.submit(SOFTMAX).finish();
    cluster.workers.clear();
    let status = || text(&command(&cluster, &["status"]).stdout).to_owned();
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut verify = Command::new(&binaries().coordinator)
            .args(["verify", "1", "--coordinator", &cluster.address, "--runs"])
            .arg(cluster.runs())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // It waits for workers.
        while !status().contains("queued (replay)") {
            assert!(verify.try_wait().expect("a child can be asked").is_none(), "{}", status());
        }
        kill(Pid::from_raw(verify.id() as i32), signal).expect("it is there");
        let verify = verify.wait_with_output().expect("it ends");
        if signal == Signal::SIGINT {
            let error = text(&verify.stderr);
            assert_eq!(verify.status.code(), Some(130), "{error}");
            assert!(error.ends_with("error: cancelled\n"), "{error}");
        }
        let end = Instant::now() + Duration::from_secs(60);
        while status().contains("queued (replay)") {
            assert!(Instant::now() < end, "after {signal}: {}", status());
        }
        assert!(status().contains("cancelled (replay)"), "{}", status());
    }
    assert_eq!(run_state(&cluster, 1), "finished");
}

#[test]
fn a_cancelled_run_is_taken_up_again_and_forked() {
    let cluster = Cluster::start().with_workers(2, 1);
    let mut client = cluster.submit(&SOFTMAX.replace("epochs = 2", "epochs = 100"));
    while client.wait_for("round")["round"].as_u64() < Some(20) {}
    assert!(command(&cluster, &["cancel", "1"]).status.success());
    assert_eq!(client.wait().code(), Some(130));
    let refused = command(&cluster, &["resume", "1", "--set", "seed=9"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    let set = ["--set", "workers=2", "--set", "audit=1"];
    let resumed = command(&cluster, &[&["resume", "1"][..], &set].concat());
    assert_eq!(text(&resumed.stdout), "1\n", "{}", text(&resumed.stderr));
    let mut client = Client::follow(&cluster.address, 1);
    client.wait_for("resumed");
    let finished = client.wait_for("finished");
    let expected = expected::digest(&SOFTMAX.replace("epochs = 2", "epochs = 100"));
    assert_eq!(finished["digest"], expected.to_string());
    assert!(finished["audited"].as_u64() > Some(0), "{finished}");
    assert_eq!(command(&cluster, &["resume", "1"]).status.code(), Some(2));

    let forked = command(&cluster, &["resume", "1", "--fork", "--set", "epochs=1"]);
    assert_eq!(text(&forked.stdout), "2\n", "{}", text(&forked.stderr));
    Client::follow(&cluster.address, 2).finish();
    assert_eq!(run_state(&cluster, 2), "finished");
}
