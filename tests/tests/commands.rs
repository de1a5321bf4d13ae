//! What a person does at the command line, with the real binaries.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::binaries::binaries;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::expected;

use crate::cluster::{MLP, SOFTMAX};

/// A run that goes on until it is stopped.
pub(crate) const ENDLESS: &str = r#"
model = "softmax"
replicas = 4
rounds = 100_000_000
[dataset]
source = "digits"
"#;

/// A run whose weights are beyond f32 within a few rounds.
pub(crate) const DIVERGING: &str = r#"
model = "mlp"
replicas = 8
batch_size = 10
rounds = 300
[parameters]
hidden = [256, 128]
momentum_state = "merged"
learning_rate = 1000.0
momentum = 0.9
[dataset]
source = "digits"
"#;

/// `coordinator ARGS --coordinator ADDRESS`.
pub(crate) fn command(cluster: &Cluster, args: &[&str]) -> Output {
    let mut command = Command::new(&binaries().coordinator);
    command.args(args).args(["--coordinator", &cluster.address]);
    command.stdin(Stdio::null()).output().expect("the command runs")
}

/// `coordinator ARGS`.
pub(crate) fn alone(args: &[&str]) -> Output {
    let mut command = Command::new(&binaries().coordinator);
    command.args(args).stdin(Stdio::null()).output().expect("the command runs")
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a scratch folder can be written to");
    path.to_str().expect("a plain path").to_owned()
}

fn signal(client: &Client, signal: Signal) {
    kill(Pid::from_raw(client.id() as i32), signal).expect("it is there");
}

#[test]
fn a_detached_run_is_followed_and_brought_home_later() {
    let folder = tempfile::tempdir().unwrap();
    let spec = write(folder.path(), "spec.toml", SOFTMAX);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cluster = Cluster::start().with_workers(2, 1);

    let detached = command(&cluster, &["run", &spec, "--detach"]);
    assert!(detached.status.success());
    assert_eq!(text(&detached.stdout), "1\n");
    let told = text(&detached.stderr);
    assert!(told.contains("digits: 1797 examples, 8 × 8 features"), "{told}");
    let followed = command(&cluster, &["follow", "1", "--json", "--output", &path("followed")]);
    assert!(followed.status.success(), "{}", text(&followed.stderr));
    let events = lines(&followed);
    let finished = events.iter().find(|event| event["event"] == "finished").expect("its end");
    assert_eq!(finished["digest"], expected::digest(SOFTMAX).to_string());
    assert_eq!(events.last().unwrap()["event"], "saved");

    let direct = command(&cluster, &["run", &spec, "--quiet", "--output", &path("direct")]);
    assert!(direct.status.success());
    let read = |name| std::fs::read(path(name)).expect("a state");
    assert!(read("followed") == read("direct"), "equal runs write equal files");

    let evaluated = command(&cluster, &["evaluate", &path("direct"), "--json"]);
    assert!(evaluated.status.success(), "{}", text(&evaluated.stderr));
    let of = |events: &[Value]| {
        let found = events.iter().rfind(|event| event["event"] == "evaluation");
        found.expect("an evaluation")["results"].clone()
    };
    assert_eq!(of(&lines(&evaluated)), of(&events));

    let unknown = command(&cluster, &["follow", "77"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("run 77 is unknown"));
    assert_eq!(run_state(&cluster, 1), "finished");
}

/// The columns and rows of a picture.
fn size_of_png(path: &str) -> (u32, u32) {
    let bytes = std::fs::read(path).expect("a picture");
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "{path} is a PNG file");
    assert!(bytes.ends_with(b"IEND\xae\x42\x60\x82"), "{path} is whole");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn a_final_state_and_its_history_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (mlp, softmax) =
        (write(folder.path(), "mlp.toml", MLP), write(folder.path(), "softmax.toml", SOFTMAX));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let plot = |args: &[&str]| {
        let mut command = Command::new(&binaries().coordinator);
        command.args(["plot", &path("state")]).args(args).env_remove("COLORTERM");
        command.stdin(Stdio::null()).output().expect("the command runs")
    };
    let cluster = Cluster::start().with_workers(2, 1);
    let trained = command(&cluster, &["run", &mlp, "--quiet", "--output", &path("state")]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));

    for args in [
        &["--what", "curve"][..],
        &["--what", "confusion"],
        &["--tensor", "layer1.weights"],
        &["--tensor", "layer2.weights", "--width", "6"],
    ] {
        let (one, other) = (path("one.png"), path("other.png"));
        let drawn = plot(&[args, &["--out", &one]].concat());
        assert!(drawn.status.success(), "{}", text(&drawn.stderr));
        assert_eq!(text(&drawn.stdout), "", "a pipe gets no preview");
        let (width, height) = size_of_png(&one);
        assert!((600..1600).contains(&width) && (400..1600).contains(&height), "{args:?}");
        assert!(plot(&[args, &["--out", &other]].concat()).status.success());
        assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{args:?}");
    }
    let shown = plot(&["--what", "confusion", "--preview", "always"]);
    let preview = text(&shown.stdout);
    assert!(preview.starts_with("\x1b[38;2;") && preview.contains('▀'), "{preview:?}");
    assert!(preview.ends_with(" %\n"), "the caption says the accuracy: {preview:?}");
    assert_eq!(plot(&[]).status.code(), Some(2), "no output for the picture");

    let drawn = command(&cluster, &["run", &softmax, "--quiet", "--plot", &path("fields.png")]);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    size_of_png(&path("fields.png"));
    // A model without such a matrix: the picture is missing, and nothing else.
    let (state, picture) = (path("again"), path("none.png"));
    let args = ["follow", "1", "--output", &state, "--plot", &picture];
    let missing = command(&cluster, &args);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stdout).contains(&format!("digest  {}", expected::digest(MLP))));
    assert!(text(&missing.stderr).contains("`layer1.weights`"), "{}", text(&missing.stderr));
    assert!(std::fs::read(state).unwrap() == std::fs::read(path("state")).unwrap());
    assert!(!Path::new(&picture).exists());
}

/// Images of 4 × 4 pixels: the upper half bright, the lower half, and blank ones.
fn halves_and_blanks() -> String {
    let image = |bright: std::ops::Range<usize>, class: usize| {
        let pixel = |place| if bright.contains(&place) { "1," } else { "0," };
        (0..16).map(pixel).collect::<String>() + &format!("{class}\n")
    };
    (0..10).map(|_| image(0..8, 0) + &image(8..16, 1)).collect::<String>() + &image(0..0, 0)
}

#[test]
fn a_spiking_network_warns_of_blank_images_and_is_judged_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("csv:{}", write(folder.path(), "halves.csv", &halves_and_blanks()));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cluster = Cluster::start().with_workers(2, 1);
    let (state, fields) = (path("state"), path("fields.png"));
    let args = ["--model", "spiking", "--dataset", &source, "--epochs", "2", "--replicas", "64"];
    let more = ["--set", "parameters.neurons=10", "--set", "dataset.test_examples=3"];
    let last = ["--set", "dataset.split=last"];
    let home = ["--output", &state, "--plot", &fields];
    let trained = command(&cluster, &[&["run"][..], &args, &more, &last, &home].concat());
    let said = text(&trained.stdout);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    assert!(said.contains("labelling after 2 epochs: 18 examples"), "{said}");
    // The blank image is one of those that judge.
    let warning = "warning too few spikes at the highest intensity: 1 example\n";
    assert!(said.contains(warning) && said.contains("true \\ found"), "{said}");
    let accuracy = said.lines().find(|line| line.starts_with("result")).expect("an accuracy");
    size_of_png(&fields);

    let judged = command(&cluster, &["evaluate", &state]);
    let said = text(&judged.stdout);
    assert!(said.contains(accuracy) && said.contains(warning), "{said}");
    let drawn = command(&cluster, &["follow", "1", "--quiet", "--plot", &path("again.png")]);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    let thresholds = ["plot", &state, "--what", "theta", "--out", &path("theta.png")];
    let drawn = Command::new(&binaries().coordinator).args(thresholds).output().unwrap();
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    assert_eq!(std::fs::read(&fields).unwrap(), std::fs::read(path("again.png")).unwrap());
}

#[test]
fn the_first_interrupt_cancels_and_the_second_one_leaves() {
    let cluster = Cluster::start().with_workers(1, 1);
    let mut client = cluster.submit(ENDLESS);
    client.wait_for("round");
    signal(&client, Signal::SIGINT);
    client.wait_for("cancelled");
    assert_eq!(client.wait().code(), Some(130));

    // A coordinator that says nothing: the client waits for it to cancel.
    let folder = tempfile::tempdir().unwrap();
    let spec = write(folder.path(), "spec.toml", ENDLESS);
    let mut impatient = Command::new(&binaries().coordinator)
        .args(["run", &spec, "--coordinator", &cluster.address, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = Pid::from_raw(impatient.id() as i32);
    let mut events = BufReader::new(impatient.stdout.take().unwrap()).lines();
    assert!(events.any(|line| line.unwrap().contains("\"round\"")));
    std::thread::spawn(move || events.for_each(drop));
    cluster.coordinator.stop();
    kill(process, Signal::SIGINT).unwrap();
    let mut errors = BufReader::new(impatient.stderr.take().unwrap()).lines();
    assert_eq!(errors.next().unwrap().unwrap(), "cancelling run 2; Ctrl-C again exits at once");
    kill(process, Signal::SIGINT).unwrap();
    assert_eq!(impatient.wait().unwrap().code(), Some(130));
    let last = errors.next().unwrap().unwrap();
    assert!(last.contains("interrupted before"), "{last}");
    cluster.coordinator.signal(Signal::SIGCONT);

    // Whether the request was still on its way or not, the run can be cancelled.
    assert!(command(&cluster, &["cancel", "2"]).status.success());
    assert_eq!(run_state(&cluster, 2), "cancelled");
    let detached = command(&cluster, &["run", &spec, "--detach"]);
    assert_eq!(text(&detached.stdout), "3\n");
    let detached = command(&cluster, &["run", &spec, "--detach", "--json"]);
    let events = lines(&detached);
    let names: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["dataset", "submitted"]);
    assert_eq!(events[1]["run"], 4);
    // Whoever only follows leaves the run alone.
    let mut follower = Client::follow(&cluster.address, 3);
    follower.wait_for("round");
    signal(&follower, Signal::SIGINT);
    assert_eq!(follower.wait().code(), Some(130));
    let mut follower = Client::follow(&cluster.address, 3);
    follower.wait_for("round");
    assert!(command(&cluster, &["cancel", "3"]).status.success());
    follower.wait_for("cancelled");
    assert_eq!(follower.wait().code(), Some(130));
}

pub(crate) fn run_state(cluster: &Cluster, run: usize) -> String {
    let output = command(cluster, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["runs"][run - 1]["state"].as_str().expect("a state").to_owned()
}

#[test]
fn exit_codes_say_how_a_run_ended() {
    let mut cluster = Cluster::start().with_workers(1, 1);
    let mut client = cluster.submit(DIVERGING);
    let failed = client.wait_for("failed");
    assert_eq!(client.wait().code(), Some(3));
    let reason = failed["reason"].as_str().unwrap();
    let advice = "the learning rate may be too high";
    assert!(reason.contains("tensor `") && reason.contains(advice), "{reason}");
    // What it says of a replay is true: the shard fails again, alone.
    let (_, replay) = reason.split_once("`coordinator ").expect("a command");
    let words: Vec<&str> = replay.split('`').next().expect("a command").split(' ').collect();
    let runs = cluster.runs().to_str().expect("a plain path");
    let replay = alone(&[&words[..], &["--runs", runs]].concat());
    assert_eq!(replay.status.code(), Some(3));
    let error = text(&replay.stderr);
    assert!(error.contains("error: step") && error.contains("tensor `"), "{error}");
    // Where nothing is kept, the whole run does it.
    let mut again = Client::start(DIVERGING, &["--local", "1"]);
    let failed = again.wait_for("failed");
    assert_eq!(again.wait().code(), Some(3));
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("tensor `") && reason.contains("--local 1"), "{reason}");

    let impatient = ["--coordinator", &cluster.address, "--patience", "0"];
    let mut client = Client::start(ENDLESS, &impatient);
    client.wait_for("round");
    cluster.coordinator.signal(Signal::SIGKILL);
    cluster.coordinator.wait();
    assert_eq!(client.wait().code(), Some(4));
    assert_eq!(command(&cluster, &["status"]).status.code(), Some(4));
    let followed = command(&cluster, &["follow", "2", "--patience", "0"]);
    assert_eq!(followed.status.code(), Some(4));
}

#[test]
fn a_local_cluster_replaces_a_killed_worker_and_leaves_nothing_behind() {
    let spec = format!("{SOFTMAX}\n").replace("epochs = 2", "epochs = 40");
    let mut client = Client::start(&spec, &["--local", "2"]);
    client.wait_for("round");
    let workers = children(client.id());
    assert_eq!(workers.len(), 2);
    kill(workers[0], Signal::SIGKILL).unwrap();
    while client.wait_for("worker")["what"] != "lost" {}
    while client.wait_for("worker")["what"] != "joined" {}
    let workers = children(client.id());
    assert_eq!(client.finish(), expected::digest(&spec));
    assert!(workers.into_iter().all(is_gone));

    let mut client = Client::start(ENDLESS, &["--local", "3"]);
    client.wait_for("round");
    let workers = children(client.id());
    signal(&client, Signal::SIGINT);
    assert_eq!(client.wait().code(), Some(130));
    assert_eq!(workers.len(), 3);
    assert!(workers.into_iter().all(is_gone));
}

/// The processes that a process has started and that have not ended.
pub(crate) fn children(of: u32) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{of}/task")).expect("the process runs");
    let of_thread = |thread: std::fs::DirEntry| {
        std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
    };
    let all: String = threads.flatten().map(of_thread).collect();
    let pids = all.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a number")));
    pids.filter(|pid| !is_gone(*pid)).collect()
}

/// Whether a process has ended, waited for or not.
fn is_gone(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn logs_say_what_was_done_and_how_long_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let spec = write(folder.path(), "spec.toml", SOFTMAX);
    let output = Command::new(&binaries().coordinator)
        .args(["run", &spec, "--local", "1", "--quiet", "--log-level", "info,samebit_worker=debug"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let log = text(&output.stderr);
    for line in log.lines() {
        let (day, rest) = line.split_once(' ').expect("words");
        let time = rest.split(' ').next().expect("words");
        let of = |text: &str, mark| text.split(mark).map(str::len).collect::<Vec<_>>();
        assert_eq!((of(day, '-'), of(time, ':')), (vec![4, 2, 2], vec![2, 2, 6]), "{line}");
    }
    let batch = log.lines().find(|line| line.contains("DEBUG Batch ")).expect("a line a batch");
    assert!(batch.contains(": processed ") && batch.contains(" examples in "), "{batch}");
    let round = log.lines().find(|line| line.contains("INFO round 1 of ")).expect("one a round");
    for part in ["compute_ms", "synchronisation_ms", "synchronisation_share", "memory", "MiB"] {
        assert!(round.contains(part), "{round}");
    }
}

#[test]
fn lists_and_examples() {
    let coordinator = |args: &[&str]| {
        let output = Command::new(&binaries().coordinator).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        text(&output.stdout).to_owned()
    };
    assert!(["softmax", "mlp"].iter().all(|name| coordinator(&["models"]).contains(name)));
    let sources = coordinator(&["datasets"]);
    assert!(["digits", "idx", "npy", "csv"].iter().all(|name| sources.contains(name)));
    let example = coordinator(&["spec"]);
    common::spec::RunSpec::from_toml(&example).expect("the example is a spec");
    let config = coordinator(&["serve", "--print-config", "--listen", "127.0.0.1:7777"]);
    assert!(config.contains("127.0.0.1:7777") && config.contains("default"), "{config}");
}
