//! How logs are written.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::settings::SettingsError;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Puts another filter in place of the one in use.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The filter that logging was started with, and how to change it.
static STARTED: OnceLock<(String, Reload)> = OnceLock::new();

/// Logs by another filter from now on; `None` goes back to the one that
/// logging was started with. Without logging, only checks it.
pub fn log_by(filter: Option<&str>) -> Result<(), SettingsError> {
    let Some((original, reload)) = STARTED.get() else {
        return filter.map_or(Ok(()), |filter| read_filter(filter).map(drop));
    };
    let filter = filter.unwrap_or(original);
    let error = |error| SettingsError::Filter { filter: filter.into(), error };
    reload(read_filter(filter)?).map_err(error)
}

/// Checks a filter.
pub fn check_log_filter(filter: &str) -> Result<(), SettingsError> {
    read_filter(filter).map(drop)
}

/// Sends logs to standard error. `filter` is in the syntax of
/// `tracing_subscriber`'s `EnvFilter` (`info`, `worker=debug`).
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), SettingsError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(read_filter(filter)?)
        .with_ansi(has_colour())
        .with_writer(std::io::stderr);
    let (outcome, reload): (_, Reload) = match format {
        LogFormat::Text => {
            let builder = builder.with_timer(ShortTime).with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), Box::new(reload))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), Box::new(reload))
        }
    };
    outcome.map_err(|_| SettingsError::LoggingStarted)?;
    // Logging starts once in a process: what is here was put here now.
    let _ = STARTED.set((filter.to_owned(), reload));
    Ok(())
}

/// Whether to colour what is written: for people at a terminal who have not
/// asked for none (<https://no-color.org>). Files and pipes get plain text.
fn has_colour() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Reads a filter. A lone word must be a level: `EnvFilter` would take a
/// mistyped one for a target, and show nothing else.
fn read_filter(filter: &str) -> Result<EnvFilter, SettingsError> {
    let error = |error: String| SettingsError::Filter { filter: filter.into(), error };
    for word in filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ']'])) {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(error(format!("{word:?} is neither")));
        }
    }
    EnvFilter::builder().parse(filter).map_err(|found| error(found.to_string()))
}

/// The time of day, UTC, to the millisecond.
struct ShortTime;

impl FormatTime for ShortTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, millis) = (since.as_secs(), since.subsec_millis());
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(w, "{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets() {
        for filter in ["info", "OFF", "warn,worker=debug", "common[step]=trace", "info,a::b=error"]
        {
            assert!(read_filter(filter).is_ok(), "{filter}");
        }
        for filter in ["", "inof", "worker=loud", "info,,warn", "a=b=c", "info debug"] {
            let error = read_filter(filter).unwrap_err().to_string();
            assert!(error.contains("expected a level"), "{error}");
            assert!(!error.contains("found"), "the filter is said once: {error}");
        }
    }
}
