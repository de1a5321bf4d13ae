//! What Samebit is measured at.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::measure::rate;
use crate::peers::table::median;
use crate::run::{Run, Setup};

/// Rounds of one measurement with a state of 1 KiB.
const SMALL_ROUNDS: u64 = 20_000;

/// Epochs of one measurement of [`mlp`]; the first one, which also sends the data, does not count.
pub(crate) const EPOCHS: usize = 4;

/// Rounds of an epoch of [`mlp`]: 60,000 examples, two replicas, 20 batches of 50.
const ROUNDS_PER_EPOCH: usize = 30;

/// A build of Samebit.
#[derive(Debug)]
pub(crate) struct Build {
    /// Its name in a table.
    pub(crate) name: String,
    /// Its program `bench`; this program if there is none.
    program: Option<PathBuf>,
}

impl Build {
    fn setup(&self) -> Setup<'_> {
        Setup { program: self.program.as_deref(), ..Setup::default() }
    }
}

/// This build, and the one in a folder if there is one.
pub(crate) fn builds(old: Option<&Path>) -> Result<Vec<Build>, String> {
    let mut builds = vec![Build { name: "Samebit".into(), program: None }];
    if let Some(folder) = old {
        let program = folder.join("bench");
        let program = program.canonicalize().map_err(|error| {
            format!(
                "--old: expected a folder with the program `bench`, found {}: {error}; \
                 `cargo build --release -p tests --bin bench` makes it in target/release",
                program.display()
            )
        })?;
        builds.push(Build { name: "Samebit, other build".into(), program: Some(program) });
    }
    Ok(builds)
}

/// A state that is exchanged with workers on one host.
#[derive(Debug)]
pub(crate) struct Exchange {
    megabytes: u64,
    pub(crate) workers: u32,
    measured_rounds: u64,
    over_tcp: bool,
}

impl Exchange {
    pub(crate) const fn new(megabytes: u64, workers: u32, measured_rounds: u64) -> Self {
        Self { megabytes, workers, measured_rounds, over_tcp: false }
    }

    /// The same without shared memory.
    pub(crate) const fn over_tcp(self) -> Self {
        Self { over_tcp: true, ..self }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.megabytes * 1_000_000
    }

    /// The rounds of a run: the first one, which also connects or sends the data, does not count.
    pub(crate) fn rounds(&self) -> u64 {
        self.measured_rounds + 1
    }

    fn start(&self, build: &Build) -> Run {
        let setup = Setup { tcp_only: self.over_tcp, ..build.setup() };
        Run::start(self.bytes() / 4, self.workers, self.rounds(), &setup)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.over_tcp { ", Samebit over TCP" } else { "" };
        write!(f, "{} MB, {} workers{transport}", self.megabytes, self.workers)
    }
}

/// Milliseconds of a round.
pub(crate) fn exchange(build: &Build, exchange: &Exchange) -> Result<f64, String> {
    let times = exchange.start(build).round_times();
    median(times.iter().skip(1).map(|time| time.as_secs_f64() * 1e3))
}

/// The coordinator's peak memory relative to the state.
pub(crate) fn peak(build: &Build, exchange: &Exchange) -> Result<f64, String> {
    let (_, peak) = exchange.start(build).round_times_and_peak();
    Ok(peak as f64 / exchange.bytes() as f64)
}

/// Rounds per second with a state of 1 KiB and two workers.
pub(crate) fn small(build: &Build) -> Result<f64, String> {
    Ok(rate(&Run::start(256, 2, SMALL_ROUNDS, &build.setup()).round_times()))
}

/// Seconds of an epoch of MNIST with two workers: two replicas, merged every 20 batches of 50.
pub(crate) fn mlp(build: &Build, mnist: &str) -> Result<f64, String> {
    let spec = format!(
        "model = \"mlp\"\nreplicas = 2\nbatch_size = 50\nupdate_interval = 20\nepochs = {EPOCHS}\n\
         [parameters]\nhidden = [128]\nmomentum = 0.9\n{}",
        dataset(mnist)
    );
    let times = Run::of_spec(&spec, 2, &build.setup()).round_times();
    let epochs = times.chunks_exact(ROUNDS_PER_EPOCH);
    median(epochs.skip(1).map(|epoch| epoch.iter().map(|time| time.as_secs_f64()).sum()))
}

/// Seconds of a run of one epoch of the spiking network, with labels and test.
pub(crate) fn spiking(build: &Build, mnist: &str, workers: u32) -> Result<f64, String> {
    let spec =
        format!("model = \"spiking\"\nepochs = 1\n[parameters]\nneurons = 400\n{}", dataset(mnist));
    let seconds = Run::of_spec(&spec, workers, &build.setup()).seconds();
    seconds.ok_or_else(|| "the run did not finish".into())
}

fn dataset(mnist: &str) -> String {
    format!("[dataset]\nsource = {}\n", toml::Value::from(format!("idx:{mnist}")))
}
