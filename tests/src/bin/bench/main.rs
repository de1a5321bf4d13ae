//! Measures the exchange of states: `cargo run --release -p tests --bin bench`.
//!
//! Prints the tables of `docs/PERFORMANCE.md`. Every figure of the cluster is printed beside that
//! of the same bytes through bare TCP sockets in the same run, because machines differ and are
//! noisy.
//!
//! This program is its own coordinator and worker (`bench coordinator …`,
//! `bench worker …`), with the standard models
//! and one that only has a state of a given size. `bench peers …` measures Samebit beside other
//! tools.

mod ballast;
mod bare;
mod checkpoints;
mod measure;
mod peers;
mod run;
mod secure;

use std::process::ExitCode;

use clap::Parser;

/// Measures the exchange of states.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "\
Examples:
  bench --sizes 1,10 --rounds 10
  bench --sizes 100 --workers 2 --small-rounds 0 --secure-turns 5
  bench --sizes 1 --small-rounds 0 --secure-turns 0 --checkpoint-turns 3
  bench --sizes 100 --no-shared-memory
  bench peers --help                     Samebit beside other tools"
)]
struct Options {
    /// Sizes of the state, in MB
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 400])]
    sizes: Vec<u64>,
    /// Numbers of workers
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4])]
    workers: Vec<u32>,
    /// Rounds of each measurement, of which the median is printed
    #[arg(long, default_value_t = 9)]
    rounds: u64,
    /// Rounds of the measurement with a state of 1 KiB; 0 leaves it and the
    /// measurement of the start out
    #[arg(long, default_value_t = 20_000)]
    small_rounds: u64,
    /// Turns of the measurements of TLS and of unfinished handshakes; 0 leaves
    /// both out
    #[arg(long, default_value_t = 3)]
    secure_turns: u64,
    /// Turns of the measurement of checkpoints; 0 leaves it out
    #[arg(long, default_value_t = 2)]
    checkpoint_turns: u64,
    /// Send the states of the table over TCP, also between processes that could
    /// share memory
    #[arg(long)]
    no_shared_memory: bool,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().collect::<Vec<_>>();
    match args.get(1).and_then(|command| command.to_str()) {
        Some("coordinator") => {
            args.remove(1);
            coordinator::run(ballast::registry(), args)
        }
        Some("worker") => {
            args.remove(1);
            worker::run(ballast::registry(), args)
        }
        Some("peers") => {
            args.remove(1);
            peers::main(args)
        }
        _ => {
            let options = Options::parse();
            if options.small_rounds > 0 {
                measure::start();
                measure::small(options.small_rounds);
            }
            measure::sizes(&options);
            if options.secure_turns > 0 {
                secure::tls(&options);
                secure::crowd(&options);
            }
            if options.checkpoint_turns > 0 {
                checkpoints::measure(&options);
            }
            ExitCode::SUCCESS
        }
    }
}
