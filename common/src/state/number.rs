//! [`Number`]: the types of a tensor's elements, as the code sees them.

use std::fmt::{Debug, Display};

use ndarray::{ArrayD, IxDyn};

use super::{ElementType, TensorData};

mod sealed {
    /// Only the four types below are numbers of tensors.
    pub trait Sealed {}
}

/// A type of a tensor's elements: `f32`, `f64`, `u64` or `i64`. What is the same for all of them is
/// written once, for this.
pub trait Number:
    sealed::Sealed
    + bytemuck::Pod
    + Debug
    + Default
    + Display
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + 'static
{
    /// Its name in a layout.
    const ELEMENT: ElementType;

    /// The bytes of one value.
    type Word: Copy + Sync;

    /// Little-endian bytes, one value after another. Those after the last complete value are left
    /// out.
    fn words(bytes: &[u8]) -> &[Self::Word];

    /// A value from its little-endian bytes.
    fn from_word(word: &Self::Word) -> Self;

    /// The value with its bytes in memory in little-endian order, and back again: on most hosts, as
    /// it is.
    fn little_endian(self) -> Self;

    /// Whether it is NaN or infinite. A whole number never is.
    fn is_not_finite(self) -> bool;

    /// The nearest f64, for errors.
    fn to_f64(self) -> f64;

    /// The array of a tensor of this type.
    fn array(data: &TensorData) -> Option<&ArrayD<Self>>;

    /// The array of a tensor of this type, to change.
    fn array_mut(data: &mut TensorData) -> Option<&mut ArrayD<Self>>;

    /// A tensor of these values.
    fn tensor(array: ArrayD<Self>) -> TensorData;
}

macro_rules! number {
    ($type:ident, $variant:ident, $bits:ident, $exponent:expr, $to_bits:expr, $of_bits:expr) => {
        impl sealed::Sealed for $type {}

        impl Number for $type {
            const ELEMENT: ElementType = ElementType::$variant;

            type Word = [u8; size_of::<$type>()];

            #[inline]
            fn words(bytes: &[u8]) -> &[Self::Word] {
                bytes.as_chunks().0
            }

            #[inline]
            fn from_word(word: &Self::Word) -> Self {
                Self::from_le_bytes(*word)
            }

            #[inline]
            fn little_endian(self) -> Self {
                $of_bits($to_bits(self).to_le())
            }

            #[inline]
            fn is_not_finite(self) -> bool {
                // The exponent's bits are all set exactly for values that are not finite.
                let exponent: $bits = $exponent;
                exponent != 0 && $to_bits(self) & exponent == exponent
            }

            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline]
            fn array(data: &TensorData) -> Option<&ArrayD<Self>> {
                match data {
                    TensorData::$variant(array) => Some(array),
                    _ => None,
                }
            }

            #[inline]
            fn array_mut(data: &mut TensorData) -> Option<&mut ArrayD<Self>> {
                match data {
                    TensorData::$variant(array) => Some(array),
                    _ => None,
                }
            }

            #[inline]
            fn tensor(array: ArrayD<Self>) -> TensorData {
                TensorData::$variant(array)
            }
        }
    };
}

number!(f32, F32, u32, 0x7f80_0000, f32::to_bits, f32::from_bits);
number!(f64, F64, u64, 0x7ff0_0000_0000_0000, f64::to_bits, f64::from_bits);
number!(u64, U64, u64, 0, u64::from, u64::from);
number!(i64, I64, u64, 0, i64::cast_unsigned, u64::cast_signed);

/// Evaluates an expression with a name for the Rust type of elements of an [`ElementType`]:
/// `for_element!(element, T => data.slice::<T>().len())`.
macro_rules! for_element {
    ($element:expr, $type:ident => $value:expr) => {
        match $element {
            $crate::state::ElementType::F32 => {
                type $type = f32;
                $value
            }
            $crate::state::ElementType::U64 => {
                type $type = u64;
                $value
            }
            $crate::state::ElementType::F64 => {
                type $type = f64;
                $value
            }
            $crate::state::ElementType::I64 => {
                type $type = i64;
                $value
            }
        }
    };
}

pub(crate) use for_element;

impl TensorData {
    /// Zeros of a shape that was validated.
    pub(super) fn zeros(element: ElementType, shape: &[u64]) -> Self {
        let shape: Vec<usize> = shape.iter().map(|axis| *axis as usize).collect();
        for_element!(element, T => T::tensor(ArrayD::zeros(IxDyn(&shape))))
    }

    /// The values of a tensor of a state, in row-major order.
    ///
    /// # Panics
    /// The tensor is of another type.
    pub(crate) fn slice<T: Number>(&self) -> &[T] {
        let Some(array) = T::array(self) else { panic!("expected elements of {}", T::ELEMENT) };
        array.as_slice().expect("states are row-major")
    }

    /// The values of a tensor of a state, to change.
    ///
    /// # Panics
    /// The tensor is of another type.
    pub(crate) fn slice_mut<T: Number>(&mut self) -> &mut [T] {
        let Some(array) = T::array_mut(self) else { panic!("expected elements of {}", T::ELEMENT) };
        array.as_slice_mut().expect("states are row-major")
    }
}
