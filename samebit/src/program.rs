//! The command line of `samebit`, and of every program that a user builds with models
//! of their own.
//!
//! It combines the coordinator's commands, the worker as one more command, and two
//! commands that print shell completions and manual pages.

mod naming;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches, Subcommand};
use clap_complete::Shell;
use common::model::Registry;
use common::wire::handshake::BUILD;
use coordinator::cli::{Exit, Program, WorkerProgram};

use naming::name_examples;

/// The name of the program if the system does not say it.
const NAME: &str = "samebit";

/// The programs of this package. Their version is Samebit's own.
const OWN_NAMES: [&str; 3] = [NAME, "coordinator", "worker"];

/// The command that runs a worker.
const WORKER: &str = "worker";

// Commands about the program itself. This is no doc comment: clap would make it the help of
// the whole program.
#[derive(Debug, Subcommand)]
enum OwnCommand {
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  coordinator completions bash > coordinator.bash       then: source coordinator.bash
  coordinator completions zsh > _coordinator            in a folder of $fpath
  coordinator completions fish > coordinator.fish       in ~/.config/fish/completions")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages into a folder, one for each command
    #[command(after_help = "\
Examples:
  coordinator man .       then: man ./coordinator-run.1")]
    Man {
        /// The folder; it must exist
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// The whole program: all commands of Samebit, with the models of `registry`. The help and
/// `--version` use the name of the executable file. `--help` lists the exit codes.
///
/// This is all that a user's program needs:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     let registry = samebit::model::Registry::standard();
///     // registry.register("mine", "…", build);
///     samebit::main(registry)
/// }
/// ```
///
/// `run --local N` starts the same executable N times, with `worker` as the first argument.
/// So call `main` first, before the program reads its arguments or does any work. Nothing
/// else in this crate starts a process.
pub fn main(registry: Registry) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = name_of(args.first().map(OsString::as_os_str));
    let matches = match coordinator::cli::parse(command(&name), args) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    match matches.subcommand() {
        Some((WORKER, flags)) => worker::cli::run_parsed(registry, flags),
        Some(("completions" | "man", _)) => run_own(&name, &matches),
        _ => {
            // If the path is unknown, `--worker-binary` has to name a worker.
            let path = std::env::current_exe().ok();
            let worker = path.map(|path| WorkerProgram { path, args: vec![WORKER.into()] });
            coordinator::cli::run_parsed(Program { registry, worker }, &matches)
        }
    }
}

/// The name of the file that was started.
fn name_of(program: Option<&OsStr>) -> String {
    let name = program.and_then(|path| Path::new(path).file_name());
    name.map_or_else(|| NAME.into(), |name| name.to_string_lossy().into_owned())
}

/// All commands, of a program of this name.
fn command(name: &str) -> clap::Command {
    let version =
        if OWN_NAMES.contains(&name) { BUILD.into() } else { format!("(samebit {BUILD})") };
    let worker = worker::cli::command()
        .name(WORKER)
        .about("Work on the runs of a coordinator, until it is told to leave")
        // Listed right after `serve`.
        .display_order(0)
        // `samebit --version` prints it.
        .disable_version_flag(true);
    let worker = name_examples(worker, WORKER, &format!("{name} {WORKER}"));
    let all = coordinator::cli::command().subcommand(worker);
    name_examples(OwnCommand::augment_subcommands(all), "coordinator", name)
        .name(name.to_owned())
        .bin_name(name)
        .version(version)
}

fn run_own(name: &str, matches: &ArgMatches) -> ExitCode {
    let done = match OwnCommand::from_arg_matches(matches) {
        Ok(OwnCommand::Completions { shell }) => completions(name, shell),
        Ok(OwnCommand::Man { folder }) => manual(name, &folder),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(Exit::BadInput as u8)
        }
    }
}

fn completions(name: &str, shell: Shell) -> Result<(), String> {
    if name.contains(char::is_whitespace) {
        return Err(format!(
            "expected a program name without spaces, found \"{name}\": completion scripts cannot \
             contain it; rename the program"
        ));
    }
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(name), name, &mut text);
    match io::stdout().write_all(&text) {
        // A closed pipe (`| head`) is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn manual(name: &str, folder: &Path) -> Result<(), String> {
    clap_mangen::generate_to(command(name), folder).map_err(|error| {
        format!(
            "cannot write manual pages into {}: {error}; name an existing folder that can be \
             written to",
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests;
