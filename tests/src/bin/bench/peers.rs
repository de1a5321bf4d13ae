//! Measures Samebit beside other tools: `bench peers`.
//!
//! All programs of a comparison run in turn, several times, so that a change of the machine's load
//! meets all of them. Samebit is the first program of each comparison.

mod samebit;
mod table;
mod tool;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use samebit::{Build, Exchange, builds};
use table::{Program, Table};
use tool::{Tool, Tools};

/// Measures Samebit beside other tools, by turns, and prints tables in Markdown.
#[derive(Debug, Parser)]
#[command(
    name = "bench peers",
    after_help = "\
Examples:
  bench peers --tools target/peers
  bench peers --tools target/peers --only exchange --turns 9
  bench peers --tools target/peers --old ../before/target/release --only small,memory
  bench peers --tools target/peers --mnist mnist --only mlp,spiking

`tests/peers.sh` builds the tools, and then runs this. A figure is the median of all
turns. A ratio is the median of the ratios of each turn."
)]
struct Options {
    /// Folder with the other tools, made by `tests/peers.sh`
    #[arg(long, value_name = "FOLDER")]
    tools: PathBuf,
    /// Folder with the files of MNIST (idx); without it, `mlp` and `spiking` are
    /// left out
    #[arg(long, value_name = "FOLDER")]
    mnist: Option<PathBuf>,
    /// Folder with the program `bench` of another build, which is measured too
    #[arg(long, value_name = "FOLDER")]
    old: Option<PathBuf>,
    /// Turns of each comparison
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// What to measure [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Rounds that exchange large states
    Exchange,
    /// Rounds with a state of 1 KiB
    Small,
    /// The coordinator's peak memory
    Memory,
    /// Training a network with one hidden layer
    Mlp,
    /// A whole run of the spiking network
    Spiking,
}

/// States that are exchanged (megabytes, workers, measured rounds of a turn), and the tools that do
/// the same.
const EXCHANGES: &[(Exchange, &[Tool])] = &[
    (Exchange::new(100, 2, 10), &[Tool::MpiMemory, Tool::Gloo, Tool::MpiTcp]),
    (Exchange::new(100, 4, 10), &[Tool::MpiMemory, Tool::Gloo, Tool::MpiTcp]),
    (Exchange::new(400, 4, 5), &[Tool::Star]),
    (Exchange::new(100, 2, 10).over_tcp(), &[Tool::Star]),
    (Exchange::new(100, 4, 10).over_tcp(), &[Tool::Star]),
    (Exchange::new(1, 2, 300), &[Tool::MpiTcp, Tool::MpiMemory, Tool::Gloo]),
];

/// The exchange whose peak memory is measured.
const PEAK: Exchange = Exchange::new(400, 4, 2);

/// Runs the comparisons that the arguments ask for.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    match measure(&Options::parse_from(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    let builds = builds(options.old.as_deref())?;
    let mnist = options.mnist.as_deref().map(mnist_folder).transpose()?;
    println!("Turns: {}; {}.", options.turns, table::machine());
    let wanted = if options.only.is_empty() { Part::value_variants() } else { &options.only };
    for part in wanted {
        match (part, mnist.as_deref()) {
            (Part::Exchange, _) => exchange(options, &builds),
            (Part::Small, _) => small(options, &builds),
            (Part::Memory, _) => memory(options, &builds),
            (Part::Mlp, Some(mnist)) => mlp(options, &builds, mnist),
            (Part::Spiking, Some(mnist)) => spiking(options, &builds, mnist),
            (Part::Mlp | Part::Spiking, None) => println!("\n{part:?}: left out without --mnist."),
        }
    }
    Ok(())
}

fn mnist_folder(path: &Path) -> Result<String, String> {
    let path = path.canonicalize().map_err(|error| {
        format!("--mnist: expected a folder with the files of MNIST, found {path:?}: {error}")
    })?;
    Ok(path.to_string_lossy().into_owned())
}

fn exchange(options: &Options, builds: &[Build]) {
    let table = Table::new("Rounds that exchange a state", "ms per round", options.turns);
    let tools = Tools::new(&options.tools);
    for (exchange, beside) in EXCHANGES {
        let ours = builds
            .iter()
            .map(|build| Program::new(&build.name, move || samebit::exchange(build, exchange)));
        let others = beside
            .iter()
            .map(|tool| Program::new(tool.name(), move || tools.exchange(*tool, exchange)));
        table.rows(&exchange.to_string(), ours.chain(others).collect());
    }
}

fn small(options: &Options, builds: &[Build]) {
    let table = Table::new("Small rounds", "rounds per second", options.turns);
    let programs = builds.iter().map(|build| Program::new(&build.name, || samebit::small(build)));
    table.rows("1 KiB, 2 workers", programs.collect());
}

fn memory(options: &Options, builds: &[Build]) {
    let table = Table::new("The coordinator's peak memory", "peak / state", options.turns);
    let programs =
        builds.iter().map(|build| Program::new(&build.name, || samebit::peak(build, &PEAK)));
    table.rows(&PEAK.to_string(), programs.collect());
}

fn mlp(options: &Options, builds: &[Build], mnist: &str) {
    let table = Table::new("MNIST, 784-128-10, momentum 0.9", "s per epoch", options.turns);
    let ours = builds.iter().map(|build| Program::new(&build.name, || samebit::mlp(build, mnist)));
    let tools = Tools::new(&options.tools);
    let numpy = Program::new("numpy, one thread", move || tools.numpy(mnist));
    table.rows("2 workers", ours.chain([numpy]).collect());
}

fn spiking(options: &Options, builds: &[Build], mnist: &str) {
    let title = "MNIST, 400 spiking neurons, one epoch with labels and test";
    let table = Table::new(title, "s per run", options.turns);
    let two =
        builds.iter().map(|build| Program::new(&build.name, || samebit::spiking(build, mnist, 2)));
    let one = Program::new("Samebit, one worker", || samebit::spiking(&builds[0], mnist, 1));
    table.rows("2 workers", two.chain([one]).collect());
}
