//! A cluster with one run.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The flag of a worker that keeps its states out of memory that it shares with the coordinator.
const TCP_ONLY: &str = "--no-shared-memory";

/// How a cluster is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    /// Another build of this program to start, instead of this one.
    pub(crate) program: Option<&'a Path>,
    /// TLS with these keys.
    pub(crate) keys: Option<&'a Path>,
    /// More flags for `serve`.
    pub(crate) serve: &'a [&'a str],
    /// Whether all states go over TCP, also those of workers on the coordinator's host.
    pub(crate) tcp_only: bool,
}

/// A cluster of this program, with workers of one slot and a run.
pub(crate) struct Run {
    /// Where the coordinator listens.
    pub(crate) address: String,
    coordinator: Child,
    workers: Vec<Child>,
    client: Child,
    _spec: tempfile::TempPath,
    _runs: tempfile::TempDir,
}

impl Run {
    /// A run of `ballast` with one replica per worker.
    pub(crate) fn start(elements: u64, workers: u32, rounds: u64, setup: &Setup<'_>) -> Self {
        Self::of_spec(&ballast(elements, workers, rounds), workers, setup)
    }

    /// The run of a spec.
    pub(crate) fn of_spec(spec: &str, workers: u32, setup: &Setup<'_>) -> Self {
        let own = std::env::current_exe().expect("a running program has a path");
        let program = setup.program.unwrap_or(&own);
        let keys = setup.keys.map(|path| path.to_str().expect("a plain path"));
        let keys: Vec<&str> = keys.iter().flat_map(|path| ["--keys", path]).collect();
        let runs = tempfile::tempdir().expect("a folder");
        let folder = runs.path().to_string_lossy();
        let serve = ["coordinator", "serve", "--listen", "127.0.0.1:0", "--runs", &folder];
        let mut coordinator = spawn(program, &[&serve[..], &keys, setup.serve].concat());
        let address = address_of(&mut coordinator);
        let join = ["worker", "--coordinator", &address, "--slots", "1", "--log-level", "warn"];
        let transport: &[&str] =
            if setup.tcp_only && shares_memory(program) { &[TCP_ONLY] } else { &[] };
        let join = [&join[..], &keys, transport].concat();
        let joined = (0..workers).map(|_| spawn(program, &join)).collect();
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        file.write_all(spec.as_bytes()).expect("the spec is written");
        let spec = file.into_temp_path();
        let (workers, path) = (workers.to_string(), spec.to_string_lossy());
        let submit = ["coordinator", "run", &*path, "--coordinator", &address, "--json"];
        let submit = [&submit[..], &["--min-workers", &workers], &keys].concat();
        let client = spawn(program, &submit);
        Self { address, coordinator, workers: joined, client, _runs: runs, _spec: spec }
    }

    /// Time of every round as the coordinator reports it.
    pub(crate) fn round_times(mut self) -> Vec<Duration> {
        round_times(&self.events())
    }

    /// The same, and the coordinator's peak memory in bytes.
    pub(crate) fn round_times_and_peak(mut self) -> (Vec<Duration>, u64) {
        let times = round_times(&self.events());
        (times, memory(self.coordinator.id(), "VmHWM:"))
    }

    /// Seconds of the whole run, with labels and evaluation, as the coordinator reports them;
    /// nothing if the run did not finish.
    pub(crate) fn seconds(mut self) -> Option<f64> {
        let events = self.events();
        let finished = events.iter().find(|event| event["event"] == "finished");
        finished.and_then(|event| event["seconds"].as_f64())
    }

    /// All events of the run.
    fn events(&mut self) -> Vec<Value> {
        let stdout = self.client.stdout.take().expect("stdout is piped");
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.map(|line| serde_json::from_str(&line).expect("a JSON line")).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.client, &mut self.coordinator]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn round_times(events: &[Value]) -> Vec<Duration> {
    let rounds = events.iter().filter(|event| event["event"] == "round");
    let time = |event: &Value| {
        let part = |name: &str| event[name].as_f64().expect("a time in ms");
        Duration::from_secs_f64((part("compute_ms") + part("synchronisation_ms")) / 1e3)
    };
    rounds.map(time).collect()
}

/// Whether workers of this build can share memory with their coordinator.
fn shares_memory(program: &Path) -> bool {
    let help = Command::new(program).args(["worker", "--help"]).output().expect("it starts");
    String::from_utf8_lossy(&help.stdout).contains(TCP_ONLY)
}

fn ballast(elements: u64, workers: u32, rounds: u64) -> String {
    format!(
        "model = \"ballast\"\nreplicas = {workers}\nbatch_size = 1\nrounds = {rounds}\n\
         [parameters]\nelements = {elements}\n[dataset]\nsource = \"digits\"\n"
    )
}

pub(crate) fn spawn(program: &Path, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// Where a coordinator listens that has just been started.
pub(crate) fn address_of(coordinator: &mut Child) -> String {
    let mut line = String::new();
    let stdout = coordinator.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the coordinator says where it is");
    line.trim().strip_prefix("listening on ").expect("an address").to_owned()
}

/// A line of `/proc/PID/status`, in bytes.
pub(crate) fn memory(process: u32, name: &str) -> u64 {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
