//! The measurements.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use tests::binaries::binaries;

use crate::run::{Run, Setup, address_of, memory, spawn};
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
    let times = Run::start(256, 2, rounds, &Setup::default()).round_times();
    println!(
        "state of 1 KiB, 2 workers: {:.0} rounds/s over {} rounds\n",
        rate(&times),
        times.len()
    );
}

/// Rounds per second, without the first tenth of them.
pub(crate) fn rate(times: &[Duration]) -> f64 {
    let counted = &times[times.len() / 10..];
    counted.len() as f64 / counted.iter().sum::<Duration>().as_secs_f64()
}

/// Time of a round compared with bare TCP, and the coordinator's memory.
pub(crate) fn sizes(options: &Options) {
    println!("| state MB | workers | round ms | bare TCP ms | ratio | coordinator peak / state |");
    println!("|---|---|---|---|---|---|");
    for &size in &options.sizes {
        for &workers in &options.workers {
            let bytes = size * 1_000_000;
            let bare = bare::exchange(bytes as usize, workers, options.rounds);
            let setup = Setup { tcp_only: options.no_shared_memory, ..Setup::default() };
            let run = Run::start(bytes / 4, workers, options.rounds, &setup);
            let (mut times, peak) = run.round_times_and_peak();
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
    let address = address_of(&mut coordinator);
    let mut worker = spawn(&binaries().worker, &["--coordinator", &address]);
    std::thread::sleep(Duration::from_secs(2));
    let resident = memory(worker.id(), "VmRSS:");
    for child in [&mut worker, &mut coordinator] {
        let _ = child.kill();
        let _ = child.wait();
    }
    resident
}
