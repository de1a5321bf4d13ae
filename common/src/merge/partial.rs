//! [`Partial`]: the merged result of a block's replicas.

use super::{Contribution, Merge, MergeError, Real, RealContribution, merge_options};
use crate::id::Block;
use crate::results::Results;
use crate::state::Layout;
use crate::state::values::first_not_finite;

/// The merged result of a block's replicas: its weight, results and one contribution per tensor
/// of the layout (`None` if there is no contribution).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Examples processed.
    pub weight: u64,
    /// The results.
    pub results: Results,
    /// By index in the layout.
    pub tensors: Vec<Option<Contribution>>,
}

impl Partial {
    /// Checks that the combined contribution is finite: each replica's is, but their
    /// combination can overflow.
    pub fn check_finite(&self, layout: &Layout, block: Block) -> Result<(), MergeError> {
        let pairs = layout.tensors.iter().zip(&self.tensors);
        for (tensor, contribution) in pairs.filter_map(|(tensor, it)| Some((tensor, it.as_ref()?)))
        {
            let found = match contribution {
                Contribution::F32(contribution) => contribution.first_not_finite(),
                Contribution::F64(contribution) => contribution.first_not_finite(),
                Contribution::U64(_) | Contribution::I64(_) => None,
            };
            if let Some(found) = found {
                return Err(MergeError::Overflow { tensor: tensor.name.clone(), block, found });
            }
        }
        Ok(())
    }
}

impl<T: Real> RealContribution<T> {
    /// The first value that is NaN or infinite.
    fn first_not_finite(&self) -> Option<f64> {
        let found = match self {
            Self::Mean { values, .. } | Self::Sum(values) | Self::Max(values) => {
                values.first_not_finite()
            }
            Self::MeanBy { values, .. } => not_finite_of(values),
            Self::Fold(maps) => not_finite_of(&maps.a).or(not_finite_of(&maps.b)),
        };
        found.map(T::to_f64)
    }
}

fn not_finite_of<T: Real>(values: &[T]) -> Option<T> {
    first_not_finite(values).map(|place| values[place])
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
