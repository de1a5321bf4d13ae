//! Format and filter of logs.

use std::ffi::OsStr;
use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::keys::date;
use crate::settings::SettingsError;

/// Format of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Replaces the current filter.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The filter that logging was started with, and the handle to change it.
static STARTED: OnceLock<(String, Reload)> = OnceLock::new();

/// Changes the log filter; `None` restores the one that logging was started with. If logging
/// was not started, only checks the filter.
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
/// `tracing_subscriber`'s `EnvFilter` (`info`, `samebit_worker=debug`).
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), SettingsError> {
    start_logging_to(format, filter, std::io::stderr)
}

/// The same, written by `writer` in place of standard error, one line at a time.
pub fn start_logging_to<W: std::io::Write + 'static>(
    format: LogFormat,
    filter: &str,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(), SettingsError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(read_filter(filter)?)
        .with_ansi(has_colour())
        .with_writer(writer);
    let (outcome, reload): (_, Reload) = match format {
        LogFormat::Text => {
            let builder = builder.with_timer(Utc).with_target(false).with_filter_reloading();
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
    // Logging starts once in a process, so this filter was set just now.
    let _ = STARTED.set((filter.to_owned(), reload));
    Ok(())
}

/// Whether to use colours on standard error: on a terminal that supports them, unless the
/// user turned them off (<https://no-color.org>). Files and pipes get plain text, unless
/// `CLICOLOR_FORCE` says that a terminal is at their end.
pub fn has_colour() -> bool {
    let variable = |name| std::env::var_os(name).unwrap_or_default();
    let terminal = std::io::stderr().is_terminal();
    may_colour(terminal, &variable("NO_COLOR"), &variable("TERM"), &variable("CLICOLOR_FORCE"))
}

fn may_colour(terminal: bool, no_color: &OsStr, term: &OsStr, force: &OsStr) -> bool {
    let forced = !force.is_empty() && force != "0";
    no_color.is_empty() && (forced || (terminal && term != "dumb"))
}

/// Parses a filter. A single word must be a level: `EnvFilter` would take a mistyped level
/// for a target, and log nothing else.
fn read_filter(filter: &str) -> Result<EnvFilter, SettingsError> {
    let error = |error: String| SettingsError::Filter { filter: filter.into(), error };
    for word in filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ']'])) {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(error(format!("{word:?} is not a level")));
        }
    }
    EnvFilter::builder().parse(filter).map_err(|found| error(found.to_string()))
}

/// Date and time of day, UTC, to the millisecond.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        w.write_str(&date_and_time(since))
    }
}

fn date_and_time(since_1970: Duration) -> String {
    let (seconds, millis) = (since_1970.as_secs(), since_1970.subsec_millis());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let day = date(seconds);
    format!("{day} {hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_date() {
        let time = Duration::from_millis(951_782_399_042);
        assert_eq!(date_and_time(time), "2000-02-28 23:59:59.042");
    }

    #[test]
    fn colours_are_for_terminals_that_can() {
        let colour = |terminal, no_color: &str, term: &str, force: &str| {
            may_colour(terminal, no_color.as_ref(), term.as_ref(), force.as_ref())
        };
        assert!(colour(true, "", "xterm", "") && colour(true, "", "", ""));
        assert!(!colour(true, "", "dumb", "") && !colour(true, "1", "xterm", ""));
        assert!(!colour(false, "", "xterm", "") && colour(false, "", "xterm", "1"));
        assert!(!colour(false, "1", "xterm", "1") && !colour(false, "", "xterm", "0"));
    }

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
