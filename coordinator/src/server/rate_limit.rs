//! Rate limiting of repeated log lines: an event is logged the first time, and then
//! once a minute with the number of times that were not logged. Pure.

use std::time::{Duration, Instant};

/// Time between two log lines about one kind of event.
pub(in crate::server) const INTERVAL: Duration = Duration::from_secs(60);

/// One kind of event that may happen often.
#[derive(Debug, Default)]
pub(in crate::server) struct RateLimit {
    said: Option<Instant>,
    /// Occurrences since the last log line.
    unsaid: u64,
    /// Occurrences in total.
    count: u64,
}

impl RateLimit {
    /// Notes an occurrence. Returns the number of occurrences since the last log line if this one
    /// is to be logged, otherwise `None`.
    pub(in crate::server) fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.is_recent(now) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// Whether the last log line is so recent that the next occurrence is not logged.
    pub(in crate::server) fn is_recent(&self, now: Instant) -> bool {
        self.said.is_some_and(|said| said + INTERVAL > now)
    }

    /// The events are over. Returns the number of occurrences, if any. The next one is a first one
    /// again.
    pub(in crate::server) fn end(&mut self) -> Option<u64> {
        let count = std::mem::take(self).count;
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute_with_what_was_not_said_and_once_when_it_is_over() {
        let (mut failures, start) = (RateLimit::default(), Instant::now());
        assert_eq!(failures.end(), None, "nothing has happened yet");
        assert_eq!(failures.note(start), Some(0));
        for second in 1..60 {
            assert_eq!(failures.note(start + Duration::from_secs(second)), None);
        }
        assert_eq!(failures.note(start + INTERVAL), Some(59));
        assert_eq!(failures.note(start + INTERVAL), None);
        assert_eq!(failures.end(), Some(62));
        assert_eq!(failures.end(), None);
        assert_eq!(failures.note(start + INTERVAL), Some(0), "a first one again");
    }
}
