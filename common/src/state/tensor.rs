//! [`Tensor`]: numbers and their merge rule.

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::merge::MergeRule;

/// The numbers of one tensor. In a [`NetworkState`](super::NetworkState) they are always in
/// row-major (C) order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TensorData {
    /// Real values: weights, thresholds. All finite.
    F32(ArrayD<f32>),
    /// Exact counters.
    U64(ArrayD<u64>),
    /// Real values of double precision: sums of many small values, statistics. All finite.
    F64(ArrayD<f64>),
    /// Exact whole numbers that may be negative.
    I64(ArrayD<i64>),
}

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ElementType {
    /// 4 bytes, IEEE 754 single precision.
    F32,
    /// 8 bytes, unsigned.
    U64,
    /// 8 bytes, IEEE 754 double precision.
    F64,
    /// 8 bytes, signed, two's complement.
    I64,
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U64 | Self::F64 | Self::I64 => 8,
        }
    }

    /// Whether elements are real numbers, which all rules support. Others are whole and exact: they
    /// have the rules `sum`, `max` and `keep`.
    pub fn is_real(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U64 => "u64",
            Self::F64 => "f64",
            Self::I64 => "i64",
        })
    }
}

/// One tensor: numbers in row-major (C) order, and the rule by which replicas' versions are
/// merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The numbers.
    pub data: TensorData,
    /// The merge rule.
    pub rule: MergeRule,
}

/// Evaluates an expression with the array in a [`TensorData`], of whichever type.
macro_rules! with_array {
    ($data:expr, $array:ident => $value:expr) => {
        match $data {
            TensorData::F32($array) => $value,
            TensorData::U64($array) => $value,
            TensorData::F64($array) => $value,
            TensorData::I64($array) => $value,
        }
    };
}

impl TensorData {
    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::U64(_) => ElementType::U64,
            Self::F64(_) => ElementType::F64,
            Self::I64(_) => ElementType::I64,
        }
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        with_array!(self, array => array.shape())
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty, reason = "a tensor of a state is never empty")]
    pub fn len(&self) -> usize {
        with_array!(self, array => array.len())
    }

    /// Reorders the elements to row-major order.
    pub(super) fn make_standard(&mut self) {
        with_array!(self, array => if !array.is_standard_layout() {
            *array = array.as_standard_layout().into_owned();
        });
    }
}
