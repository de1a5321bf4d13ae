//! Commands and flags of the binary.
//!
//! ```text
//! serve      the coordinator itself
//! run        submit, follow, download        ┐ job: a run from start to end
//! evaluate   the same without training       │
//! predict    the same for each example       │
//! follow     follow and download only        ┘ home: the files a run leaves
//! resume     continues a run that has ended
//! plot       pictures of a final state
//! runs  show  explain    the history of runs, read from its file
//! keys       the keys of a cluster
//! status  cancel  models  datasets  spec
//! ```

mod cluster_flags;
mod evaluate;
mod exit;
mod explain;
mod follow;
mod job;
mod keys;
mod listing;
mod models;
mod output;
mod plot;
mod predict;
mod progress;
mod reconnect;
mod replay;
mod report;
mod resume;
mod runs;
mod screen;
mod serve;
mod show;
mod signals;
mod spec_flags;
mod splits;
mod state_flags;
mod status;
mod summary;
mod table;
mod train;
mod verify;
mod visible;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use common::id::RunId;
use common::keys::{Keys, Member};
use common::model::Registry;
use common::settings::host_and_port;
use common::spec::RunSpec;
use common::wire::handshake::BUILD;
use common::wire::tls::CallerTls;

pub use crate::local::WorkerProgram;
pub use exit::Exit;
use exit::{EXIT_CODES, Failure};

/// Trains a network on many machines and gives the same bits every time.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version = BUILD, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve workers and clients until Ctrl-C or SIGTERM
    Serve(serve::ServeFlags),
    /// Train a network, show its progress, and print a summary
    Run(Box<train::TrainFlags>),
    /// Follow a run, and download its final state
    Follow(follow::FollowFlags),
    /// Continue a run that has failed or was cancelled, or fork it
    Resume(resume::ResumeFlags),
    /// Repeat one shard of a run, alone, in this process
    Replay(replay::ReplayFlags),
    /// Repeat rounds of a run, and compare every shard with the history
    Verify(Box<verify::VerifyFlags>),
    /// Show the workers and runs of a cluster
    Status(status::StatusFlags),
    /// Cancel a run
    #[command(after_help = "Examples:\n  coordinator cancel 3")]
    Cancel {
        /// The run's number, as `run` and `status` print it
        #[arg(value_parser = run_number)]
        run: u64,
        #[command(flatten)]
        address: Address,
    },
    /// List all runs of a runs folder
    Runs(runs::RunsFlags),
    /// Show a run in detail: steps, shards, events, checkpoints
    Show(show::ShowFlags),
    /// Explain why a run was slow or failed
    Explain(explain::ExplainFlags),
    /// Evaluate a trained state on a dataset
    Evaluate(Box<evaluate::EvaluateFlags>),
    /// Predict the class of each example of a file with a trained state
    Predict(Box<predict::PredictFlags>),
    /// Draw a final state, or the learning curve of its run, as a picture
    Plot(plot::PlotFlags),
    /// Create, show, renew and export the keys of a cluster
    Keys(keys::KeysFlags),
    /// List the models that a spec can name, or the parameters of one
    Models(models::ModelsFlags),
    /// List the sources of data that a spec can name
    #[command(after_help = "Examples:\n  coordinator datasets")]
    Datasets,
    /// Print a commented example of a spec
    #[command(
        after_help = "Examples:\n  coordinator spec > my.toml\n  coordinator run my.toml --local 3"
    )]
    Spec,
}

/// The address of the coordinator, and the keys for it.
#[derive(Clone, Debug, Args)]
struct Address {
    /// Address of the coordinator
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SAMEBIT_COORDINATOR",
        default_value = "127.0.0.1:7700",
        value_parser = host_and_port
    )]
    coordinator: String,
    /// Keys file of the cluster, if it has one, made by `coordinator keys`
    #[arg(long, value_name = "FILE", env = "SAMEBIT_KEYS")]
    keys: Option<PathBuf>,
}

impl Address {
    /// TLS settings of this client, from the keys file.
    fn tls(&self) -> Result<Option<CallerTls>, Failure> {
        let Some(path) = &self.keys else { return Ok(None) };
        let tls = Keys::load(path).and_then(|keys| CallerTls::new(&keys, Member::Client));
        tls.map(Some).map_err(Failure::bad_input)
    }
}

/// Reads the number of a run.
fn run_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a run's number, as `coordinator runs` prints it".into())
}

/// A command for which an empty variable counts as not set.
fn without_empty_variables(
    command: clap::Command,
    variable: &impl Fn(&OsStr) -> Option<OsString>,
) -> clap::Command {
    let command = command.mut_args(|flag| {
        let value = flag.get_env().and_then(variable);
        if value.is_some_and(|value| value.is_empty()) { flag.env(None::<&str>) } else { flag }
    });
    command.mut_subcommands(|command| without_empty_variables(command, variable))
}

/// What a program brings along for its command line.
#[derive(Clone, Debug)]
pub struct Program {
    /// The models that it knows.
    pub registry: Registry,
    /// What `--local` starts as a worker, unless `--worker-binary` names another program.
    pub worker: Option<WorkerProgram>,
}

/// All commands and flags, under the name `coordinator`.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses a command line.
///
/// # Errors
/// The exit code, if the command line is wrong or asked for help or the version. What there
/// is to say has been printed.
pub fn parse(
    command: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, ExitCode> {
    let command = without_empty_variables(command, &|name| std::env::var_os(name));
    command.try_get_matches_from(args).map_err(|error| exit_of(&error))
}

fn exit_of(error: &clap::Error) -> ExitCode {
    // If this cannot be written, there is no other place to report it.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Exit::BadInput } else { Exit::Ok } as u8)
}

/// Runs the command that was parsed. Exit codes are those of [`Exit`].
pub fn run_parsed(program: Program, matches: &ArgMatches) -> ExitCode {
    let done = match Cli::from_arg_matches(matches) {
        Ok(cli) => dispatch(program, cli.command),
        Err(error) => return exit_of(&error),
    };
    done.map_or_else(|failure| failure.report(), |()| ExitCode::from(Exit::Ok as u8))
}

/// A whole program of these commands, in which `--local` needs `--worker-binary`.
pub fn run(registry: Registry, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(command(), args) {
        Ok(matches) => run_parsed(Program { registry, worker: None }, &matches),
        Err(code) => code,
    }
}

fn dispatch(program: Program, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(flags) => serve::serve(program.registry, &flags),
        Command::Run(flags) => train::train(program, *flags),
        Command::Follow(flags) => follow::follow(flags),
        Command::Resume(flags) => resume::resume(flags),
        Command::Replay(flags) => replay::replay(&program.registry, &flags),
        Command::Verify(flags) => verify::verify(program, *flags),
        Command::Status(flags) => status::status(&flags),
        Command::Cancel { run, address } => status::cancel(RunId(run), &address),
        Command::Runs(flags) => runs::runs(&flags),
        Command::Show(flags) => show::show(&flags),
        Command::Explain(flags) => explain::explain(&flags),
        Command::Evaluate(flags) => evaluate::evaluate(program, *flags),
        Command::Predict(flags) => predict::predict(program, *flags),
        Command::Plot(flags) => plot::plot(&flags),
        Command::Keys(flags) => keys::keys(flags),
        Command::Models(flags) => models::models(&program.registry, &flags),
        Command::Datasets => print(&report::list(common::dataset::sources().iter().copied())),
        Command::Spec => print(RunSpec::example()),
    }
}

/// Writes text for people to standard output and flushes it.
fn print(text: &str) -> Result<(), Failure> {
    print_raw(&visible::lines(text))
}

/// Writes JSON or a picture, as it is.
fn print_raw(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The runtime for asynchronous work. Half of the cores serve connections, as threads of their own
/// merge and write: more would mostly wake each other.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_empty_is_not_set() {
        let empty = |name: &OsStr| (name == "SAMEBIT_RUNS").then(OsString::new);
        let command = without_empty_variables(Cli::command(), &empty);
        let runs = command.find_subcommand("runs").expect("a command");
        let show = command.find_subcommand("show").expect("a command");
        let variable = |command: &clap::Command, flag: &str| {
            let flag = command.get_arguments().find(|known| known.get_id() == flag);
            flag.expect("a flag").get_env().map(OsStr::to_owned)
        };
        assert_eq!((variable(runs, "runs"), variable(show, "runs")), (None, None));
        let status = command.find_subcommand("status").expect("a command");
        assert_eq!(variable(status, "coordinator"), Some("SAMEBIT_COORDINATOR".into()));
    }

    #[test]
    fn flags_are_consistent_and_every_command_has_examples() {
        Cli::command().debug_assert();
        let cli = Cli::command();
        let commands =
            cli.get_subcommands().flat_map(|one| [one].into_iter().chain(one.get_subcommands()));
        for command in commands {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}
