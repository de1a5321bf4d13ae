//! What people are told: by name, once, and what to do.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tests::binaries::binaries;
use tests::cluster::Cluster;
use tests::logged::Logged;

use crate::commands::{ENDLESS, alone, children, command, text};
use crate::screen::{QUICK, on_a_terminal};

/// The lines of the standard error of a command that ends in bad input.
fn mistake(args: &[&str]) -> String {
    let output = alone(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    text(&output.stderr).to_owned()
}

#[test]
fn a_mistake_is_answered_alone() {
    let one = mistake(&["show", "one"]);
    assert!(one.contains("expected a run's number, as `coordinator runs` prints it"), "{one}");
    let local = mistake(&["run", "--local", "1", "--model", "softmax", "--set", "epochs=0"]);
    assert!(local.lines().count() == 1 && local.starts_with("error: "), "{local}");
    // Of a coordinator that has just heard it, and hears of no more.
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let there = mistake(&["follow", "77", "--coordinator", &address]);
    assert!(there.lines().count() == 1 && there.contains("run 77 is unknown"), "{there}");
    coordinator.leave();
    let refused = |line: &&Value| line.to_string().contains("refused");
    assert_eq!(coordinator.log.all().iter().find(refused), None);
}

#[test]
fn a_picture_of_another_kind_is_refused_before_anything_is_read() {
    let error = mistake(&["plot", "missing.safetensors", "--out", "fields.svg"]);
    assert!(error.contains("fields.svg") && error.contains("PNG"), "{error}");
}

/// Examples of a file, none of which is kept to judge by.
const ALL_LEARNT: &str = r#"
model = "softmax"
replicas = 2
rounds = 20
[dataset]
source = "csv:FILE"
"#;

#[test]
fn a_run_that_judges_nothing_says_how_its_last_round_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("two.csv");
    let rows = (0..40).map(|row| format!("{},{},{}\n", row % 2, row % 3, row % 2));
    std::fs::write(&file, rows.collect::<String>()).expect("a scratch folder can be written to");
    let spec = folder.path().join("spec.toml");
    let text_of = ALL_LEARNT.replace("FILE", file.to_str().expect("a plain path"));
    std::fs::write(&spec, text_of).expect("a scratch folder can be written to");
    let run = alone(&["run", spec.to_str().expect("a plain path"), "--local", "1"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let summary = text(&run.stdout);
    let result = summary.lines().find(|line| line.starts_with("result  loss ")).expect(summary);
    assert!(result.contains("(of the last round: nothing was evaluated)"), "{result}");
}

#[test]
fn what_happens_to_a_run_is_told_once() {
    let mut run = Command::new("sh");
    run.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(&binaries().coordinator);
    run.args(["run", "--local", "2", "--model", "softmax", "--epochs", "60"]);
    run.args(["--log-level", "info"]);
    let mut run = run.stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(run.stdout.take().expect("it is piped")).lines();
    let mut said = Vec::new();
    let mut killed = false;
    for line in lines.map_while(Result::ok) {
        if line.starts_with("round ") && !killed {
            let worker = children(run.id())[0];
            kill(worker, Signal::SIGKILL).expect("it is there");
            killed = true;
        }
        said.push(line);
    }
    assert!(run.wait().expect("a child can be waited for").success(), "{said:#?}");
    let lost = said.iter().filter(|line| line.contains(": lost,") || line.contains(") is lost:"));
    assert_eq!(lost.count(), 1, "{said:#?}");
}

#[test]
fn a_worker_that_finds_no_keys_is_told_where_they_are() {
    let mut worker = Command::new(&binaries().worker);
    worker.args(["--coordinator", "127.0.0.1:1", "--keys", "/nowhere/cluster.pem"]);
    let output = worker.output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    let copies = "copy the file from the host on which the cluster's keys were";
    assert!(error.contains("/nowhere/cluster.pem: ") && error.contains(copies), "{error}");
    let makes = error.find("keys new").expect("how keys are made");
    assert!(error.find(copies).is_some_and(|at| at < makes), "{error}");
}

#[test]
fn workers_of_one_name_are_told_apart() {
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let mut workers = [(); 2].map(|()| Logged::worker("twin", &address, &[]));
    let run =
        alone(&[QUICK, &["--quiet", "--min-workers", "2", "--coordinator", &address]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let status = alone(&["status", "--json", "--coordinator", &address]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let names: Vec<_> = status["workers"].as_array().expect("a list").iter().collect();
    let [a, b] = names[..] else { panic!("{status}") };
    let (a, b) = (a["name"].as_str().expect("a name"), b["name"].as_str().expect("a name"));
    assert!(a != b && [a, b].contains(&"twin") && a.starts_with("twin") && b.starts_with("twin"));
    let is_of_one =
        |line: &Value| line["message"].as_str().is_some_and(|it| it.ends_with(", 1 slot"));
    workers[0].log.wait_for(is_of_one).expect("one slot, and no slots");
    workers.iter_mut().for_each(Logged::leave);
    coordinator.leave();
}

#[test]
fn a_run_that_was_cancelled_is_called_so_at_once() {
    let cluster = Cluster::start().with_workers(1, 1);
    let mut client = cluster.submit(ENDLESS);
    client.wait_for("round");
    assert!(command(&cluster, &["cancel", "1"]).status.success());
    let runs = alone(&["runs", "--json", "--runs", cluster.runs().to_str().expect("a path")]);
    let run: Value = serde_json::from_slice(&runs.stdout).expect("JSON");
    assert_eq!(run["state"], "cancelled", "{run}");
}

#[test]
fn a_replay_counts_up_to_the_last_round_that_it_does() {
    let runs = tempfile::tempdir().expect("a folder");
    let runs = runs.path().to_str().expect("a plain path");
    let run = alone(&[QUICK, &["--quiet", "--local", "1", "--runs", runs]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let verify = ["verify", "1", "--rounds", "10..20", "--local", "1", "--runs", runs];
    let screen = on_a_terminal(&verify);
    let bars: Vec<_> = screen.iter().filter(|piece| piece.contains(" round ")).collect();
    assert!(!bars.is_empty() && bars.iter().all(|bar| bar.contains("/20 ")), "{screen:#?}");
}

/// Open files of a coordinator that has few: six peers, and two at the door.
const FEW: usize = 136;

/// Workers that it lets in then.
const WORKERS: usize = 5;

#[test]
fn at_the_limit_of_open_files_somebody_can_still_look() {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {FEW}; exec \"$@\""), "sh"]);
    command.arg(&binaries().coordinator);
    let (mut coordinator, address) = Logged::coordinator_by(command, &[]);
    let said = |line: &Value| line.to_string().contains("`ulimit -n` raises it");
    coordinator.log.wait_for(said).expect("it says what it can do");
    let worker = |number| Logged::worker(&format!("worker-{number}"), &address, &[]);
    let workers: Vec<_> = (0..=WORKERS).map(worker).collect();
    let wanted = WORKERS.to_string();
    let flags = ["--coordinator", &address, "--min-workers", &wanted, "--detach"];
    let run = alone(&[QUICK, &flags].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    // One of the six workers waits outside, and more are there than files.
    let refused = |line: &Value| line.to_string().contains("has 5 workers, which is as many");
    coordinator.log.wait_for(refused).expect("one is refused");
    let strangers: Vec<_> = (0..2 * FEW).map(|_| TcpStream::connect(&address)).collect();
    let followed = alone(&["follow", "1", "--quiet", "--coordinator", &address]);
    assert!(followed.status.success(), "{}", text(&followed.stderr));
    let status = alone(&["status", "--json", "--coordinator", &address]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(WORKERS), "{status}");
    assert_eq!(status["runs"][0]["state"], "finished", "{status}");
    drop((strangers, workers));
    coordinator.leave();
}

#[test]
fn a_limit_of_files_is_as_a_full_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().to_str().expect("a plain path");
    // In blocks of 512 or 1,024 bytes: more than the history takes as it begins, and less
    // than a state of two megabytes.
    let mut run = Command::new("sh");
    run.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh"]).arg(&binaries().coordinator);
    run.args(["run", "--local", "1", "--rounds", "5", "--runs", runs]);
    run.args(["--set", "parameters.hidden=[600, 800]", "--set", "replicas=2", "--quiet"]);
    let output = run.output().expect("it starts");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(error.contains("round-5.safetensors") && error.contains("File too large"), "{error}");
    assert!(text(&output.stdout).contains("\ndigest  "), "the run itself ends well");
}
