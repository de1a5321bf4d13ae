//! The connection to the coordinator: when to connect, and when to close it.

use std::time::{Duration, Instant};

use common::limits::{RECONNECT_MAX, RECONNECT_MIN};

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Closed; the next attempt is at this time.
    Waiting(Instant),
    /// Connecting; the driver limits the time.
    Connecting,
    /// Open, and last heard at `heard`.
    Open { heard: Instant, timeout: Duration },
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    /// Attempts since the coordinator last sent bytes.
    tries: u32,
    /// State of the jitter's generator.
    random: u64,
}

/// Whether the coordinator has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    No,
    Lost,
}

impl Link {
    /// A connection whose first attempt is due.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: State::Connecting, tries: 0, random: seed }
    }

    /// Whether it is time to connect. Returns true once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = match self.state {
            State::Waiting(at) => at <= now,
            State::Connecting | State::Open { .. } => false,
        };
        if is_due {
            self.state = State::Connecting;
        }
        is_due
    }

    pub(super) fn connected(&mut self, now: Instant, timeout: Duration) {
        self.state = State::Open { heard: now, timeout };
    }

    /// Records bytes after the handshake: the connection works, so the waits after the next loss
    /// start short again.
    pub(super) fn heard(&mut self, now: Instant) {
        if let State::Open { heard, .. } = &mut self.state {
            *heard = now;
            self.tries = 0;
        }
    }

    /// Plans the next attempt, unless one is planned.
    pub(super) fn lost(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting | State::Open { .. }) {
            let longest = RECONNECT_MIN * 2_u32.saturating_pow(self.tries.min(16));
            let wait = longest.min(RECONNECT_MAX).mul_f64(0.5 + self.jitter() / 2.0);
            self.tries = self.tries.saturating_add(1);
            self.state = State::Waiting(now + wait);
        }
    }

    pub(super) fn silence(&self, now: Instant) -> Silence {
        match self.state {
            State::Open { heard, timeout } if heard + timeout <= now => Silence::Lost,
            _ => Silence::No,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Connecting => None,
            State::Open { heard, timeout } => Some(heard + timeout),
        }
    }

    /// Between 0 and 1, by SplitMix64.
    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}
