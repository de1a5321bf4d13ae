//! `coordinator serve`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use common::keys::{self, Keys, Member};
use common::limits;
use common::model::Registry;
use common::run_settings::CheckpointEvery;
use common::settings::{self, Bytes, LogFormat};
use common::wire::shared_memory;
use common::wire::tls::CoordinatorTls;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::exit::Failure;
use super::signals::signals_and_hangup;
use crate::ledger::{HISTORY_BOUNDS, HISTORY_BYTES};
use crate::runs::RunsFolder;
use crate::server::{self, OnCheckpointError, RunsConfig};

/// How long before their expiry keys are warned about at each start.
const RENEWAL_NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Range of the heartbeat timeout, in seconds: a heartbeat is due every second, and
/// after an hour of silence detection would be useless.
const HEARTBEAT_TIMEOUTS: std::ops::RangeInclusive<f64> = 1.5..=3600.0;

/// Range of the wait for workers of a resumed run, in seconds.
const RESUME_WAITS: std::ops::RangeInclusive<f64> = 0.0..=3600.0;

#[derive(Debug, Args)]
#[command(after_help = "\
Settings come from the file, variables (SAMEBIT_LISTEN, …) and flags: flags take
precedence over variables, and variables over the file.

Examples:
  coordinator serve
  coordinator serve --listen 127.0.0.1:7800 --log-level debug
  coordinator serve --listen 10.0.0.1:7700 --keys cluster.pem
  coordinator serve --config coordinator.toml --print-config")]
pub(super) struct ServeFlags {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings and the source of each, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// The flags that are settings; `None` if a flag was not given.
#[derive(Debug, Default, Args, Serialize)]
struct SettingFlags {
    /// Address to listen on; port 0 chooses a free port [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Keys file of the cluster, made by `coordinator keys new`: only its members
    /// can connect
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<PathBuf>,
    /// Allow to listen beyond loopback without keys: nothing is encrypted, and
    /// everyone who can reach the port can use the cluster
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    insecure: Option<bool>,
    /// Send states to workers on this host instead of sharing memory with them
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    no_shared_memory: Option<bool>,
    /// Directory of the Unix socket by which workers on this host find the memory to
    /// share; the same for all of them [default: samebit in $XDG_RUNTIME_DIR, or
    /// samebit-UID in the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_dir: Option<PathBuf>,
    /// Silence after which a worker counts as lost, in seconds [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = heartbeat_timeout)]
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_timeout: Option<f64>,
    /// Workers that one shard may kill before it fails the run [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    crash_limit: Option<u32>,
    /// Memory for partials that wait to be merged [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    merge_memory: Option<Bytes>,
    /// Memory for example data of runs [default: 8GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_memory: Option<Bytes>,
    /// Runs folder: a coordinator that is restarted on it continues its
    /// unfinished runs [default: runs]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<String>,
    /// When to write checkpoints, in rounds or seconds: `10`, `30s`
    /// [default: 30s]
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_every: Option<CheckpointEvery>,
    /// Number of checkpoints to keep for each run [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_checkpoints: Option<u32>,
    /// What a run does when a checkpoint cannot be written [default: continue]
    #[arg(long, value_name = "WHAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_checkpoint_error: Option<OnCheckpointError>,
    /// Longest time that a run waits after a restart for the workers it had, in
    /// seconds [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = resume_wait)]
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_wait: Option<f64>,
    /// Size of the history of runs; beyond it, rows of old shards are dropped
    /// [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    history_size: Option<Bytes>,
    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// `info,samebit_coordinator=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<String>,
    /// Format of the log [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// Parses a heartbeat timeout. It is checked here because NaN, as a setting, would count as
/// a flag that was not given.
fn heartbeat_timeout(text: &str) -> Result<f64, String> {
    let (least, most) = (HEARTBEAT_TIMEOUTS.start(), HEARTBEAT_TIMEOUTS.end());
    let seconds = text.parse().ok().filter(|seconds| HEARTBEAT_TIMEOUTS.contains(seconds));
    seconds.ok_or_else(|| format!("expected {least} to {most} seconds"))
}

/// Parses the wait for workers.
fn resume_wait(text: &str) -> Result<f64, String> {
    let (least, most) = (RESUME_WAITS.start(), RESUME_WAITS.end());
    let seconds = text.parse().ok().filter(|seconds| RESUME_WAITS.contains(seconds));
    seconds.ok_or_else(|| format!("expected {least} to {most} seconds"))
}

/// The settings of a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServeSettings {
    listen: String,
    keys: Option<PathBuf>,
    insecure: bool,
    no_shared_memory: bool,
    socket_dir: PathBuf,
    heartbeat_timeout: f64,
    crash_limit: u32,
    merge_memory: Bytes,
    data_memory: Bytes,
    runs: String,
    checkpoint_every: CheckpointEvery,
    keep_checkpoints: u32,
    on_checkpoint_error: OnCheckpointError,
    resume_wait: f64,
    history_size: Bytes,
    log_level: String,
    log_format: LogFormat,
}

impl Default for ServeSettings {
    fn default() -> Self {
        let config = server::ServerConfig::default();
        Self {
            listen: "127.0.0.1:7700".into(),
            keys: None,
            insecure: false,
            no_shared_memory: false,
            socket_dir: shared_memory::default_directory(),
            heartbeat_timeout: config.scheduler.heartbeat_timeout.as_secs_f64(),
            crash_limit: config.scheduler.crash_limit,
            merge_memory: Bytes(config.merge_memory),
            data_memory: Bytes(config.data_memory),
            runs: "runs".into(),
            checkpoint_every: CheckpointEvery::default(),
            keep_checkpoints: server::KEEP_CHECKPOINTS,
            on_checkpoint_error: OnCheckpointError::default(),
            resume_wait: limits::RECONNECT_MAX.as_secs_f64(),
            history_size: Bytes(HISTORY_BYTES),
            log_level: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

impl ServeSettings {
    /// The configuration of the server.
    fn to_config(&self) -> Result<server::ServerConfig, Failure> {
        if !HEARTBEAT_TIMEOUTS.contains(&self.heartbeat_timeout) {
            return Err(Failure::bad_input(format!(
                "setting `heartbeat_timeout`: expected {} to {} seconds, found {}",
                HEARTBEAT_TIMEOUTS.start(),
                HEARTBEAT_TIMEOUTS.end(),
                self.heartbeat_timeout
            )));
        }
        if self.crash_limit == 0 {
            return Err(Failure::bad_input("setting `crash_limit`: expected at least 1, found 0"));
        }
        if self.keep_checkpoints == 0 {
            let found = "setting `keep_checkpoints`: expected at least 1, found 0";
            return Err(Failure::bad_input(found));
        }
        if !RESUME_WAITS.contains(&self.resume_wait) {
            return Err(Failure::bad_input(format!(
                "setting `resume_wait`: expected {} to {} seconds, found {}",
                RESUME_WAITS.start(),
                RESUME_WAITS.end(),
                self.resume_wait
            )));
        }
        if !HISTORY_BOUNDS.contains(&self.history_size.0) {
            let (least, most) = (Bytes(*HISTORY_BOUNDS.start()), Bytes(*HISTORY_BOUNDS.end()));
            return Err(Failure::bad_input(format!(
                "setting `history_size`: expected {least} to {most}, found {}",
                self.history_size
            )));
        }
        let mut config = server::ServerConfig {
            merge_memory: self.merge_memory.0,
            data_memory: self.data_memory.0,
            share_memory: (!self.no_shared_memory).then(|| self.socket_dir.clone()),
            ..Default::default()
        };
        config.scheduler.heartbeat_timeout = Duration::from_secs_f64(self.heartbeat_timeout);
        config.scheduler.crash_limit = self.crash_limit;
        Ok(config)
    }

    /// Opens and locks the runs folder.
    fn runs(&self) -> Result<RunsConfig, Failure> {
        let folder = RunsFolder::open(Path::new(&self.runs)).map_err(Failure::bad_input)?;
        Ok(RunsConfig {
            folder,
            checkpoint_every: self.checkpoint_every,
            keep_checkpoints: self.keep_checkpoints,
            on_checkpoint_error: self.on_checkpoint_error,
            resume_wait: Duration::from_secs_f64(self.resume_wait),
            history_bytes: self.history_size.0,
        })
    }

    /// The address to listen on. Refuses addresses beyond loopback without keys.
    async fn address(&self) -> Result<SocketAddr, Failure> {
        let listen = &self.listen;
        let bad = |what: String| Failure::bad_input(format!("setting `listen`: {what}"));
        let address = tokio::net::lookup_host(listen)
            .await
            .map_err(|error| bad(format!("expected HOST:PORT, found {listen:?}: {error}")))?
            .next()
            .ok_or_else(|| bad(format!("{listen:?} has no address")))?;
        if self.is_open_to_all(address) && !self.insecure {
            return Err(bad(format!(
                "other hosts can reach {listen}, and without keys all of them could use the \
                 cluster. Create keys, and copy the file to the hosts of workers and clients:\n  \
                 coordinator keys new cluster.pem\n  \
                 coordinator serve --listen {listen} --keys cluster.pem\n\
                 or admit everyone with --insecure"
            )));
        }
        Ok(address)
    }

    /// Whether other hosts can reach the coordinator although it has no keys.
    fn is_open_to_all(&self, address: SocketAddr) -> bool {
        self.keys.is_none() && !address.ip().is_loopback()
    }

    /// The coordinator's TLS settings, from the keys file.
    fn tls(&self) -> Result<Option<CoordinatorTls>, Failure> {
        let Some(path) = &self.keys else { return Ok(None) };
        let keys = Keys::load(path).map_err(Failure::bad_input)?;
        let tls = CoordinatorTls::new(&keys).map_err(Failure::bad_input)?;
        let identity = keys.identity(Member::Coordinator, keys::now());
        let until = identity.map_err(Failure::bad_input)?.validity.until;
        tracing::info!("keys of the cluster {}, until {}", keys.fingerprint(), keys::date(until));
        if until < keys::now() + RENEWAL_NOTICE.as_secs() {
            tracing::warn!(
                "the keys expire soon: renew them with `coordinator keys renew {}`",
                path.display()
            );
        }
        Ok(Some(tls))
    }
}

/// A warning for an address that looks reachable from other hosts but is on loopback.
fn own_host_only(listen: &str, address: SocketAddr) -> Option<String> {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let is_said = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (address.ip().is_loopback() && !is_said).then(|| {
        format!(
            "{host} is {} on this host, which no other host can reach: listen on an address of \
             this host, or on 0.0.0.0 for all of them",
            address.ip()
        )
    })
}

/// Serves until Ctrl-C, SIGTERM or SIGHUP.
pub(super) fn serve(registry: Registry, flags: &ServeFlags) -> Result<(), Failure> {
    let loaded =
        settings::load::<ServeSettings, SettingFlags>(flags.config.as_deref(), &flags.settings)
            .map_err(Failure::bad_input)?;
    if flags.print_config {
        return super::print(&loaded.to_text());
    }
    let settings = loaded.values;
    let mut config = settings.to_config()?;
    settings::start_logging(settings.log_format, &settings.log_level)
        .map_err(Failure::bad_input)?;
    config.tls = settings.tls()?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let address = settings.address().await?;
        config.insecure = settings.is_open_to_all(address);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {address}: {error}. If another program uses this port, stop it, \
                 or choose another port with --listen (port 0: any free port)"
            ))
        })?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        config.runs = Some(settings.runs()?);
        config.log_by = Some(|filter| settings::log_by(filter).map_err(|error| error.to_string()));
        if let Some(notice) = own_host_only(&settings.listen, address) {
            tracing::warn!("{notice}");
        }
        if config.insecure {
            tracing::warn!("INSECURE: everyone who can reach {address} can use this cluster");
        }
        let mut signals = signals_and_hangup()?;
        // With port 0, scripts read the port from this line.
        super::print(&format!("listening on {address}\n"))?;
        let shutdown = async move { signals.next().await };
        server::serve(listener, registry, config, shutdown)
            .await
            .map_err(|error| Failure::failed(format!("the coordinator has stopped: {error}")))
    });
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_loopback_is_said() {
        let said = |listen, address: &str| own_host_only(listen, address.parse().unwrap());
        let notice = said("head:7700", "127.0.1.1:7700").unwrap();
        assert!(notice.starts_with("head is 127.0.1.1 on this host"), "{notice}");
        assert_eq!(said("localhost:7700", "127.0.0.1:7700"), None);
        assert_eq!(said("[::1]:7700", "[::1]:7700"), None);
        assert_eq!(said("head:7700", "10.0.0.1:7700"), None);
    }

    #[test]
    fn only_loopback_is_open_to_all() {
        let runtime = super::super::runtime().unwrap();
        let address = |listen: &str, insecure| {
            let settings = ServeSettings { listen: listen.into(), insecure, ..Default::default() };
            runtime.block_on(settings.address()).map_err(|failure| failure.exit())
        };
        use super::super::exit::Exit::BadInput;
        assert!(address("127.0.0.1:0", false).is_ok());
        assert!(address("[::1]:0", false).is_ok());
        assert_eq!(address("0.0.0.0:7700", false), Err(BadInput));
        assert!(address("0.0.0.0:7700", true).is_ok());
        let keys = Some("cluster.pem".into());
        let settings = ServeSettings { listen: "0.0.0.0:7700".into(), keys, ..Default::default() };
        assert!(runtime.block_on(settings.address()).is_ok());
        assert_eq!(address("7700", true), Err(BadInput));
    }

    #[test]
    fn a_coordinator_is_told_of_the_room_for_its_history() {
        let scratch = tempfile::tempdir().unwrap();
        let runs = scratch.path().display().to_string();
        let history_size = Bytes(32 << 20);
        let settings = ServeSettings { runs, history_size, ..Default::default() };
        assert_eq!(settings.runs().unwrap().history_bytes, 32 << 20);
    }

    #[test]
    fn settings_out_of_range_are_bad_input() {
        let check = |change: fn(&mut ServeSettings)| {
            let mut settings = ServeSettings::default();
            change(&mut settings);
            settings.to_config().is_ok()
        };
        assert!(check(|_| {}));
        assert!(!check(|settings| settings.heartbeat_timeout = f64::NAN));
        assert!(!check(|settings| settings.heartbeat_timeout = 0.0));
        assert!(!check(|settings| settings.crash_limit = 0));
        assert!(!check(|settings| settings.history_size = Bytes(1 << 20)));
        assert!(!check(|settings| settings.history_size = Bytes(16 << 30)));
        assert!(check(|settings| settings.history_size = Bytes(15 << 30)));
    }
}
