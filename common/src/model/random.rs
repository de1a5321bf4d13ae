//! [`Random`]: keyed random numbers for models.

/// A stream of random numbers that is a function of its key alone.
///
/// A model's randomness must depend on nothing but the run's seed, a purpose, the epoch
/// and the example ([`Batch::examples`](super::Batch::examples)): then it is the same
/// whichever replica, thread or worker asks for it. Give each purpose of a model a
/// number of its own, and make a new stream for each example:
///
/// ```
/// use samebit_common::model::Random;
///
/// const DROPOUT: u64 = 1;
/// let (seed, epoch, example) = (7, 0, 1234);
/// let mut random = Random::new(seed, &[DROPOUT, epoch, example]);
/// let kept = random.uniform() < 0.8;
/// # let again = Random::new(seed, &[DROPOUT, epoch, example]).uniform() < 0.8;
/// # assert_eq!(kept, again);
/// ```
///
/// It is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
/// generators"), and its numbers do not change from version to version. It is no source
/// of secrets.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a key. The order of its parts matters.
    pub fn new(seed: u64, key: &[u64]) -> Self {
        let first = Self(seed).word();
        Self(key.iter().fold(first, |key, part| Self(key ^ part).word()))
    }

    /// The next word, of 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from 0 up to 1, which it never is. Takes one word.
    pub fn uniform(&mut self) -> f32 {
        // 24 bits are exact in an f32.
        (self.word() >> 40) as f32 / (1 << 24) as f32
    }

    /// A whole number below `end`; 0 where that is 0. Takes one word. Numbers are
    /// equally likely up to one part in 2^64 / `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// A number of the normal distribution with mean 0 and variance 1. Takes two words.
    pub fn normal(&mut self) -> f32 {
        // Box & Muller 1958; 53 bits are exact in an f64. The first is never 0.
        let mut unit = || ((self.word() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let (radius, turn) = (libm::sqrt(-2.0 * libm::log(unit())), unit());
        (radius * libm::cos(2.0 * std::f64::consts::PI * turn)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_follow_from_their_keys() {
        let words = |seed, key: &[u64]| {
            let mut random = Random::new(seed, key);
            [random.word(), random.word()]
        };
        assert_eq!(words(1, &[2, 3]), words(1, &[2, 3]));
        for other in [words(2, &[2, 3]), words(1, &[3, 2]), words(1, &[2]), words(1, &[2, 3, 0])] {
            assert_ne!(words(1, &[2, 3]), other);
        }
        // SplitMix64 from 0, as its authors' program has it.
        assert_eq!(Random(0).word(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut random = Random::new(1, &[]);
        let count = 10_000;
        let normal: Vec<f64> = (0..count).map(|_| f64::from(random.normal())).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(count);
        let square = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.05 && (square - 1.0).abs() < 0.05, "{mean} {square}");
        let uniform: Vec<f32> = (0..count).map(|_| random.uniform()).collect();
        assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
        let mut seen = [0; 5];
        (0..count).for_each(|_| seen[random.below(5) as usize] += 1);
        assert!(seen.iter().all(|count| (1800..2200).contains(count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
