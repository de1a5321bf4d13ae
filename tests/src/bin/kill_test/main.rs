//! Kills coordinators and workers at random, and compares the results:
//! `target/debug/kill_test --runs 50`, after `cargo test --workspace` has built it.
//!
//! Every run must end in the digest of the one-process reference, with each
//! of its shards recorded once.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use clap::Parser;
use tests::kill::{Fault, Report, Scenario, Tally, ride};
use tokio::signal::unix::{SignalKind, signal};

/// From this number of runs on, each kind of fault must have occurred.
const ENOUGH_RUNS: u64 = 20;

/// Number of failed runs after which no more are started.
const FAILURES: usize = 3;

/// Lines of a log that are printed for a failed run.
const LOG_LINES: usize = 15;

/// Kills coordinators and workers at random, and compares the results.
#[derive(Debug, Parser)]
#[command(
    name = "kill_test",
    after_help = "\
Examples:
  kill_test --runs 1000
  kill_test --seed 7 --only 12"
)]
struct Options {
    /// Number of runs, each with its own faults
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seed of the runs and faults [default: a random one]
    #[arg(long)]
    seed: Option<u64>,
    /// Do only the run with this printed number
    #[arg(long)]
    only: Option<u64>,
    /// Number of runs at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    parallel: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(random);
    let numbers = options.only.map_or(0..options.runs, |only| only..only.saturating_add(1));
    println!("seed {seed}");
    let stop = stop_on_signals();
    let started = Instant::now();
    let totals = perform(seed, numbers.clone(), options.parallel, stop);
    let all = numbers.end - numbers.start;
    println!(
        "{} of {all} runs succeeded in {:.0} s; {} shards were delivered after a reconnect, {} failed \
         runs that blamed a shard were resumed, {} faults came too late\nfaults that occurred:",
        totals.ended,
        started.elapsed().as_secs_f64(),
        totals.offered,
        totals.blamed,
        totals.missed,
    );
    for fault in Fault::ALL {
        println!("{:6}  {fault}", totals.fired.count(fault));
    }
    let missing = Fault::ALL.into_iter().find(|fault| totals.fired.count(*fault) == 0);
    if totals.ended < all {
        return ExitCode::FAILURE;
    }
    if all >= ENOUGH_RUNS && (missing.is_some() || totals.offered == 0) {
        let what = missing.map_or("offered shards".into(), |fault| format!("\"{fault}\""));
        println!("there were no {what}, so they were not tested");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A seed that differs each time.
fn random() -> u64 {
    // Short, to be typed again.
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000_000
}

/// What all runs came to.
#[derive(Debug, Default)]
struct Totals {
    ended: u64,
    offered: u64,
    missed: u64,
    blamed: u64,
    fired: Tally,
}

/// Runs all, so many at a time.
fn perform(seed: u64, numbers: Range<u64>, parallel: u64, stop: &'static AtomicBool) -> Totals {
    let (next, failures) = (AtomicU64::new(numbers.start), AtomicUsize::new(0));
    let (sender, ended) = mpsc::channel();
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            let (sender, next, failures) = (sender.clone(), &next, &failures);
            scope.spawn(move || {
                while failures.load(Ordering::Relaxed) < FAILURES && !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    let scenario = Scenario::draw(seed, number);
                    let folder = tempfile::Builder::new().prefix("kill-test-").tempdir();
                    let folder = folder.expect("a folder for logs").keep();
                    let ridden = ride(&scenario, &folder, stop);
                    failures.fetch_add(usize::from(ridden.is_err()), Ordering::Relaxed);
                    let _ = sender.send((scenario, folder, ridden));
                }
            });
        }
        drop(sender);
        for (scenario, folder, ridden) in ended {
            match ridden {
                Ok(report) => {
                    show(&scenario, &report);
                    totals.ended += 1;
                    totals.offered += report.offered;
                    totals.missed += report.missed;
                    totals.blamed += report.blamed;
                    totals.fired.add_all(&report.fired);
                    // What stays is a folder in the folder for such things.
                    let _ = std::fs::remove_dir_all(folder);
                }
                Err(what) => explain(&scenario, &folder, &what),
            }
        }
    });
    totals
}

/// One line of a run.
fn show(scenario: &Scenario, report: &Report) {
    println!(
        "run {:3}: {:7}  {} workers  {:4.1} s  digest ok  {:3} offered  {}",
        scenario.number,
        scenario.spec.model,
        scenario.slots.len(),
        report.seconds,
        report.offered,
        report.fired,
    );
}

/// All there is to know of a run that went wrong.
fn explain(scenario: &Scenario, folder: &Path, what: &str) {
    let Scenario { seed, number, spec, slots, shares_memory, faults } = scenario;
    println!("run {number} of seed {seed} FAILED: {what}");
    println!("again: kill_test --seed {seed} --only {number}");
    println!("its logs and its runs folder: {}", folder.display());
    println!("slots of the workers: {slots:?}; shared memory: {shares_memory}; faults, by round:");
    for planned in faults {
        println!("  {planned:?}");
    }
    println!("spec:\n{}", spec.text);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for path in logs {
        println!("--- the end of {}", path.display());
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| println!("{line}"));
    }
}

/// Set once SIGINT, SIGTERM or SIGHUP has come: then all processes are killed,
/// and this one ends.
fn stop_on_signals() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a thread can wait for signals");
    let guard = runtime.enter();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] =
        kinds.map(|kind| signal(kind).expect("signals can be watched"));
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        STOP.store(true, Ordering::Relaxed);
    });
    &STOP
}
