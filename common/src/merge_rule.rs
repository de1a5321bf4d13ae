//! The names of the merge rules. [`crate::merge`] implements them.

use serde::{Deserialize, Serialize};

/// How replicas' versions of one tensor are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MergeRule {
    /// The average, weighted by examples (federated averaging, local SGD).
    Mean,
    /// Unit by unit, the average weighted by the unit's own count.
    MeanBy,
    /// The sum of the changes.
    Sum,
    /// The largest value.
    Max,
    /// Unit by unit, the composition of the replicas' affine changes in
    /// replica order, as if they had happened one after another.
    Fold,
    /// The base, unchanged.
    Keep,
}

impl std::fmt::Display for MergeRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::MeanBy => "mean_by",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Fold => "fold",
            Self::Keep => "keep",
        })
    }
}

impl MergeRule {
    /// Whether the rule works unit by unit.
    pub fn by_unit(self) -> bool {
        matches!(self, Self::MeanBy | Self::Fold)
    }
}
