//! Merges replicas into one state. A merge rule consists of a monoid over replicas, and a
//! finish, which computes the next state from the merged contribution and the base.
//!
//! Every replica has one [`Contribution`] per tensor. Contributions are combined over a fixed
//! binary tree of replica indexes ([`MergeTree`]); the result is finished against the round's
//! base. A [`crate::id::Block`] is a subtree, so a worker can combine it locally, and any
//! division into blocks gives the same bits.
//!
//! ```text
//! replica   Partial::of_replica ┐
//! replica   Partial::of_replica ┴ MergeTree<Partial> ── Partial::segment ─┐
//!                                                                         │
//! next state ── finish_segment ── MergeTree<Contribution> ── Contribution::decode
//! ```
//!
//! Every rule works element by element, or unit by unit. So merging whole partials and merging
//! their segments one by one give the same result.
//!
//! Finite contributions can overflow when they are combined. An overflow stays NaN or infinite
//! up to the finished state. So the coordinator calls [`NetworkState::check_finite`] on a
//! finished state, and a worker [`Partial::check_finite`] on a combined partial.
//!
//! [`NetworkState::check_finite`]: crate::state::NetworkState::check_finite

mod combine;
mod decode;
mod encode;
mod finish;
mod kind;
mod partial;
mod pool;
mod replica;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use crate::id::Block;
use crate::results::Results;

pub use crate::merge_rule::MergeRule;
pub use encode::segment_hash;
pub use finish::{copy_kept, finish, finish_segment, is_segment_finite};
pub use kind::{Real, Whole};
pub use partial::Partial;
pub use pool::BufferPool;
pub use tree::MergeTree;
pub use values::Values;

/// How often each unit of a tensor was touched: the weights of `mean_by`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitCounts {
    /// Units with a count above zero, ascending.
    pub units: Vec<u32>,
    /// Their counts.
    pub counts: Vec<u64>,
}

/// Affine changes `x → a·x + b` of some units, which `fold` composes. They have the type of the
/// tensor's elements: f32, or f64.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitMaps<T = f32> {
    /// Units that changed, ascending.
    pub units: Vec<u32>,
    /// One factor per unit.
    pub a: Vec<T>,
    /// The unit's values one after another, `[units, unit_len]`.
    pub b: Vec<T>,
}

/// The contribution of one or several replicas to one merge segment of one tensor, by the type of
/// its elements. It is an element of the rule's monoid, whose identity is the absence of a
/// contribution.
#[derive(Clone, Debug, PartialEq)]
pub enum Contribution {
    /// To an f32 tensor.
    F32(RealContribution<f32>),
    /// To an f64 tensor.
    F64(RealContribution<f64>),
    /// To a u64 tensor.
    U64(WholeContribution<u64>),
    /// To an i64 tensor.
    I64(WholeContribution<i64>),
}

/// A [`Contribution`] of real values.
#[derive(Clone, Debug, PartialEq)]
pub enum RealContribution<T: Real> {
    /// `mean`: the average so far of `examples` examples.
    Mean {
        /// Examples behind the values.
        examples: u64,
        /// One value per element.
        values: Values<T>,
    },
    /// `mean_by`: the averages so far of the touched units.
    MeanBy {
        /// Touched units (of the whole tensor) and their counts.
        counts: UnitCounts,
        /// `[units, unit_len]`.
        values: Vec<T>,
    },
    /// `sum` of changes, one per element.
    Sum(Values<T>),
    /// `max` of values, one per element.
    Max(Values<T>),
    /// `fold`: composed maps.
    Fold(UnitMaps<T>),
}

/// A [`Contribution`] of exact values.
#[derive(Clone, Debug, PartialEq)]
pub enum WholeContribution<T: Whole> {
    /// `sum` of exact changes, modulo 2⁶⁴, one per element.
    Sum(Vec<T>),
    /// `max` of values, one per element.
    Max(Vec<T>),
}

/// A value that can be combined with its right neighbour in replica order. Floating-point
/// sums are not associative, so the operation is always applied along [`MergeTree`].
pub trait Merge: Sized {
    /// Combines `self` (left) with `right`.
    fn merge(self, right: Self) -> Self;
}

impl Merge for Results {
    fn merge(mut self, right: Self) -> Self {
        self.combine(&right);
        self
    }
}

/// Combines two values, either of which may be missing.
fn merge_options<T: Merge>(left: Option<T>, right: Option<T>) -> Option<T> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.merge(right)),
        (left, right) => left.or(right),
    }
}

/// An error of a contribution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A value is NaN or infinite.
    #[error(
        "tensor `{tensor}` of replica {replica}: expected finite values, found {found} at element {element}: the learning rate may be too high"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The replica.
        replica: u32,
        /// Index in the tensor, in row-major order.
        element: usize,
        /// The value found.
        found: f64,
    },
    /// A model's contribution does not fit the tensor.
    #[error("tensor `{tensor}` of replica {replica}: expected {expected}, found {found}")]
    Contribution {
        /// The tensor.
        tensor: String,
        /// The replica.
        replica: u32,
        /// The expected value, in words.
        expected: String,
        /// The value found, in words.
        found: String,
    },
    /// Finite contributions overflowed when they were combined.
    #[error(
        "tensor `{tensor}`: the contributions of replicas {block} are finite, but their merge is not \
         (found {found}): lower the learning rate, or clip the model's changes"
    )]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The replicas.
        block: Block,
        /// The value found.
        found: f64,
    },
    /// A segment's payload from the wire does not decode.
    #[error("merge segment {segment} of tensor `{tensor}`: expected {expected}, found {found}")]
    Payload {
        /// Index of the segment in the layout's list.
        segment: usize,
        /// The tensor.
        tensor: String,
        /// The expected value, in words.
        expected: String,
        /// The value found, in words.
        found: String,
    },
}
