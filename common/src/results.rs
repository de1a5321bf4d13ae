//! What replicas report of the examples they processed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Name of the sum of the losses of all examples.
pub const LOSS: &str = "loss";
/// Name of the count of examples whose class was found.
pub const CORRECT: &str = "correct";
/// Name of the confusion matrix, `[true class, found class]`, row by row.
pub const CONFUSION: &str = "confusion";

/// Sums over examples. Results of several replicas combine over the same
/// binary tree as their states, so that the f64 sums have the same bits on
/// any cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Examples processed.
    pub examples: u64,
    /// Sums of real quantities, by name ([`LOSS`], …).
    pub sums: BTreeMap<String, f64>,
    /// Exact counts, by name ([`CORRECT`], [`CONFUSION`], …).
    pub counts: BTreeMap<String, Vec<u64>>,
}

impl Results {
    /// Adds what came after: `other`'s sums to these, in that order.
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
    }

    /// Tells results apart that differ in a bit, NaN included, without
    /// keeping them.
    pub fn digest(&self) -> Digest {
        let mut bytes = self.examples.to_le_bytes().to_vec();
        for (name, sum) in &self.sums {
            push_name(&mut bytes, b's', name);
            bytes.extend(sum.to_bits().to_le_bytes());
        }
        for (name, counts) in &self.counts {
            push_name(&mut bytes, b'c', name);
            bytes.extend((counts.len() as u64).to_le_bytes());
            bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        }
        Digest::of(&bytes)
    }

    /// How many counts there are, under all names together.
    pub fn count_of_counts(&self) -> usize {
        self.counts.values().map(Vec::len).sum()
    }

    /// Mean loss of an example, where the model reports losses.
    pub fn loss(&self) -> Option<f64> {
        self.sums.get(LOSS).map(|sum| sum / self.examples.max(1) as f64)
    }

    /// Share of examples whose class was found, where the model reports it.
    pub fn accuracy(&self) -> Option<f64> {
        let correct = self.counts.get(CORRECT)?.first()?;
        Some(*correct as f64 / self.examples.max(1) as f64)
    }
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
    fn combining_adds_by_name() {
        let one = Results {
            examples: 2,
            sums: [(LOSS.into(), 3.0)].into(),
            counts: [(CORRECT.into(), vec![1])].into(),
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
}
