//! The measurements.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::binaries::binaries;

use crate::{Options, bare};

/// Repetitions of the measurement of a launch.
const LAUNCHES: usize = 9;

/// Time from the start to the first merged round, and memory of an idle worker.
pub(crate) fn start() {
    let mut times = (0..LAUNCHES).map(|_| first_round()).collect::<Vec<_>>();
    times.sort_unstable();
    println!("launch of `run --local 2` to the first merged round: {} ms", ms(times[LAUNCHES / 2]));
    println!("idle worker: {:.1} MB resident\n", idle_worker() as f64 / 1e6);
}

/// Rounds a second with a state of 1 KiB.
pub(crate) fn small(rounds: u64) {
    let run = Run::start(256, 2, rounds, None);
    let times = run.round_times();
    let total: Duration = times.iter().skip(times.len() / 10).sum();
    let rate = (times.len() - times.len() / 10) as f64 / total.as_secs_f64();
    println!("state of 1 KiB, 2 workers: {rate:.0} rounds/s over {} rounds\n", times.len());
}

/// Time of a round compared with bare TCP, and the coordinator's memory.
pub(crate) fn sizes(options: &Options) {
    println!("| state MB | workers | round ms | bare TCP ms | ratio | coordinator peak / state |");
    println!("|---|---|---|---|---|---|");
    for &size in &options.sizes {
        for &workers in &options.workers {
            let bytes = size * 1_000_000;
            let bare = bare::exchange(bytes as usize, workers, options.rounds);
            let run = Run::start(bytes / 4, workers, options.rounds, None);
            let coordinator = run.coordinator.id();
            let (mut times, peak) = run.round_times_while(|| peak_memory(coordinator));
            times.sort_unstable();
            let round = times[times.len() / 2];
            println!(
                "| {size} | {workers} | {} | {} | {:.2} | {:.2} |",
                ms(round),
                ms(bare),
                round.as_secs_f64() / bare.as_secs_f64(),
                peak as f64 / bytes as f64,
            );
        }
    }
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// A cluster of this program with a run.
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
    /// `ballast`; under TLS, if there are keys.
    pub(crate) fn start(elements: u64, workers: u32, rounds: u64, keys: Option<&Path>) -> Self {
        Self::start_with(elements, workers, rounds, keys, &[])
    }

    /// The same with more flags for `serve`.
    pub(crate) fn start_with(
        elements: u64,
        workers: u32,
        rounds: u64,
        keys: Option<&Path>,
        flags: &[&str],
    ) -> Self {
        Self::of_spec(&ballast(elements, workers, rounds), workers, keys, flags)
    }

    /// A spec.
    pub(crate) fn of_spec(spec: &str, workers: u32, keys: Option<&Path>, flags: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        let keys = keys.map(|path| path.to_str().expect("a plain path"));
        let keys: Vec<&str> = keys.iter().flat_map(|path| ["--keys", path]).collect();
        let runs = tempfile::tempdir().expect("a folder");
        let folder = runs.path().to_string_lossy();
        let serve = ["coordinator", "serve", "--listen", "127.0.0.1:0", "--runs", &folder];
        let mut coordinator = spawn(&program, &[&serve[..], &keys, flags].concat());
        let mut line = String::new();
        let stdout = coordinator.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the coordinator says where it is");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        let join = ["worker", "--coordinator", &address, "--slots", "1", "--log-level", "warn"];
        let join = [&join[..], &keys].concat();
        let joined = (0..workers).map(|_| spawn(&program, &join)).collect();
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        file.write_all(spec.as_bytes()).expect("the spec is written");
        let spec = file.into_temp_path();
        let (workers, path) = (workers.to_string(), spec.to_string_lossy());
        let submit = ["coordinator", "run", &*path, "--coordinator", &address, "--json"];
        let submit = [&submit[..], &["--min-workers", &workers], &keys].concat();
        let client = spawn(&program, &submit);
        Self { address, coordinator, workers: joined, client, _runs: runs, _spec: spec }
    }

    pub(crate) fn round_times(self) -> Vec<Duration> {
        self.round_times_while(|| ()).0
    }

    /// Time of every round as the coordinator reports it, and what `last`
    /// gives when all are done.
    fn round_times_while<T>(mut self, last: impl FnOnce() -> T) -> (Vec<Duration>, T) {
        let stdout = self.client.stdout.take().expect("stdout is piped");
        let mut times = Vec::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).expect("a JSON line");
            if event["event"] == "round" {
                let part = |name: &str| event[name].as_f64().expect("a time in ms");
                let ms = part("compute_ms") + part("synchronisation_ms");
                times.push(Duration::from_secs_f64(ms / 1e3));
            }
        }
        (times, last())
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

/// A run of `rounds` rounds with one replica per worker.
fn ballast(elements: u64, workers: u32, rounds: u64) -> String {
    format!(
        "model = \"ballast\"\nreplicas = {workers}\nbatch_size = 1\nrounds = {rounds}\n\
         [parameters]\nelements = {elements}\n[dataset]\nsource = \"digits\"\n"
    )
}

fn spawn(program: &Path, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

fn first_round() -> Duration {
    let start = Instant::now();
    let mut child =
        spawn(&binaries().coordinator, &["run", "--local", "2", "--rounds", "3", "--json"]);
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let found = lines.any(|line| line.contains("\"event\":\"round\""));
    let time = start.elapsed();
    assert!(found, "the run has rounds");
    lines.for_each(drop);
    let _ = child.wait();
    time
}

/// Resident bytes of a worker that has joined and waits.
fn idle_worker() -> u64 {
    let runs = tempfile::tempdir().expect("a folder");
    let folder = runs.path().to_string_lossy();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--runs", &folder];
    let mut coordinator = spawn(&binaries().coordinator, &serve);
    let mut line = String::new();
    let stdout = coordinator.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the coordinator says where it is");
    let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    let mut worker = spawn(&binaries().worker, &["--coordinator", &address]);
    let status = PathBuf::from(format!("/proc/{}/status", worker.id()));
    std::thread::sleep(Duration::from_secs(2));
    let resident = memory(&status, "VmRSS:");
    for child in [&mut worker, &mut coordinator] {
        let _ = child.kill();
        let _ = child.wait();
    }
    resident
}

fn peak_memory(process: u32) -> u64 {
    memory(&PathBuf::from(format!("/proc/{process}/status")), "VmHWM:")
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(status: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(status).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
