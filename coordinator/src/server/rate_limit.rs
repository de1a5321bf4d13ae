//! Rate limiting of repeated log lines: an event is logged the first time, and then
//! once a minute with the number of times that were not logged. Pure.

use std::time::{Duration, Instant};

/// Time between two log lines about one kind of event.
pub(in crate::server) const INTERVAL: Duration = Duration::from_secs(60);

/// One kind of event that may happen often.
#[derive(Debug, Default)]
pub(in crate::server) struct RateLimit {
    said: Option<Instant>,
    /// How often it happened since, unsaid.
    unsaid: u64,
    /// How often in all.
    count: u64,
}

impl RateLimit {
    /// It happened. Whether to say so; if so, how many times before it were not
    /// said.
    pub(in crate::server) fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.is_recent(now) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// Whether it was said so lately that it is not to be said again.
    pub(in crate::server) fn is_recent(&self, now: Instant) -> bool {
        self.said.is_some_and(|said| said + INTERVAL > now)
    }

    /// It is over: how often it happened, if it did. The next time is a first one.
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
