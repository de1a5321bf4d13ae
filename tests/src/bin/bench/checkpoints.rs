//! Measures how much checkpoints slow down rounds.

use std::time::Duration;

use crate::Options;
use crate::measure::ms;
use crate::run::{Run, Setup};

/// Bytes of the state.
const STATE: u64 = 400_000_000;

/// When checkpoints are written, alternating: never within a run, at the default interval, and as
/// often as possible.
const TURNS: [(&str, &str); 3] = [("none", "604800s"), ("every 30 s", "30s"), ("every round", "1")];

/// Minimum time of each run: several checkpoints at the default interval.
const RUN: Duration = Duration::from_secs(60);

/// Mean times of rounds with a state of 400 MB and two workers.
pub(crate) fn measure(options: &Options) {
    let rounds = rounds();
    let mut times = [const { Vec::new() }; TURNS.len()];
    for _ in 0..options.checkpoint_turns {
        for (times, (_, every)) in times.iter_mut().zip(TURNS) {
            let setup = Setup { serve: &["--checkpoint-every", every], ..Setup::default() };
            // The first round also sends the data.
            let run = Run::start(STATE / 4, 2, rounds + 1, &setup).round_times();
            times.extend(run.into_iter().skip(1));
        }
    }
    println!(
        "\nstate of 400 MB, 2 workers, {} turns of {rounds} rounds:",
        options.checkpoint_turns
    );
    let means = times.map(|times| times.iter().sum::<Duration>() / times.len() as u32);
    for ((name, _), mean) in TURNS.iter().zip(means) {
        let ratio = mean.as_secs_f64() / means[0].as_secs_f64();
        println!("checkpoints {name}: {} ms a round, ratio {ratio:.2}", ms(mean));
    }
}

/// Rounds that take about as long as a run should.
fn rounds() -> u64 {
    let mut times = Run::start(STATE / 4, 2, 4, &Setup::default()).round_times();
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64().max(1e-3);
    (RUN.as_secs_f64() / median).ceil() as u64
}
