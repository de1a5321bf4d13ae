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
use common::wire::tls::CoordinatorTls;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::exit::Failure;
use super::signals::signals_and_hangup;
use crate::ledger::{HISTORY_BOUNDS, HISTORY_BYTES};
use crate::runs::RunsFolder;
use crate::server::{self, OnCheckpointError, RunsConfig};

/// How long before keys expire every start says so.
const RENEWAL_NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Heartbeat timeouts that make sense, in seconds: a heartbeat is due every
/// second, and silence of an hour is no liveness at all.
const HEARTBEAT_TIMEOUTS: std::ops::RangeInclusive<f64> = 1.5..=3600.0;

/// Waits for workers that make sense, in seconds.
const RESUME_WAITS: std::ops::RangeInclusive<f64> = 0.0..=3600.0;

#[derive(Debug, Args)]
#[command(after_help = "\
Settings come from the file, then from variables (SAMEBIT_LISTEN, …), then from
flags, the later before the earlier.

Examples:
  coordinator serve
  coordinator serve --listen 127.0.0.1:7800 --log-level debug
  coordinator serve --listen 10.0.0.1:7700 --keys cluster.pem
  coordinator serve --config coordinator.toml --print-config")]
pub(super) struct ServeFlags {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings and where each came from, and leave
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// The flags that are settings: nothing where a flag was not given.
#[derive(Debug, Default, Args, Serialize)]
struct SettingFlags {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Keys of the cluster, the file that `coordinator keys new` made: nobody
    /// else is let in
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<PathBuf>,
    /// Listen beyond loopback without keys: nothing is encrypted, and whoever
    /// reaches the port can use the cluster
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    insecure: Option<bool>,
    /// Silence after which a worker is lost, in seconds [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = heartbeat_timeout)]
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_timeout: Option<f64>,
    /// Workers that may die while running one shard before it fails the run
    /// [default: 3]
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
    /// Folder that runs are kept in: a coordinator that is started on it again
    /// goes on with what is unfinished [default: runs]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<String>,
    /// When to write checkpoints, in rounds or seconds: `10`, `30s`
    /// [default: 30s]
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_every: Option<CheckpointEvery>,
    /// Checkpoints to keep of a run, the last ones [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_checkpoints: Option<u32>,
    /// What a run does when a checkpoint cannot be written [default: continue]
    #[arg(long, value_name = "WHAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_checkpoint_error: Option<OnCheckpointError>,
    /// Longest wait of a run that goes on for the workers that it had, in
    /// seconds [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = resume_wait)]
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_wait: Option<f64>,
    /// Room for the history of runs; beyond it, rows of old shards go [default:
    /// 4GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    history_size: Option<Bytes>,
    /// What to log: error, warn, info, debug, trace, or a filter as
    /// `info,samebit_coordinator=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<String>,
    /// How to log [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// Reads a heartbeat timeout. NaN would get no further as a setting, which is
/// plain data, and pass for a flag that was not given.
fn heartbeat_timeout(text: &str) -> Result<f64, String> {
    let (least, most) = (HEARTBEAT_TIMEOUTS.start(), HEARTBEAT_TIMEOUTS.end());
    let seconds = text.parse().ok().filter(|seconds| HEARTBEAT_TIMEOUTS.contains(seconds));
    seconds.ok_or_else(|| format!("expected {least} to {most} seconds"))
}

/// Reads a wait for workers.
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
        let config = server::Config::default();
        Self {
            listen: "127.0.0.1:7700".into(),
            keys: None,
            insecure: false,
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
    /// What the server is told.
    fn to_config(&self) -> Result<server::Config, Failure> {
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
        let mut config = server::Config {
            merge_memory: self.merge_memory.0,
            data_memory: self.data_memory.0,
            ..Default::default()
        };
        config.scheduler.heartbeat_timeout = Duration::from_secs_f64(self.heartbeat_timeout);
        config.scheduler.crash_limit = self.crash_limit;
        Ok(config)
    }

    /// The runs folder, this coordinator's alone from now on.
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

    /// The address to listen on, if it may be listened on.
    async fn address(&self) -> Result<SocketAddr, Failure> {
        let listen = &self.listen;
        let bad = |what: String| Failure::bad_input(format!("setting `listen`: {what}"));
        let address = tokio::net::lookup_host(listen)
            .await
            .map_err(|error| bad(format!("expected HOST:PORT, found {listen:?} ({error})")))?
            .next()
            .ok_or_else(|| bad(format!("{listen:?} has no address")))?;
        if self.is_open_to_all(address) && !self.insecure {
            return Err(bad(format!(
                "{listen} can be reached from other hosts, and whoever reaches it could use \
                 the cluster. Make keys, and copy them to the hosts of workers and clients:\n  \
                 coordinator keys new cluster.pem\n  \
                 coordinator serve --listen {listen} --keys cluster.pem\n\
                 or let everybody in, with --insecure"
            )));
        }
        Ok(address)
    }

    /// Whether other hosts can reach the coordinator, and anybody is let in.
    fn is_open_to_all(&self, address: SocketAddr) -> bool {
        self.keys.is_none() && !address.ip().is_loopback()
    }

    /// What the coordinator proves itself by.
    fn tls(&self) -> Result<Option<CoordinatorTls>, Failure> {
        let Some(path) = &self.keys else { return Ok(None) };
        let keys = Keys::load(path).map_err(Failure::bad_input)?;
        let tls = CoordinatorTls::new(&keys).map_err(Failure::bad_input)?;
        let identity = keys.identity(Member::Coordinator, keys::now());
        let until = identity.map_err(Failure::bad_input)?.validity.until;
        tracing::info!("keys of the cluster {}, until {}", keys.fingerprint(), keys::date(until));
        if until < keys::now() + RENEWAL_NOTICE.as_secs() {
            tracing::warn!("they expire soon: `coordinator keys renew {}`", path.display());
        }
        Ok(Some(tls))
    }
}

/// What to say of an address that looks as if other hosts could reach it, and is on
/// loopback.
fn own_host_only(listen: &str, address: SocketAddr) -> Option<String> {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let is_said = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (address.ip().is_loopback() && !is_said).then(|| {
        format!(
            "{host} is {} on this host, which no other host can reach: name an address of this \
             host, or 0.0.0.0 for all of them",
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
                "cannot listen on {address}: {error}; is another coordinator running there?"
            ))
        })?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        config.runs = Some(settings.runs()?);
        config.log_by = Some(|filter| settings::log_by(filter).map_err(|error| error.to_string()));
        if let Some(notice) = own_host_only(&settings.listen, address) {
            tracing::warn!("{notice}");
        }
        if config.insecure {
            tracing::warn!("INSECURE: whoever reaches {address} can use this cluster");
        }
        let mut signals = signals_and_hangup()?;
        // Scripts read the port from this line when they asked for a free one.
        super::print(&format!("listening on {address}\n"))?;
        let shutdown = async move { signals.next().await };
        server::serve(listener, registry, config, shutdown)
            .await
            .map_err(|error| Failure::failed(format!("the server has stopped: {error}")))
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
