//! The signals that tell a process to leave.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handles SIGTERM, Ctrl-C and optionally SIGHUP.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Handles SIGTERM and Ctrl-C. It also turns a file that reaches the system's size limit
    /// (`ulimit -f`) into an error of the write, like a full disk, so that it does not end
    /// the process.
    ///
    /// # Errors
    /// The error of the system.
    pub fn new() -> io::Result<Self> {
        // The handler stays installed, even if nothing awaits the signal.
        #[cfg(target_os = "linux")]
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// Handles SIGHUP as well, which is sent when a session ends. A process that was started
    /// to ignore it (`nohup`) continues to ignore it.
    ///
    /// # Errors
    /// The error of the system.
    pub fn with_hangup() -> io::Result<Self> {
        let hangup = if is_ignored(SignalKind::hangup()) {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self { hangup, ..Self::new()? })
    }

    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(()) = received(&mut self.hangup) => {}
        }
    }
}

async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal (known on Linux only).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind.as_raw_value())
}

/// Whether a process of this status ignores a signal.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_is_ignored() {
        let hangup = SignalKind::hangup().as_raw_value();
        assert!(ignores("Name:\tx\nSigIgn:\t0000000000001001\n", hangup));
        assert!(!ignores("Name:\tx\nSigIgn:\t0000000000001000\n", hangup));
        assert!(!ignores("", hangup));
    }
}
