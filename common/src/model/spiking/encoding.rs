//! Input encoding: every pixel is a Poisson source of spikes.
//!
//! A pixel of intensity `x` in [0, 1] spikes in a step of `dt` with the
//! probability `p = x · rate · intensity · dt`. Over `T` steps that is the same
//! as to draw a number `K` from a Poisson distribution of mean `−T · ln(1 − p)`
//! and to throw `K` spikes on steps at random: those that fall on one step
//! count once. So the work goes with the spikes, not with the steps.
//!
//! The random numbers are keyed by seed, purpose, epoch, example and attempt: an
//! example has the same spikes on any replica.

use std::sync::OnceLock;

use super::events::Events;
use crate::model::Random;

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

/// Brightness levels that pixels are rounded to.
pub(super) const LEVELS: usize = 256;

/// Highest probability of a spike in a step, at which brighter pixels are clipped: at 1, the mean
/// would be infinite.
const PROBABILITY_MAX: f64 = 0.6;

/// Buckets of a level's guide.
const GUIDE: usize = 256;

/// Poisson distributions of the levels at one intensity.
#[derive(Debug)]
struct Table {
    /// For each level and each value of the first 8 bits of a random number:
    /// how many bounds lie below all such numbers.
    guide: Vec<u16>,
    /// The first bound of each level in `bounds`; one more at the end.
    first: Vec<u32>,
    /// `P(K ≤ k) · 2³²` for k = 0, 1, …: as many spikes as bounds at or below
    /// the random number. A level's last bound is above all random numbers.
    bounds: Vec<u32>,
}

impl Table {
    /// `probability` is that of a spike in a step at the highest level.
    fn new(probability: f64, steps: usize) -> Self {
        let mut table = Self { guide: Vec::new(), first: vec![0], bounds: Vec::new() };
        for level in 0..LEVELS {
            let share = level as f64 / (LEVELS - 1) as f64;
            let p = (probability * share).min(PROBABILITY_MAX);
            let first = table.bounds.len();
            push_bounds(&mut table.bounds, -(steps as f64) * libm::log1p(-p));
            table.first.push(table.bounds.len() as u32);
            let bounds = &table.bounds[first..table.bounds.len() - 1];
            let below = |bucket: usize| {
                let least = (bucket as u32) << 24;
                bounds.partition_point(|bound| *bound <= least) as u16
            };
            table.guide.extend((0..GUIDE).map(below));
        }
        table
    }

    /// The number of spikes that a random number stands for.
    fn spikes(&self, level: u8, random: u32) -> u32 {
        let level = usize::from(level);
        let bounds = &self.bounds[self.first[level] as usize..];
        let mut count = usize::from(self.guide[level * GUIDE + (random >> 24) as usize]);
        // Mostly there is at most one bound in a bucket: no branch to guess.
        count += usize::from(bounds[count] <= random);
        while bounds[count] <= random {
            count += 1;
        }
        count as u32
    }
}

/// Appends the bounds of the Poisson distribution of this mean, up to the last
/// one below 1, and an end.
fn push_bounds(bounds: &mut Vec<u32>, mean: f64) {
    let mut term = libm::exp(-mean);
    let mut sum = term;
    let mut count = 0.0;
    loop {
        let bound = libm::round(sum * (1u64 << 32) as f64);
        if bound >= f64::from(u32::MAX) || (count > mean && term < 1e-18) {
            // Random numbers here have their lowest bit cleared.
            return bounds.push(u32::MAX);
        }
        bounds.push(bound as u32);
        count += 1.0;
        term *= mean / count;
        sum += term;
    }
}

/// Makes the input spikes of presentations.
#[derive(Debug)]
pub(super) struct Encoder {
    seed: u64,
    steps: usize,
    /// The probability of a spike in a step, at the highest level, for each
    /// attempt.
    probabilities: Vec<f64>,
    /// Made as they are needed: most attempts never are.
    tables: Vec<OnceLock<Table>>,
}

impl Encoder {
    /// An encoder for presentations of `steps` steps. `probabilities` are those of a spike in a
    /// step, at the highest level, one for each attempt.
    pub(super) fn new(seed: u64, steps: usize, probabilities: Vec<f64>) -> Self {
        let tables = probabilities.iter().map(|_| OnceLock::new()).collect();
        Self { seed, steps, probabilities, tables }
    }

    /// Most presentations of an example.
    pub(super) fn attempts(&self) -> u32 {
        self.tables.len() as u32
    }

    /// Fills `events` with the spikes of a presentation of `levels`.
    pub(super) fn encode(&self, levels: &[u8], key: (Purpose, u64, u64, u32), events: &mut Events) {
        let (purpose, epoch, example, number) = key;
        let attempt = number as usize;
        let probability = self.probabilities[attempt];
        let table = self.tables[attempt].get_or_init(|| Table::new(probability, self.steps));
        let key = [purpose as u64, epoch, example, u64::from(number)];
        let mut random = Random::new(self.seed, &key);
        events.draw(levels, &mut random, |level, random| {
            table.spikes(level, (random.word() >> 32) as u32 & !1)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Spike;
    use super::*;

    /// Spikes of `attempts` presentations of `levels`, summed up by input.
    fn counts(encoder: &Encoder, levels: &[u8], presentations: u64) -> Vec<u64> {
        let mut events = Events::new(levels.len(), (700, 0));
        let mut counts = vec![0; levels.len()];
        for example in 0..presentations {
            encoder.encode(levels, (Purpose::Train, 0, example, 0), &mut events);
            for step in 0..events.steps() {
                let spikes = events.of_step(step);
                let ascend = |pair: &[Spike]| pair[0].input() < pair[1].input();
                assert!(spikes.windows(2).all(ascend), "ascending, once each");
                for spike in spikes {
                    counts[spike.input()] += 1;
                }
            }
        }
        counts
    }

    #[test]
    fn every_step_is_a_bernoulli_trial() {
        // The published rate at intensity 2, one near the limit, one beyond.
        for (probability, expected) in [(0.031_875, 0.031_875), (0.5, 0.5), (3.0, 0.6)] {
            let encoder = Encoder::new(1, 700, vec![probability]);
            let levels = [0, 51, 255];
            let found = counts(&encoder, &levels, 400);
            let dim = (probability * 0.2f64).min(PROBABILITY_MAX);
            for (found, p) in found.into_iter().zip([0.0, dim, expected]) {
                let trials = 400.0 * 700.0;
                let (mean, deviation) = (trials * p, (trials * p * (1.0 - p)).sqrt());
                let off = (found as f64 - mean).abs();
                assert!(off <= 4.0 * deviation, "{found} spikes at {p} a step, expected {mean}");
            }
        }
    }

    #[test]
    fn spikes_are_spread_over_all_steps() {
        let encoder = Encoder::new(7, 700, vec![0.3]);
        let mut events = Events::new(50, (700, 0));
        let mut by_step = vec![0; 700];
        for example in 0..100 {
            encoder.encode(&[255; 50], (Purpose::Label, 0, example, 0), &mut events);
            for (step, count) in by_step.iter_mut().enumerate() {
                *count += events.of_step(step).len();
            }
        }
        // 1500 are expected in each, give or take 32.
        assert!(by_step.iter().all(|count| (1350..1650).contains(count)), "{by_step:?}");
    }

    #[test]
    fn the_key_is_all_that_spikes_depend_on() {
        let encoder = Encoder::new(1, 700, vec![0.03, 0.05]);
        let mut events = Events::new(3, (700, 0));
        let mut spikes = |encoder: &Encoder, key| {
            encoder.encode(&[200, 0, 90], key, &mut events);
            let all =
                |step| events.of_step(step).iter().map(|spike| spike.input()).collect::<Vec<_>>();
            (0..700).map(all).collect::<Vec<_>>()
        };
        let first = (Purpose::Train, 0, 5, 0);
        let others = [
            (Purpose::Evaluate, 0, 5, 0),
            (Purpose::Train, 1, 5, 0),
            (Purpose::Train, 0, 6, 0),
            (Purpose::Train, 0, 5, 1),
        ];
        let expected = spikes(&encoder, first);
        for other in others {
            assert_ne!(spikes(&encoder, other), expected, "{other:?}");
        }
        assert_ne!(spikes(&Encoder::new(2, 700, vec![0.03]), first), expected);
        assert_eq!(spikes(&encoder, first), expected);
        assert!(expected.iter().flatten().all(|input| [0, 2].contains(input)), "dark is silent");
    }
}
