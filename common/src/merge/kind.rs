//! [`Real`] and [`Whole`]: the two kinds of elements, by what the rules do with them.

use std::ops::{Add, BitOr, BitXor, Mul, Sub};
use std::sync::Mutex;

use super::{Contribution, RealContribution, UnitMaps, WholeContribution};
use crate::model::Replica;
use crate::state::Number;

/// Elements that are rounded: `f32` and `f64`. All rules support them. Everything about a tensor is
/// computed in its own type.
pub trait Real: Number + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// 1.
    const ONE: Self;

    /// All bits of a value.
    type Bits: Copy
        + Default
        + PartialEq
        + BitOr<Output = Self::Bits>
        + BitXor<Output = Self::Bits>
        + Send;

    /// All bits of this value.
    fn bits(self) -> Self::Bits;

    /// The nearest value.
    fn from_f64(value: f64) -> Self;

    /// What a replica says of the units of a tensor of this type under `fold`.
    fn unit_maps(replica: &dyn Replica, tensor: &str) -> Option<UnitMaps<Self>>;

    /// The contribution, if it is to a tensor of this type.
    fn of(contribution: &Contribution) -> Option<&RealContribution<Self>>;

    /// The pieces of memory for this type.
    fn spare(spare: &Spare) -> &Mutex<Vec<Vec<Self>>>;
}

/// Pieces of memory that nothing uses, by the type of their values.
#[derive(Debug, Default)]
pub struct Spare {
    f32: Mutex<Vec<Vec<f32>>>,
    f64: Mutex<Vec<Vec<f64>>>,
}

macro_rules! real {
    ($type:ident, $variant:ident, $bits:ident, $maps:ident) => {
        impl Real for $type {
            const ONE: Self = 1.0;

            type Bits = $bits;

            #[inline]
            fn bits(self) -> $bits {
                self.to_bits()
            }

            #[inline]
            fn from_f64(value: f64) -> Self {
                value as Self
            }

            fn unit_maps(replica: &dyn Replica, tensor: &str) -> Option<UnitMaps<Self>> {
                replica.$maps(tensor)
            }

            fn of(contribution: &Contribution) -> Option<&RealContribution<Self>> {
                match contribution {
                    Contribution::$variant(contribution) => Some(contribution),
                    _ => None,
                }
            }

            fn spare(spare: &Spare) -> &Mutex<Vec<Vec<Self>>> {
                &spare.$type
            }
        }
    };
}

real!(f32, F32, u32, unit_maps);
real!(f64, F64, u64, unit_maps_f64);

/// Elements that are whole and exact: `u64` and `i64`. The rules `sum`, `max` and `keep` support
/// them.
pub trait Whole: Number + Ord {
    /// The sum, modulo 2⁶⁴.
    fn wrapping_add(self, other: Self) -> Self;

    /// The difference, modulo 2⁶⁴.
    fn wrapping_sub(self, other: Self) -> Self;

    /// The contribution, if it is to a tensor of this type.
    fn of(contribution: &Contribution) -> Option<&WholeContribution<Self>>;
}

macro_rules! whole {
    ($type:ident, $variant:ident) => {
        impl Whole for $type {
            #[inline]
            fn wrapping_add(self, other: Self) -> Self {
                $type::wrapping_add(self, other)
            }

            #[inline]
            fn wrapping_sub(self, other: Self) -> Self {
                $type::wrapping_sub(self, other)
            }

            fn of(contribution: &Contribution) -> Option<&WholeContribution<Self>> {
                match contribution {
                    Contribution::$variant(contribution) => Some(contribution),
                    _ => None,
                }
            }
        }
    };
}

whole!(u64, U64);
whole!(i64, I64);
