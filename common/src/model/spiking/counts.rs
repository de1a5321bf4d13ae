//! What a replica counts, by name.

use std::collections::BTreeMap;

use crate::model::Batch;
use crate::results::Results;

/// Counts by name.
pub(super) type Counts = BTreeMap<String, Vec<u64>>;

/// Count of the examples that never made enough spikes.
pub(super) const TOO_FEW_SPIKES: &str = "warning.too few spikes at the highest intensity";
/// Count of the examples that no neuron with a label answered.
pub(super) const UNDECIDED: &str = "warning.no neuron with a label spiked";

/// The results of a batch.
pub(super) fn presented(batch: &Batch<'_>, counts: Counts) -> Results {
    Results { examples: batch.examples.len() as u64, counts, ..Results::default() }
}

/// Counts of one element; warnings only if they are not zero.
pub(super) fn named<const N: usize>(counts: [(&str, u64); N]) -> Counts {
    let worth = |(name, count): &(&str, u64)| *count > 0 || !name.starts_with("warning.");
    counts.into_iter().filter(worth).map(|(name, count)| (name.into(), vec![count])).collect()
}
