//! Flags and settings of the binary.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use common::id::ProcessId;
use common::keys::{Keys, KeysError, Member};
use common::limits;
use common::memory;
use common::model::Registry;
use common::settings::{self, Bytes, LogFormat, Signals, host_and_port};
use common::text::beginning;
use common::wire::handshake::BUILD;
use common::wire::shared_memory;
use common::wire::tls::CallerTls;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::warn;

use crate::driver::{self, End, WorkerConfig, memory::default_limit};

/// A flag, a variable or a settings file is not valid.
const EXIT_BAD_INPUT: u8 = 2;
/// The coordinator refused the worker, or the system failed.
const EXIT_FAILED: u8 = 3;
/// Interrupted twice.
const EXIT_CANCELLED: u8 = 130;

/// Divisor of the memory limit for the default size of the cache of examples.
const CACHE_SHARE: u64 = 4;

/// Smallest memory limit: the worker itself needs this much.
const MEMORY_LIMIT_MIN: Bytes = Bytes(16 << 20);

/// Threads for blocking work: host names, and the encoding of segments.
const BLOCKING_THREADS: usize = 4;

/// Time limit for leaving in order once standard input has closed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Default time limit for leaving in order, in seconds: less than the 10 s after which
/// `docker stop` kills.
const DRAIN_SECONDS: u64 = 8;

/// Largest value of that limit.
const DRAIN_SECONDS_MAX: u64 = 24 * 3600;

const AFTER_HELP: &str = "\
Examples:
  worker                                       for a coordinator on this machine
  worker --coordinator head:7700 --slots 4     four shards at a time
  worker --coordinator head:7700 --keys cluster.pem
  worker --memory-limit 2GiB --log-level debug
  SAMEBIT_COORDINATOR=head:7700 worker         the address from the environment
  worker --config worker.toml --print-config   shows the source of each setting

Every flag can also be a line of the settings file (`memory_limit = \"2GiB\"`) or
a variable (SAMEBIT_MEMORY_LIMIT). Flags take precedence over variables, and
variables over the file.

On SIGTERM, SIGHUP or Ctrl-C the worker finishes its shards and delivers its
partials, for at most the drain timeout, and exits. A second signal exits at once.
If the coordinator cannot be reached, or its certificate has expired, the worker
keeps trying. If the keys are of another cluster, the worker exits.

Exit codes:
  0    left in order
  2    a flag, a variable or the settings file is not valid
  3    refused by the coordinator, keys of another cluster, or failed to start
  130  interrupted twice";

/// A Samebit worker: computes the work that a coordinator hands out.
#[derive(Debug, Parser, Serialize)]
#[command(name = "worker", version = BUILD, after_help = AFTER_HELP)]
struct Flags {
    /// Address of the coordinator [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: Option<String>,
    /// Keys file of the cluster, if it has one, made by `coordinator keys`
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Shards that run at the same time, one thread each [default: the number of
    /// processors that this process may use]
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Memory to use; if it is too little for all slots, fewer shards run at the
    /// same time [default: the control group's limit or 80 % of the machine's
    /// memory, whichever is less]
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Bytes>,
    /// Memory for cached examples [default: a quarter of the memory limit]
    #[arg(long, value_name = "SIZE")]
    cache_limit: Option<Bytes>,
    /// Be sent states even if the coordinator is on this host, instead of sharing
    /// memory with it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_shared_memory: Option<bool>,
    /// Directory of the Unix socket by which a worker finds a coordinator on this
    /// host; the same as the coordinator's [default: samebit in $XDG_RUNTIME_DIR, or
    /// samebit-UID in the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    socket_dir: Option<PathBuf>,
    /// Longest time to finish shards and deliver partials before the worker
    /// exits, in seconds [default: 8]
    #[arg(long, value_name = "SECONDS")]
    drain_timeout: Option<u64>,
    /// Name of this worker, for people [default: host name and process id]
    #[arg(long)]
    name: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// `samebit_worker=debug` [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Format of the log [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Exit when standard input closes, which means that the parent process is
    /// gone or wants the worker to exit
    #[arg(long)]
    #[serde(skip)]
    exit_on_stdin_close: bool,
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Print the settings and the source of each, and exit
    #[arg(long)]
    #[serde(skip)]
    print_config: bool,
}

/// All settings, named as in the settings file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    coordinator: String,
    keys: Option<PathBuf>,
    slots: u32,
    memory_limit: Bytes,
    cache_limit: Option<Bytes>,
    no_shared_memory: bool,
    socket_dir: PathBuf,
    drain_timeout: u64,
    name: String,
    log_level: String,
    log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            coordinator: "127.0.0.1:7700".into(),
            keys: None,
            slots: u32::try_from(processors).unwrap_or(limits::SLOTS).min(limits::SLOTS),
            memory_limit: Bytes(default_limit()),
            cache_limit: None,
            no_shared_memory: false,
            socket_dir: shared_memory::default_directory(),
            drain_timeout: DRAIN_SECONDS,
            name: default_name(),
            log_level: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

/// The host's name and the process's number.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|char| !char.is_control()).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    let process = std::process::id().to_string();
    let room = limits::NAME_BYTES - process.len() - 1;
    let host = beginning(host, room);
    format!("{host}-{process}")
}

impl Settings {
    /// Checks ranges; the error names the setting.
    fn check(&self) -> Result<(), String> {
        let error = |error| format!("setting `coordinator`: {error}, found {:?}", self.coordinator);
        host_and_port(&self.coordinator).map_err(error)?;
        if !(1..=limits::SLOTS).contains(&self.slots) {
            return Err(format!(
                "setting `slots`: expected 1 to {}, found {}",
                limits::SLOTS,
                self.slots
            ));
        }
        if self.memory_limit < MEMORY_LIMIT_MIN {
            return Err(format!(
                "setting `memory_limit`: expected at least {MEMORY_LIMIT_MIN}, found {}",
                self.memory_limit
            ));
        }
        if let Some(cache) = self.cache_limit
            && cache > self.memory_limit
        {
            return Err(format!(
                "setting `cache_limit`: expected at most the memory limit, {}, found {cache}",
                self.memory_limit
            ));
        }
        if self.drain_timeout > DRAIN_SECONDS_MAX {
            return Err(format!(
                "setting `drain_timeout`: expected at most {DRAIN_SECONDS_MAX} s, found {}",
                self.drain_timeout
            ));
        }
        if !(1..=limits::NAME_BYTES).contains(&self.name.len())
            || self.name.chars().any(char::is_control)
        {
            return Err(format!(
                "setting `name`: expected 1 to {} bytes without control characters, found {:?}",
                limits::NAME_BYTES,
                self.name
            ));
        }
        Ok(())
    }

    /// The worker's TLS settings, from the keys file.
    fn tls(&self) -> Result<Option<CallerTls>, KeysError> {
        let Some(path) = &self.keys else { return Ok(None) };
        CallerTls::new(&Keys::load(path)?, Member::Worker).map(Some)
    }

    /// Lowers the memory limit to `most`, beyond which the system would kill the worker.
    /// Returns a warning if it was higher.
    fn cap_memory(&mut self, most: Bytes) -> Option<String> {
        let found = self.memory_limit;
        if found <= most {
            return None;
        }
        self.memory_limit = most;
        self.cache_limit = self.cache_limit.map(|cache| cache.min(most));
        Some(format!(
            "setting `memory_limit`: expected at most {most}, the limit of the machine or its \
             control group, found {found}: using {most}"
        ))
    }

    fn into_config(self, tls: Option<CallerTls>) -> WorkerConfig {
        let share = Bytes(self.memory_limit.0 / CACHE_SHARE);
        WorkerConfig {
            // As it was checked.
            coordinator: host_and_port(&self.coordinator).unwrap_or(self.coordinator),
            tls,
            name: self.name,
            slots: self.slots,
            memory_limit: self.memory_limit.0,
            cache_limit: self.cache_limit.unwrap_or(share).0,
            process: new_process_id(),
            drain_timeout: Duration::from_secs(self.drain_timeout),
            share_memory: (!self.no_shared_memory).then_some(self.socket_dir),
        }
    }
}

/// A random id of this process, from the random source of the standard library's hash maps.
/// No result depends on it.
fn new_process_id() -> ProcessId {
    ProcessId(RandomState::new().hash_one(std::process::id()))
}

/// All flags, under the name `worker`.
pub fn command() -> clap::Command {
    Flags::command()
}

/// The whole program; `args` begin with its name. The codes are those of `--help`.
pub fn run(registry: Registry, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command().try_get_matches_from(args) {
        Ok(matches) => run_parsed(registry, &matches),
        Err(error) => exit_of(&error),
    }
}

/// Runs a worker with the flags that were parsed. The codes are those of `--help`.
pub fn run_parsed(registry: Registry, matches: &ArgMatches) -> ExitCode {
    let flags = match Flags::from_arg_matches(matches) {
        Ok(flags) => flags,
        Err(error) => return exit_of(&error),
    };
    match start(registry, &flags) {
        Ok(code) => code,
        Err((code, error)) => {
            eprintln!("error: {error}");
            ExitCode::from(code)
        }
    }
}

fn exit_of(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell where even this cannot be written.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { EXIT_BAD_INPUT } else { 0 })
}

fn start(registry: Registry, flags: &Flags) -> Result<ExitCode, (u8, String)> {
    let bad_input = |error: String| (EXIT_BAD_INPUT, error);
    let loaded = settings::load::<Settings, _>(flags.config.as_deref(), flags)
        .map_err(|error| bad_input(error.to_string()))?;
    loaded.values.check().map_err(bad_input)?;
    if flags.print_config {
        print!("{}", loaded.to_text());
        return Ok(ExitCode::SUCCESS);
    }
    memory::return_large_buffers();
    let mut settings = loaded.values;
    settings::start_logging(settings.log_format, &settings.log_level)
        .map_err(|error| bad_input(error.to_string()))?;
    if let Some(warning) = settings.cap_memory(Bytes(memory::hard_limit())) {
        warn!("{warning}");
    }
    let tls = settings.tls().map_err(|error| bad_input(error.to_string()))?;
    // One thread for all I/O: computation has its own pool.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| (EXIT_FAILED, format!("cannot start the worker: {error}")))?;
    let end = runtime.block_on(async {
        let signals = signals(flags.exit_on_stdin_close)
            .map_err(|error| (EXIT_FAILED, format!("cannot watch signals: {error}")))?;
        Ok(driver::run(registry, settings.into_config(tls), signals).await)
    });
    // Shards that are still running must not delay the exit.
    runtime.shutdown_background();
    Ok(match end? {
        End::Left => ExitCode::SUCCESS,
        End::Cancelled => ExitCode::from(EXIT_CANCELLED),
        End::Refused(reason) => {
            tracing::error!("{reason}");
            ExitCode::from(EXIT_FAILED)
        }
    })
}

/// A message for every SIGTERM, SIGHUP and Ctrl-C, and for the end of standard input if
/// `stdin` is set.
fn signals(stdin: bool) -> std::io::Result<mpsc::Receiver<()>> {
    let mut signals = Signals::with_hangup()?;
    let (sender, receiver) = mpsc::channel(2);
    if stdin {
        leave_with_stdin(sender.clone())?;
    }
    tokio::spawn(async move {
        loop {
            signals.next().await;
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Asks the worker to leave when standard input ends, and ends the process if that takes
/// long: without a coordinator, leaving in order might never end.
fn leave_with_stdin(leave: mpsc::Sender<()>) -> std::io::Result<()> {
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        // A failing read means the same as the end.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // If the queue is full, the worker was already asked.
        let _ = leave.try_send(());
        std::thread::sleep(LEAVE_TIMEOUT);
        std::process::exit(EXIT_CANCELLED.into());
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Flags {
        Flags::try_parse_from(std::iter::once("worker").chain(args.iter().copied())).unwrap()
    }

    #[test]
    fn flags_are_settings() {
        Flags::command().debug_assert();
        let flags = parse(&["--slots", "3", "--memory-limit", "2GiB", "--name", "one"]);
        let settings = settings::load::<Settings, _>(None, &flags).unwrap().values;
        settings.check().unwrap();
        let config = settings.into_config(None);
        assert_eq!((config.slots, config.memory_limit, config.name.as_str()), (3, 2 << 30, "one"));
        assert_eq!(config.cache_limit, 512 << 20);
    }

    #[test]
    fn no_limit_is_above_what_the_system_allows() {
        let (limit, cache) = (Bytes(2 << 30), Some(Bytes(1 << 30)));
        let mut settings = Settings { memory_limit: limit, cache_limit: cache, ..<_>::default() };
        assert_eq!(settings.cap_memory(limit), None);
        let warning = settings.cap_memory(Bytes(256 << 20)).unwrap();
        assert!(warning.contains("expected at most 256MiB"), "{warning}");
        let config = settings.into_config(None);
        assert_eq!((config.memory_limit, config.cache_limit), (256 << 20, 256 << 20));
        assert_eq!(Settings::default().cap_memory(Bytes(memory::hard_limit())), None);
    }

    #[test]
    fn defaults_are_in_range() {
        let settings = Settings::default();
        settings.check().unwrap();
        assert_eq!(settings.coordinator, "127.0.0.1:7700");
        // Docker kills after 10 s.
        assert_eq!(settings.drain_timeout, 8);
        assert!(settings.name.ends_with(&std::process::id().to_string()));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 9] = [
            ("coordinator", |settings| settings.coordinator = "head".into()),
            ("coordinator", |settings| settings.coordinator = ":7700".into()),
            ("coordinator", |settings| settings.coordinator = "head:70000".into()),
            ("slots", |settings| settings.slots = 0),
            ("slots", |settings| settings.slots = limits::SLOTS + 1),
            ("memory_limit", |settings| settings.memory_limit = Bytes(1)),
            ("cache_limit", |settings| settings.cache_limit = Some(Bytes(u64::MAX))),
            ("drain_timeout", |settings| settings.drain_timeout = u64::MAX),
            ("name", |settings| settings.name = "a\nb".into()),
        ];
        for (name, change) in wrong {
            let mut settings = Settings::default();
            change(&mut settings);
            let error = settings.check().unwrap_err();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn wrong_flags_are_bad_input() {
        for args in [&["--slots", "many"][..], &["--nonsense"], &["--memory-limit", "2 apples"]] {
            let args = std::iter::once("worker").chain(args.iter().copied()).map(OsString::from);
            let code = run(Registry::empty(), args);
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(EXIT_BAD_INPUT)));
        }
    }
}
