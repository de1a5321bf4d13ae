//! [`Partial`]: what a block's replicas amount to.

use super::{Contribution, Merge, merge_options};
use crate::results::Results;

/// The merged outcome of a block's replicas: its weight, results and one
/// contribution per tensor of the layout (`None` where nothing contributed).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Examples processed.
    pub weight: u64,
    /// What was observed.
    pub results: Results,
    /// By place in the layout.
    pub tensors: Vec<Option<Contribution>>,
}

impl Merge for Partial {
    fn merge(self, right: Self) -> Self {
        assert_eq!(self.tensors.len(), right.tensors.len(), "partials of one layout");
        let pairs = self.tensors.into_iter().zip(right.tensors);
        Self {
            weight: self.weight + right.weight,
            results: self.results.merge(right.results),
            tensors: pairs.map(|(left, right)| merge_options(left, right)).collect(),
        }
    }
}
