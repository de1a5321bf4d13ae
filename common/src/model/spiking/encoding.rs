//! Input encoding: every pixel is a Poisson source of spikes.
//!
//! A pixel of intensity `x` in [0, 1] spikes in a step of `dt` with the
//! probability `p = x · rate · intensity · dt`. Over `T` steps that is the same
//! as to draw a number `K` from a Poisson distribution of mean `−T · ln(1 − p)`
//! and to throw `K` spikes on steps at random: those that fall on one step
//! count once. So the work goes with the spikes, not with the steps.
//!
//! The numbers come from SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
//! pseudorandom number generators"), keyed by seed, purpose, epoch, example and
//! attempt: an example has the same spikes on any replica.

use std::sync::OnceLock;

/// Brightness levels that pixels are rounded to.
pub(super) const LEVELS: usize = 256;

/// Highest probability of a spike in a step. Brighter pixels are taken for
/// this bright: at 1, the mean would be infinite.
const PROBABILITY_MAX: f64 = 0.6;

/// Random bits that choose a step, three times from a word: steps differ in
/// probability by less than one part in a thousand.
const STEP_BITS: u32 = 21;

/// Most inputs, and most steps of a presentation: a spike is packed in 32 bits.
pub(super) const INPUTS: usize = 1 << 16;
pub(super) const STEPS: usize = 1 << 16;

/// Buckets of a level's guide.
const GUIDE: usize = 256;

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

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// The key of one presentation's spikes.
pub(super) fn key(seed: u64, purpose: Purpose, epoch: u64, example: u64, attempt: u32) -> u64 {
    [purpose as u64, epoch, example, u64::from(attempt)]
        .into_iter()
        .fold(Random(seed).next(), |key, part| Random(key ^ part).next())
}

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
    /// An encoder for presentations of so many steps. `probabilities` are those
    /// of a spike in a step, at the highest level, one for each attempt.
    pub(super) fn new(seed: u64, steps: usize, probabilities: Vec<f64>) -> Self {
        let tables = probabilities.iter().map(|_| OnceLock::new()).collect();
        Self { seed, steps, probabilities, tables }
    }

    /// Most presentations of an example.
    pub(super) fn attempts(&self) -> u32 {
        self.tables.len() as u32
    }

    /// Fills `events` with the spikes of a presentation of `levels`.
    pub(super) fn encode(
        &self,
        levels: &[u8],
        (purpose, epoch, example, attempt): (Purpose, u64, u64, u32),
        events: &mut Events,
    ) {
        let attempt_index = attempt as usize;
        let probability = self.probabilities[attempt_index];
        let table = self.tables[attempt_index].get_or_init(|| Table::new(probability, self.steps));
        let mut random = Random(key(self.seed, purpose, epoch, example, attempt));
        events.count(table, levels, &mut random);
        events.throw(&mut random);
        events.sort();
    }
}

/// The input spikes of one presentation: for each step the inputs that spike,
/// ascending.
#[derive(Debug)]
pub(super) struct Events {
    inputs: usize,
    /// The inputs that are not dark, ascending.
    lit: Vec<u32>,
    /// How many spikes each of them has.
    counts: Vec<u32>,
    /// Spikes as they were thrown: the step, and the input in the low 16 bits.
    thrown: Vec<u32>,
    /// Where each step's spikes begin in `sources`.
    starts: Vec<u32>,
    /// Where they end.
    ends: Vec<u32>,
    /// The inputs, step by step.
    sources: Vec<u32>,
}

impl Events {
    /// No spikes, of so many inputs in so many steps.
    pub(super) fn new(inputs: usize, steps: usize) -> Self {
        assert!(inputs <= INPUTS && steps <= STEPS, "a spike is packed in 32 bits");
        let none = vec![0; steps];
        Self {
            inputs,
            lit: Vec::with_capacity(inputs),
            counts: Vec::with_capacity(inputs),
            thrown: Vec::new(),
            starts: none.clone(),
            ends: none,
            sources: Vec::new(),
        }
    }

    /// Number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// The inputs that are not dark, ascending: no other one spikes.
    pub(super) fn lit(&self) -> &[u32] {
        &self.lit
    }

    /// Number of steps.
    pub(super) fn steps(&self) -> usize {
        self.starts.len()
    }

    /// Where each step's spikes begin in [`Events::all`], and where they end.
    pub(super) fn bounds(&self) -> (&[u32], &[u32]) {
        (&self.starts, &self.ends)
    }

    /// All spikes as [`Events::bounds`] refers to them: every one is an input
    /// below [`Events::inputs`].
    pub(super) fn all(&self) -> &[u32] {
        &self.sources
    }

    /// The inputs that spike in a step, ascending.
    pub(super) fn sources(&self, step: usize) -> &[u32] {
        &self.sources[self.starts[step] as usize..self.ends[step] as usize]
    }

    /// Draws how many spikes each input has.
    fn count(&mut self, table: &Table, levels: &[u8], random: &mut Random) {
        assert_eq!(levels.len(), self.inputs, "a level for every input");
        self.lit.clear();
        self.counts.clear();
        let lit = (0u32..).zip(levels).filter(|(_, level)| **level > 0);
        self.lit.extend(lit.map(|(input, _)| input));
        for input in &self.lit {
            let random = (random.next() >> 32) as u32 & !1;
            self.counts.push(table.spikes(levels[*input as usize], random));
        }
    }

    /// Throws the spikes on steps.
    fn throw(&mut self, random: &mut Random) {
        const MASK: u64 = (1 << STEP_BITS) - 1;
        let steps = self.steps() as u64;
        let all: u32 = self.counts.iter().sum();
        // A word throws three spikes; those too many are written over.
        self.thrown.resize(all as usize + 2, 0);
        let mut first = 0;
        for (input, count) in self.lit.iter().zip(&self.counts) {
            let (mut at, end) = (first, first + *count as usize);
            while at < end {
                let word = random.next();
                let spike = |shift: u32| {
                    let step = (((word >> shift) & MASK) * steps) >> STEP_BITS;
                    (step << 16) as u32 | input
                };
                self.thrown[at..at + 3].copy_from_slice(&[
                    spike(0),
                    spike(STEP_BITS),
                    spike(2 * STEP_BITS),
                ]);
                at += 3;
            }
            first = end;
        }
        self.thrown.truncate(first);
    }

    /// Puts the spikes in the order of their steps; those of one input on one
    /// step become one.
    fn sort(&mut self) {
        self.ends.fill(0);
        for spike in &self.thrown {
            self.ends[(spike >> 16) as usize] += 1;
        }
        let mut sum = 0;
        for (start, end) in self.starts.iter_mut().zip(&mut self.ends) {
            *start = sum;
            sum += *end;
            *end = *start;
        }
        self.sources.resize(sum as usize, 0);
        for spike in &self.thrown {
            let (step, input) = ((spike >> 16) as usize, spike & 0xffff);
            let end = self.ends[step];
            self.sources[end as usize] = input;
            // One that repeats the last of the step is written over.
            let is_new = end == self.starts[step] || self.sources[end as usize - 1] != input;
            self.ends[step] = end + u32::from(is_new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spikes of `attempts` presentations of `levels`, summed up by input.
    fn counts(encoder: &Encoder, levels: &[u8], presentations: u64) -> Vec<u64> {
        let mut events = Events::new(levels.len(), 700);
        let mut counts = vec![0; levels.len()];
        for example in 0..presentations {
            encoder.encode(levels, (Purpose::Train, 0, example, 0), &mut events);
            for step in 0..events.steps() {
                let sources = events.sources(step);
                assert!(sources.windows(2).all(|pair| pair[0] < pair[1]), "ascending, once each");
                for input in sources {
                    counts[*input as usize] += 1;
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
        let mut events = Events::new(50, 700);
        let mut by_step = vec![0; 700];
        for example in 0..100 {
            encoder.encode(&[255; 50], (Purpose::Label, 0, example, 0), &mut events);
            for (step, count) in by_step.iter_mut().enumerate() {
                *count += events.sources(step).len();
            }
        }
        // 1500 are expected in each, give or take 32.
        assert!(by_step.iter().all(|count| (1350..1650).contains(count)), "{by_step:?}");
    }

    #[test]
    fn the_key_is_all_that_spikes_depend_on() {
        let encoder = Encoder::new(1, 700, vec![0.03, 0.05]);
        let mut events = Events::new(3, 700);
        let mut spikes = |encoder: &Encoder, key| {
            encoder.encode(&[200, 0, 90], key, &mut events);
            let all = |step| events.sources(step).to_vec();
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
