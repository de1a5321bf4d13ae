//! How many connections there may be at one time.

use common::limits as most;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Open files that are no connections: the runs' own, the standard streams, the
/// listener, and connections that are about to close.
const OTHER_FILES: u64 = 128;

/// Most connections that are kept free of workers.
const CLIENTS: usize = 64;

/// ConnectionLimits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct ConnectionLimits {
    /// Those who have not said who they are.
    pub(in crate::server) handshakes: usize,
    /// Those who have.
    pub(in crate::server) connections: usize,
}

impl ConnectionLimits {
    /// What this process may have. Asks the system for as many files as it
    /// gives to anybody.
    pub(in crate::server) fn of_this_process() -> Self {
        let files = Resource::RLIMIT_NOFILE;
        let allowed = getrlimit(files).map(|(soft, hard)| {
            // Where it is not given, what there is has to do.
            let raised = soft < hard && setrlimit(files, hard, hard).is_ok();
            if raised { hard } else { soft }
        });
        let allowed = allowed.unwrap_or(u64::MAX);
        let limits = Self::of(allowed);
        if limits != Self::of(u64::MAX) {
            warn!(
                "the system allows {allowed} open files: at most {} workers and clients, and {} \
                 that have not said who they are; `ulimit -n` raises it",
                limits.connections, limits.handshakes
            );
        }
        limits
    }

    /// How many of those who are known may be workers: however many there are, somebody
    /// can still look.
    pub(in crate::server) fn workers(&self) -> usize {
        self.connections - (self.connections / 8).clamp(1, CLIENTS)
    }

    /// What so many open files allow: a quarter for those who are not known.
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
        assert_eq!(ConnectionLimits::of(1024).workers(), 672 - 64);
        assert_eq!(
            ConnectionLimits::of(1024),
            ConnectionLimits { handshakes: 224, connections: 672 }
        );
    }
}
