//! [`Tensor`]: numbers and their merge rule.

use ndarray::{ArrayD, IxDyn};
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
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U64 => 8,
        }
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U64 => "u64",
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

impl TensorData {
    /// Zeros of a shape that was validated.
    pub(super) fn zeros(element: ElementType, shape: &[u64]) -> Self {
        let shape: Vec<usize> = shape.iter().map(|axis| *axis as usize).collect();
        match element {
            ElementType::F32 => Self::F32(ArrayD::zeros(IxDyn(&shape))),
            ElementType::U64 => Self::U64(ArrayD::zeros(IxDyn(&shape))),
        }
    }

    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::U64(_) => ElementType::U64,
        }
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::U64(array) => array.shape(),
        }
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty, reason = "a tensor of a state is never empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(array) => array.len(),
            Self::U64(array) => array.len(),
        }
    }

    /// Reorders the elements to row-major order.
    pub(super) fn make_standard(&mut self) {
        match self {
            Self::F32(array) if !array.is_standard_layout() => {
                *array = array.as_standard_layout().into_owned();
            }
            Self::U64(array) if !array.is_standard_layout() => {
                *array = array.as_standard_layout().into_owned();
            }
            _ => {}
        }
    }

    /// The values of an f32 tensor of a state, in row-major order.
    pub(crate) fn f32_slice(&self) -> &[f32] {
        match self {
            Self::F32(array) => array.as_slice().expect("states are row-major"),
            Self::U64(_) => panic!("expected an f32 tensor"),
        }
    }

    /// The values of an f32 tensor of a state, to change.
    pub(crate) fn f32_slice_mut(&mut self) -> &mut [f32] {
        match self {
            Self::F32(array) => array.as_slice_mut().expect("states are row-major"),
            Self::U64(_) => panic!("expected an f32 tensor"),
        }
    }

    /// The values of a u64 tensor of a state, in row-major order.
    pub(crate) fn u64_slice(&self) -> &[u64] {
        match self {
            Self::U64(array) => array.as_slice().expect("states are row-major"),
            Self::F32(_) => panic!("expected a u64 tensor"),
        }
    }

    /// The values of a u64 tensor of a state, to change.
    pub(crate) fn u64_slice_mut(&mut self) -> &mut [u64] {
        match self {
            Self::U64(array) => array.as_slice_mut().expect("states are row-major"),
            Self::F32(_) => panic!("expected a u64 tensor"),
        }
    }
}
