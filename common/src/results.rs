//! The results that replicas report: sums and counts over examples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::limits;

/// Name of the sum of the losses of all examples.
pub const LOSS: &str = "loss";
/// Name of the count of correctly classified examples.
pub const CORRECT: &str = "correct";
/// Name of the confusion matrix, `[true class, found class]`, row by row.
pub const CONFUSION: &str = "confusion";

/// The prefix of a count that is a warning: the number of examples with the problem that the
/// rest of the name says.
pub const WARNING: &str = "warning.";

/// Sums over examples, and the scores of each. Results of several replicas are combined over the
/// same binary tree as their states, so that the f64 sums have the same bits on any cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Examples processed.
    pub examples: u64,
    /// Sums of real quantities, by name ([`LOSS`], …).
    pub sums: BTreeMap<String, f64>,
    /// Exact counts, by name ([`CORRECT`], [`CONFUSION`], …).
    pub counts: BTreeMap<String, Vec<u64>>,
    /// `[examples, outputs]`, row by row, in the order of the examples: the scores of a prediction.
    /// Empty in other steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
}

impl Results {
    /// Adds the results of later replicas: `other`'s sums to these, and its scores after these, in
    /// that order.
    pub fn combine(&mut self, other: &Self) {
        self.examples = self.examples.wrapping_add(other.examples);
        for (name, value) in &other.sums {
            self.sums.entry(name.clone()).and_modify(|sum| *sum += value).or_insert(*value);
        }
        for (name, values) in &other.counts {
            let counts = self.counts.entry(name.clone()).or_default();
            counts.resize(counts.len().max(values.len()), 0);
            for (count, value) in counts.iter_mut().zip(values) {
                *count = count.wrapping_add(*value);
            }
        }
        self.scores.extend_from_slice(&other.scores);
    }

    /// A digest that differs if any bit of the results differs, including NaN.
    pub fn digest(&self) -> Digest {
        let mut bytes = self.examples.to_le_bytes().to_vec();
        for (name, sum) in &self.sums {
            push_name(&mut bytes, b's', name);
            bytes.extend(canonical_bits(*sum).to_le_bytes());
        }
        for (name, counts) in &self.counts {
            push_name(&mut bytes, b'c', name);
            bytes.extend((counts.len() as u64).to_le_bytes());
            bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        }
        if !self.scores.is_empty() {
            push_name(&mut bytes, b'p', "scores");
            bytes.extend((self.scores.len() as u64).to_le_bytes());
            // They are finite.
            bytes.extend(self.scores.iter().flat_map(|score| score.to_le_bytes()));
        }
        Digest::of(&bytes)
    }

    /// Metrics other than loss and accuracy, by name, per example: sums and single counts. At
    /// most [`limits::RESULT_NAMES`], all finite.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let sums = self.sums.iter().map(|(name, sum)| (name, *sum));
        let counts = self.counts.iter().filter_map(|(name, counts)| match counts[..] {
            [count] => Some((name, count as f64)),
            _ => None,
        });
        let examples = self.examples.max(1) as f64;
        sums.chain(counts)
            .filter(|(name, _)| ![LOSS, CORRECT, CONFUSION].contains(&name.as_str()))
            .filter(|(name, _)| !name.starts_with(WARNING))
            .map(|(name, value)| (name.clone(), value / examples))
            .filter(|(_, value)| value.is_finite())
            .take(limits::RESULT_NAMES)
            .collect()
    }

    /// The warnings: the name of each, without [`WARNING`], and its number of examples.
    pub fn warnings(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().filter_map(|(name, counts)| match counts[..] {
            [count] if count > 0 => Some((name.strip_prefix(WARNING)?, count)),
            _ => None,
        })
    }

    /// Number of counts, over all names.
    pub fn count_of_counts(&self) -> usize {
        self.counts.values().map(Vec::len).sum()
    }

    /// Mean loss of an example, if the model reports losses.
    pub fn loss(&self) -> Option<f64> {
        self.sums.get(LOSS).map(|sum| sum / self.examples.max(1) as f64)
    }

    /// Share of correctly classified examples, if the model reports it.
    pub fn accuracy(&self) -> Option<f64> {
        let correct = self.counts.get(CORRECT)?.first()?;
        Some(*correct as f64 / self.examples.max(1) as f64)
    }
}

/// The bits of a sum in a digest. All NaNs have the same ones: which NaN an operation gives depends
/// on the processor.
fn canonical_bits(sum: f64) -> u64 {
    if sum.is_nan() { f64::NAN.to_bits() } else { sum.to_bits() }
}

fn push_name(bytes: &mut Vec<u8>, kind: u8, name: &str) {
    bytes.push(kind);
    bytes.extend((name.len() as u64).to_le_bytes());
    bytes.extend(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nans_have_one_digest() {
        let of = |sum| Results { sums: [(LOSS.into(), sum)].into(), ..Results::default() }.digest();
        assert_eq!(of(f64::NAN), of(-f64::NAN));
        assert_eq!(of(f64::NAN), of(f64::from_bits(0xfff8_0000_0000_0001)));
        assert_ne!(of(f64::NAN), of(f64::INFINITY));
        assert_ne!(of(0.0), of(-0.0));
    }

    #[test]
    fn combining_adds_by_name() {
        let one = Results {
            examples: 2,
            sums: [(LOSS.into(), 3.0)].into(),
            counts: [(CORRECT.into(), vec![1])].into(),
            ..Results::default()
        };
        let mut all = Results::default();
        all.combine(&one);
        all.combine(&one);
        assert_eq!(all.loss(), Some(1.5));
        assert_eq!(all.accuracy(), Some(0.5));
        assert_eq!(Results::default().loss(), None);
        assert!(one.digest() == one.clone().digest() && one.digest() != all.digest());
        let sum = |value| Results { sums: [(LOSS.into(), value)].into(), ..Results::default() };
        assert_eq!(sum(f64::NAN).digest(), sum(f64::NAN).digest());
        assert_ne!(sum(0.0).digest(), sum(-0.0).digest());
        let count = |counts| Results { counts: [("x".into(), counts)].into(), ..one.clone() };
        assert_ne!(count(vec![]).digest(), count(vec![0]).digest());
    }

    #[test]
    fn scores_are_in_the_order_of_the_examples() {
        let of = |scores: &[f32]| Results { scores: scores.to_vec(), ..Results::default() };
        let mut all = of(&[0.1, 0.9]);
        all.combine(&Results::default());
        all.combine(&of(&[0.5, 0.5]));
        assert_eq!(all.scores, [0.1, 0.9, 0.5, 0.5]);
        assert_ne!(all.digest(), of(&[0.5, 0.5, 0.1, 0.9]).digest());
        assert_ne!(of(&[0.0]).digest(), of(&[]).digest());
        assert_ne!(of(&[0.0]).digest(), of(&[-0.0]).digest());
    }

    #[test]
    fn metrics_are_for_each_example_and_warnings_are_apart() {
        let sums = [(LOSS, 3.0), ("spikes", 56.0), ("broken", f64::NAN)];
        let counts = [
            (CORRECT, vec![4]),
            (CONFUSION, vec![1, 2, 3, 4]),
            ("silent", vec![1]),
            ("warning.no spikes", vec![2]),
            ("warning.none", vec![0]),
            ("warning.many", vec![1, 1]),
        ];
        let results = Results {
            examples: 4,
            sums: sums.map(|(name, sum)| (name.into(), sum)).into(),
            counts: counts.map(|(name, counts)| (name.into(), counts)).into(),
            ..Results::default()
        };
        let metrics = [("silent", 0.25), ("spikes", 14.0)];
        assert_eq!(results.metrics(), metrics.map(|(name, value)| (name.into(), value)).into());
        assert_eq!(results.warnings().collect::<Vec<_>>(), [("no spikes", 2)]);
        let many = (0..100).map(|at| (at.to_string(), 1.0)).collect();
        assert_eq!(Results { sums: many, ..results }.metrics().len(), limits::RESULT_NAMES);
    }
}
