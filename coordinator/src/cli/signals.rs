//! The signals that tell a command to end.

use common::settings;

use super::exit::Failure;

pub(super) use common::settings::Signals;

/// Ctrl-C and SIGTERM.
pub(super) fn signals() -> Result<Signals, Failure> {
    watched(settings::Signals::new())
}

/// Ctrl-C, SIGTERM and SIGHUP, for programs in the background.
pub(super) fn signals_and_hangup() -> Result<Signals, Failure> {
    watched(settings::Signals::with_hangup())
}

fn watched(signals: std::io::Result<Signals>) -> Result<Signals, Failure> {
    signals.map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))
}
