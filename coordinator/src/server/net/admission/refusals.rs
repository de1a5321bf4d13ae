//! Refused peers: all are counted, and each address is logged at most once a minute.
//! A hostile peer can fill neither the log nor memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, warn};

use crate::server::rate_limit::RateLimit;

/// Most addresses that are distinguished. All others share one rate limit.
const ADDRESSES: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::server) struct Refusals {
    count: AtomicU64,
    log: Mutex<Log>,
}

impl Refusals {
    /// Counts a refused connection from this address, and logs the reason.
    pub(super) fn note(&self, address: SocketAddr, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let said = log.note(Instant::now(), address.ip());
        drop(log);
        match said {
            Some(0) => warn!(peer = %address, "refused: {reason}"),
            Some(more) => {
                warn!(peer = %address, "refused: {reason} ({more} more since the last line)");
            }
            None => debug!(peer = %address, "refused: {reason}"),
        }
    }

    /// The number of refused connections so far.
    pub(in crate::server) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The rate limits of log lines.
#[derive(Debug, Default)]
struct Log {
    addresses: BTreeMap<IpAddr, RateLimit>,
    /// The shared limit of all addresses beyond [`ADDRESSES`].
    others: RateLimit,
}

impl Log {
    /// Whether to log this refusal; if so, the number of unlogged ones before it.
    fn note(&mut self, now: Instant, address: IpAddr) -> Option<u64> {
        let is_new = !self.addresses.contains_key(&address);
        if is_new && self.addresses.len() >= ADDRESSES {
            self.addresses.retain(|_, line| line.is_recent(now));
        }
        if is_new && self.addresses.len() < ADDRESSES {
            self.addresses.insert(address, RateLimit::default());
        }
        self.addresses.get_mut(&address).unwrap_or(&mut self.others).note(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::rate_limit::INTERVAL;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn an_address_is_said_once_a_minute_with_what_was_not_said() {
        let (mut log, start) = (Log::default(), Instant::now());
        assert_eq!(log.note(start, address(1)), Some(0));
        for second in 1..60 {
            assert_eq!(log.note(start + Duration::from_secs(second), address(1)), None);
        }
        assert_eq!(log.note(start + Duration::from_secs(30), address(2)), Some(0));
        assert_eq!(log.note(start + INTERVAL, address(1)), Some(59));
        assert_eq!(log.note(start + INTERVAL, address(1)), None);
        assert_eq!(log.note(start + 2 * INTERVAL, address(1)), Some(1));
    }

    #[test]
    fn many_addresses_take_no_more_lines_and_no_more_memory() {
        let (mut log, start) = (Log::default(), Instant::now());
        let most = ADDRESSES as u32;
        let said = (0..10 * most).filter(|number| log.note(start, address(*number)).is_some());
        assert_eq!(said.count(), ADDRESSES + 1);
        assert_eq!(log.addresses.len(), ADDRESSES);
        assert_eq!(log.note(start + INTERVAL / 2, address(1)), None, "a distinguished address");
        // The others' line is due, and one of them is told apart from now on.
        assert_eq!(log.note(start + INTERVAL, address(20 * most)), Some(0));
        assert_eq!(log.addresses.len(), 1);
        for number in 0..most {
            log.note(start + INTERVAL, address(30 * most + number));
        }
        assert_eq!(log.note(start + 2 * INTERVAL - Duration::from_millis(1), address(7)), None);
    }
}
