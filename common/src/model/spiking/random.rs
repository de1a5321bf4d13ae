//! Random numbers: SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
//! pseudorandom number generators"), from a key that says what they are for.

/// What random numbers are for: a part of their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Learning.
    Train,
    /// Counting responses for the labels.
    Label,
    /// Judging.
    Evaluate,
}

/// A stream of random words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of one presentation's spikes.
    pub(super) fn new(
        seed: u64,
        (purpose, epoch, example, attempt): (Purpose, u64, u64, u32),
    ) -> Self {
        let parts = [purpose as u64, epoch, example, u64::from(attempt)];
        Self(parts.into_iter().fold(Self(seed).next(), |key, part| Self(key ^ part).next()))
    }

    /// The next word.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
