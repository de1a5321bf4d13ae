//! Measures the cost of keys, and of connections without keys.

use std::time::Duration;

use common::keys::{IDENTITY_DAYS, Keys};
use tests::crowd::Crowd;

use crate::Options;
use crate::measure::ms;
use crate::run::{Run, Setup};

/// Bytes of the state under TLS.
const STATE: u64 = 100_000_000;

/// Connections that are half open at one time.
const CROWD: usize = 2_000;

/// Rounds of one run beside a crowd, with a state of 1 KiB.
const CROWD_ROUNDS: u64 = 10_000;

/// Rounds with a state of 100 MB and two workers, alternating between plain TCP and TLS: rounds that
/// only exchange states, and rounds that also train.
pub(crate) fn tls(options: &Options) {
    let rounds = options.rounds + 1;
    println!("\nstate of 100 MB, 2 workers, {} turns:", options.secure_turns);
    by_turns(options, "exchange alone", |setup| Run::start(STATE / 4, 2, rounds, setup));
    let training = training(rounds);
    by_turns(options, "one batch a replica", |setup| Run::of_spec(&training, 2, setup));
}

fn by_turns(options: &Options, what: &str, run: impl Fn(&Setup<'_>) -> Run) {
    let (_folder, keys) = keys();
    let (mut plain, mut secure) = (Vec::new(), Vec::new());
    for _ in 0..options.secure_turns {
        for (times, keys) in [(&mut plain, None), (&mut secure, Some(keys.path()))] {
            // The first round also sends the data.
            // Shared memory is not encrypted.
            let setup = Setup { keys, tcp_only: true, ..Setup::default() };
            times.extend(run(&setup).round_times().into_iter().skip(1));
        }
    }
    let (plain, secure) = (median(plain), median(secure));
    let ratio = secure.as_secs_f64() / plain.as_secs_f64();
    println!("{what}: plain {} ms a round, TLS {} ms, ratio {ratio:.2}", ms(plain), ms(secure));
}

/// Two replicas of an `mlp` with [`STATE`] bytes, and a batch of 64 digits for
/// each of them in a round.
fn training(rounds: u64) -> String {
    format!(
        "model = \"mlp\"\nreplicas = 2\nbatch_size = 64\nupdate_interval = 1\n\
         rounds = {rounds}\n[parameters]\nhidden = [5000, 4900]\n\
         [dataset]\nsource = \"digits\"\n"
    )
}

/// Rounds per second under TLS with a state of 1 KiB, alternating between alone and beside
/// unfinished handshakes.
pub(crate) fn crowd(options: &Options) {
    let (_folder, keys) = keys();
    let setup = Setup { keys: Some(keys.path()), ..Setup::default() };
    let (mut alone, mut beside, mut opened) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.secure_turns {
        alone.push(rate(Run::start(256, 2, CROWD_ROUNDS, &setup)));
        let run = Run::start(256, 2, CROWD_ROUNDS, &setup);
        let crowd = Crowd::start(&run.address, CROWD);
        beside.push(rate(run));
        opened += crowd.opened();
    }
    for rates in [&mut alone, &mut beside] {
        rates.sort_by(f64::total_cmp);
    }
    let (alone, beside) = (alone[alone.len() / 2], beside[beside.len() / 2]);
    println!("\nstate of 1 KiB, 2 workers, TLS, {} turns:", options.secure_turns);
    println!(
        "{alone:.0} rounds/s alone, {beside:.0} beside {CROWD} half-open connections \
         ({opened} in all), ratio {:.2}",
        beside / alone
    );
}

fn keys() -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cluster.pem");
    let keys = Keys::generate(&path, IDENTITY_DAYS).expect("keys");
    keys.write_new().expect("the file is new");
    (folder, keys)
}

/// Rounds a second, by the median round.
fn rate(run: Run) -> f64 {
    1.0 / median(run.round_times()).as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
