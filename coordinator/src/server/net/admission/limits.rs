//! The limits on the number of connections at one time.

use common::limits as most;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::server::net::sharing::{SHARING_WORKERS, SOCKET_CONNECTIONS};

/// Open files that are not connections: files of runs, the standard streams, the listener,
/// connections that are about to close, and memory that workers share with its socket.
const OTHER_FILES: u64 = 256;

// Half of them are not about memory.
const _: () = assert!((SHARING_WORKERS + SOCKET_CONNECTIONS) as u64 <= OTHER_FILES / 2);

/// Most connections that are reserved for clients.
const CLIENTS: usize = 64;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct ConnectionLimits {
    /// Connections that have not finished the handshake.
    pub(in crate::server) handshakes: usize,
    /// Connections of accepted peers.
    pub(in crate::server) connections: usize,
}

impl ConnectionLimits {
    /// The limits of this process. Raises the limit on open files to the system's maximum.
    pub(in crate::server) fn of_this_process() -> Self {
        let files = Resource::RLIMIT_NOFILE;
        let allowed = getrlimit(files).map(|(soft, hard)| {
            // If the limit cannot be raised, the present one is used.
            let raised = soft < hard && setrlimit(files, hard, hard).is_ok();
            if raised { hard } else { soft }
        });
        let allowed = allowed.unwrap_or(u64::MAX);
        let limits = Self::of(allowed);
        if limits != Self::of(u64::MAX) {
            warn!(
                "the system allows {allowed} open files: at most {} workers and clients, and {} in \
                 the handshake; `ulimit -n` raises it",
                limits.connections, limits.handshakes
            );
        }
        limits
    }

    /// How many accepted peers may be workers: with any number of workers, clients can still
    /// connect.
    pub(in crate::server) fn workers(&self) -> usize {
        self.connections - (self.connections / 8).clamp(1, CLIENTS)
    }

    /// The limits for this many open files: a quarter is for pending connections.
    fn of(files: u64) -> Self {
        let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(8);
        let handshakes = (room / 4).min(most::HANDSHAKES);
        Self { handshakes, connections: (room - handshakes).min(most::CONNECTIONS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_fit_the_open_files() {
        let all = ConnectionLimits { handshakes: most::HANDSHAKES, connections: most::CONNECTIONS };
        assert_eq!(ConnectionLimits::of(u64::MAX), all);
        assert_eq!(ConnectionLimits::of(1 << 16), all);
        for files in [0, 100, 256, 1024, 4096] {
            let limits = ConnectionLimits::of(files);
            assert!(limits.handshakes >= 2 && limits.connections >= 6, "{limits:?}");
            let sum = (limits.handshakes + limits.connections) as u64;
            assert!((1..limits.connections).contains(&limits.workers()), "{limits:?}");
            assert!(sum <= files.saturating_sub(OTHER_FILES).max(8), "{files}: {limits:?}");
        }
        assert_eq!(ConnectionLimits::of(1024).workers(), 576 - 64);
        assert_eq!(
            ConnectionLimits::of(1024),
            ConnectionLimits { handshakes: 192, connections: 576 }
        );
    }
}
