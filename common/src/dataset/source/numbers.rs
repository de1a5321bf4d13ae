//! Number types of arrays, and their bytes as numbers.

/// A number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// A byte, 0 or 1.
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    /// The first half of the bits of an [`Number::F32`].
    Bf16,
    F32,
    F64,
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Number {
    /// Bytes of one number.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether an example of this type is kept as bytes.
    pub(super) fn is_byte(self) -> bool {
        matches!(self, Self::Bool | Self::U8)
    }

    /// Whether not every number of this type is a whole number.
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// The numbers in `bytes`, each rounded once to the nearest single-precision value.
    pub(super) fn singles(self, order: Order, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Bool | Self::U8 => each(order, bytes, |b| f32::from(u8::from_le_bytes(b))),
            Self::I8 => each(order, bytes, |b| f32::from(i8::from_le_bytes(b))),
            Self::U16 => each(order, bytes, |b| f32::from(u16::from_le_bytes(b))),
            Self::I16 => each(order, bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::U32 => each(order, bytes, |b| u32::from_le_bytes(b) as f32),
            Self::I32 => each(order, bytes, |b| i32::from_le_bytes(b) as f32),
            Self::U64 => each(order, bytes, |b| u64::from_le_bytes(b) as f32),
            Self::I64 => each(order, bytes, |b| i64::from_le_bytes(b) as f32),
            Self::F16 => each(order, bytes, |b| half(u16::from_le_bytes(b))),
            Self::Bf16 => {
                each(order, bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
            }
            Self::F32 => each(order, bytes, f32::from_le_bytes),
            Self::F64 => each(order, bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }

    /// The numbers in `bytes`, each rounded once to the nearest double-precision value.
    pub(super) fn doubles(self, order: Order, bytes: &[u8]) -> Vec<f64> {
        match self {
            Self::U64 => each(order, bytes, |b| u64::from_le_bytes(b) as f64),
            Self::I64 => each(order, bytes, |b| i64::from_le_bytes(b) as f64),
            Self::U32 => each(order, bytes, |b| f64::from(u32::from_le_bytes(b))),
            Self::I32 => each(order, bytes, |b| f64::from(i32::from_le_bytes(b))),
            Self::F64 => each(order, bytes, f64::from_le_bytes),
            // The others are exact in single precision.
            _ => self.singles(order, bytes).into_iter().map(f64::from).collect(),
        }
    }
}

/// Converts each `N` bytes, which `convert` gets in little-endian order.
fn each<const N: usize, T>(order: Order, bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (numbers, _) = bytes.as_chunks::<N>();
    let ordered = numbers.iter().map(|number| {
        let mut number = *number;
        if order == Order::Big {
            number.reverse();
        }
        convert(number)
    });
    ordered.collect()
}

/// A half-precision number: 1 bit of sign, 5 of exponent, 10 of fraction.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => sign * fraction as f32 / (1 << 24) as f32,
        31 if fraction == 0 => sign * f32::INFINITY,
        31 => f32::NAN,
        // Single precision has an exponent with a bias larger by 112, and 13 bits more of
        // fraction.
        _ => sign * f32::from_bits((exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision() {
        // Bits and values as numpy.float16 has them.
        let cases = [
            (0x0000, 0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfbff, -65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
        assert!(half(0x8000).is_sign_negative());
    }

    #[test]
    fn whole_numbers_are_rounded_once() {
        // Through double precision this would be rounded twice, to the value below.
        let value = (1_i64 << 60) + (1 << 36) + 1;
        let bytes = value.to_le_bytes();
        let expected = ((1_i64 << 60) + (1 << 37)) as f32;
        assert_eq!(Number::I64.singles(Order::Little, &bytes), [expected]);
        let reversed: Vec<u8> = bytes.into_iter().rev().collect();
        assert_eq!(Number::I64.singles(Order::Big, &reversed), [expected]);
    }

    #[test]
    fn every_type_has_its_extremes() {
        let singles = |number: Number, bytes: &[u8]| number.singles(Order::Little, bytes)[0];
        assert_eq!(singles(Number::I8, &(-128_i8).to_le_bytes()), -128.0);
        assert_eq!(singles(Number::U16, &65535_u16.to_le_bytes()), 65535.0);
        assert_eq!(singles(Number::I16, &(-32768_i16).to_le_bytes()), -32768.0);
        assert_eq!(singles(Number::U32, &u32::MAX.to_le_bytes()), 4_294_967_296.0);
        assert_eq!(singles(Number::U64, &u64::MAX.to_le_bytes()), 18_446_744_073_709_551_616.0);
        assert_eq!(singles(Number::Bf16, &0x3f80_u16.to_le_bytes()), 1.0);
        assert_eq!(singles(Number::Bf16, &0xc049_u16.to_le_bytes()), -3.140_625);
        assert!(singles(Number::Bf16, &0x7fc0_u16.to_le_bytes()).is_nan());
        assert_eq!(singles(Number::F64, &1e300_f64.to_le_bytes()), f32::INFINITY);
        let bytes = u32::MAX.to_le_bytes();
        assert_eq!(Number::U32.doubles(Order::Little, &bytes), [4_294_967_295.0]);
    }
}
