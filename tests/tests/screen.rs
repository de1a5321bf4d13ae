//! What a person sees who starts the programs and watches.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::binaries::binaries;
use tests::cluster::Cluster;
use tests::logged::Logged;

use crate::commands::{alone, command, text};

/// A small run of many rounds.
pub(crate) const QUICK: &[&str] =
    &["run", "--model", "softmax", "--replicas", "2", "--rounds", "400"];

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
        let run = events.iter().find_map(|event| event["run"].as_u64());
        (run.expect("its number"), digest)
    };
    let (first, digest) = run(&["--once"]);
    assert_eq!(first, 1);
    assert_eq!(run(&["--once"]), (1, digest.clone()), "the same one");
    assert_eq!(run(&["--once", "--seed", "8"]).0, 2, "another one");
    assert_eq!(run(&[]), (3, digest), "as often as one likes");
}

/// All that comes to a terminal of this name, of 80 columns.
fn bytes_on(terminal_name: &str, args: &[&str]) -> String {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).expect("a terminal");
    let end = || Stdio::from(terminal.slave.try_clone().expect("one more of it"));
    let mut command = Command::new(&binaries().coordinator);
    command.args(args).env("TERM", terminal_name).env_remove("NO_COLOR").env_remove("COLORTERM");
    let mut child =
        command.stdin(Stdio::null()).stdout(end()).stderr(end()).spawn().expect("it starts");
    drop((terminal.slave, command));
    let mut screen = Vec::new();
    // A terminal that nobody writes to any more ends with an error.
    let _ = File::from(terminal.master).read_to_end(&mut screen);
    assert!(child.wait().expect("a child can be waited for").success());
    String::from_utf8(screen).expect("text")
}

/// What comes to a terminal, as text without colours: a piece for each time that the
/// cursor goes back to the left.
pub(crate) fn on_a_terminal(args: &[&str]) -> Vec<String> {
    let screen = bytes_on("xterm", args);
    let mut plain = String::new();
    let mut rest = screen.as_str();
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain += before;
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).map_or(0, |end| end + 1);
        rest = &sequence[end..];
    }
    plain += rest;
    plain.split(['\r', '\n']).filter(|piece| !piece.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_bar_begins_empty_and_fits_the_terminal() {
    let screen = on_a_terminal(&["run", "--local", "1", "--rounds", "30"]);
    let bars: Vec<&String> = screen.iter().filter(|piece| piece.contains(" round ")).collect();
    let first = bars.first().expect("there is a bar");
    assert!(first.contains(" round 0/30") && !first.starts_with('█'), "{first}");
    let last = bars.last().expect("there is a bar");
    assert!(last.starts_with("████████████████ round 30/30  loss "), "{last}");
    assert!(bars.iter().all(|bar| bar.trim_end().chars().count() <= 80), "{bars:#?}");
    let digest = screen.iter().find(|piece| piece.starts_with("digest  "));
    assert!(digest.is_some(), "the summary stands alone: {screen:#?}");
}

#[test]
fn lines_of_the_log_stand_above_the_bar() {
    let run = ["run", "--local", "1", "--rounds", "30", "--log-level", "info"];
    let screen = on_a_terminal(&run);
    let is_bar = |piece: &&String| piece.starts_with(['░', '▏', '█']);
    let lines: Vec<&String> = screen.iter().filter(|piece| piece.contains(" INFO ")).collect();
    assert!(lines.len() > 3 && screen.iter().any(|piece| is_bar(&piece)), "{screen:#?}");
    assert_eq!(lines.into_iter().find(is_bar), None);

    // One that cannot go back, and has no colours, gets lines.
    let screen = bytes_on("dumb", &run);
    assert!(screen.contains(" INFO ") && screen.contains("round 30/30"), "{screen}");
    let lines = screen.replace("\r\n", "\n");
    assert!(!lines.contains(['\r', '\x1b', '█']), "{lines:?}");
}

#[test]
fn a_table_fits_the_terminal_and_goes_into_a_file_whole() {
    let runs = tempfile::tempdir().expect("a folder");
    let runs = runs.path().to_str().expect("a plain path");
    let run = alone(&[QUICK, &["--quiet", "--local", "1", "--runs", runs]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let screen = on_a_terminal(&["show", "1", "--rounds", "--runs", runs]);
    assert!(screen.iter().all(|line| line.chars().count() <= 80), "{screen:#?}");
    assert!(screen.last().expect("a line").starts_with("(left out: "), "{screen:#?}");
    let whole = alone(&["show", "1", "--rounds", "--runs", runs]);
    let header = text(&whole.stdout).lines().next().expect("a header");
    assert!(header.chars().count() > 80 && header.contains("merged"), "{header}");
}

#[test]
fn who_waits_for_workers_says_so_and_lets_others_go_first() {
    let mut cluster = Cluster::start();
    let waits = command(&cluster, &[QUICK, &["--min-workers", "3", "--detach"]].concat());
    assert_eq!(text(&waits.stdout), "1\n");
    let mut quiet = Command::new(&binaries().coordinator);
    quiet.args(QUICK).args(["--quiet", "--coordinator", &cluster.address]);
    let mut quiet = quiet.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    let mut stderr = BufReader::new(quiet.stderr.take().expect("it is piped"));
    stderr.read_line(&mut said).expect("text");
    assert_eq!(said, "run 2 waits for workers: 0 of 1 connected\n");
    cluster.add_worker(1);
    assert!(quiet.wait().expect("a child can be waited for").success());
    said.clear();
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said, "", "it is said once");
    let status = command(&cluster, &["status"]);
    let status = text(&status.stdout);
    assert!(status.contains("\nrun 1 waits for workers: 1 of 3 connected\n"), "{status}");
}

#[test]
fn a_session_that_ends_ends_what_was_started_in_it_but_for_what_is_to_go_on() {
    // What is ignored here is ignored by all that is started here.
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal digits");
    assert_eq!(ignored & 1, 0, "these tests ignore SIGHUP themselves: start them without nohup");
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let mut worker = Logged::worker("one", &address, &[]);
    let mut nohup = Command::new("nohup");
    nohup.arg(&binaries().worker);
    let mut kept = Logged::worker_by(nohup, "two", &address, &["--slots", "1"]);
    let is_connected = |line: &Value| line["message"].as_str().unwrap_or("").contains("connected");
    for worker in [&worker, &kept] {
        worker.log.wait_for(is_connected).expect("it is there");
        worker.signal(Signal::SIGHUP);
    }
    assert_eq!(worker.wait(), Some(0));
    let run = alone(&[QUICK, &["--quiet", "--coordinator", &address]].concat());
    assert!(run.status.success(), "one is left: {}", text(&run.stderr));
    kept.leave();
    coordinator.signal(Signal::SIGHUP);
    assert_eq!(coordinator.wait(), Some(0));
}
