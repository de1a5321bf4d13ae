//! Numbers of any type that safetensors files have, as those of states.

use safetensors::Dtype;

/// A value that does not fit: its place, and its text.
pub(in crate::state) type Misfit = (usize, String);

/// 2^64, the first whole number above those that a counter holds.
const U64_END: f64 = 18_446_744_073_709_551_616.0;

/// 2^63, the first whole number above those of i64, which begin with its negative.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// A binary float of at most 16 bits.
struct SmallFloat {
    /// Bits of the mantissa.
    mantissa: u32,
    /// Bits of the exponent.
    exponent: u32,
    bias: i32,
    /// Which bits are no number.
    special: Special,
}

/// Bits that are no finite number.
enum Special {
    /// The largest exponent, as IEEE 754 has it.
    Exponent,
    /// All bits but the sign.
    All,
    /// The bits of minus zero.
    MinusZero,
}

const F16: SmallFloat =
    SmallFloat { mantissa: 10, exponent: 5, bias: 15, special: Special::Exponent };
const E5M2: SmallFloat =
    SmallFloat { mantissa: 2, exponent: 5, bias: 15, special: Special::Exponent };
const E4M3: SmallFloat = SmallFloat { mantissa: 3, exponent: 4, bias: 7, special: Special::All };
const E5M2_FNUZ: SmallFloat =
    SmallFloat { mantissa: 2, exponent: 5, bias: 16, special: Special::MinusZero };
const E4M3_FNUZ: SmallFloat =
    SmallFloat { mantissa: 3, exponent: 4, bias: 8, special: Special::MinusZero };

impl SmallFloat {
    /// The same value; every one of them is one of f32.
    fn to_f32(&self, bits: u32) -> f32 {
        let magnitude = bits & ((1 << (self.mantissa + self.exponent)) - 1);
        let is_negative = magnitude != bits;
        let exponent = magnitude >> self.mantissa;
        let mantissa = magnitude & ((1 << self.mantissa) - 1);
        let largest = (1 << self.exponent) - 1;
        let special = match self.special {
            Special::Exponent => exponent == largest,
            Special::All => exponent == largest && mantissa + 1 == 1 << self.mantissa,
            Special::MinusZero => magnitude == 0 && is_negative,
        };
        let is_infinite = special && mantissa == 0 && matches!(self.special, Special::Exponent);
        let value = match (special, exponent) {
            (true, _) if is_infinite => f32::INFINITY,
            (true, _) => f32::NAN,
            (false, 0) => mantissa as f32 * power(1 - self.bias - self.mantissa as i32),
            (false, _) => {
                let whole = mantissa | (1 << self.mantissa);
                whole as f32 * power(exponent as i32 - self.bias - self.mantissa as i32)
            }
        };
        if is_negative { -value } else { value }
    }
}

/// 2 to a power that a normal f32 has.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Numbers of one type, read one by one.
enum Reader {
    Float(fn(&[u8]) -> f64),
    Signed(fn(&[u8]) -> i64),
    Unsigned(fn(&[u8]) -> u64),
}

/// As many bytes as a number has.
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(&bytes[..N]);
    word
}

fn half(bytes: &[u8]) -> u32 {
    u16::from_le_bytes(word(bytes)).into()
}

/// How numbers of this type are read; `None`: they are not.
fn reader(dtype: Dtype) -> Option<Reader> {
    use Reader::{Float, Signed, Unsigned};
    Some(match dtype {
        Dtype::F64 => Float(|it| f64::from_le_bytes(word(it))),
        Dtype::F32 => Float(|it| f32::from_le_bytes(word(it)).into()),
        Dtype::BF16 => Float(|it| f32::from_bits(half(it) << 16).into()),
        Dtype::F16 => Float(|it| F16.to_f32(half(it)).into()),
        Dtype::F8_E5M2 => Float(|it| E5M2.to_f32(it[0].into()).into()),
        Dtype::F8_E4M3 => Float(|it| E4M3.to_f32(it[0].into()).into()),
        Dtype::F8_E5M2FNUZ => Float(|it| E5M2_FNUZ.to_f32(it[0].into()).into()),
        Dtype::F8_E4M3FNUZ => Float(|it| E4M3_FNUZ.to_f32(it[0].into()).into()),
        Dtype::I8 => Signed(|it| i8::from_le_bytes(word(it)).into()),
        Dtype::I16 => Signed(|it| i16::from_le_bytes(word(it)).into()),
        Dtype::I32 => Signed(|it| i32::from_le_bytes(word(it)).into()),
        Dtype::I64 => Signed(|it| i64::from_le_bytes(word(it))),
        Dtype::U8 => Unsigned(|it| it[0].into()),
        // As in PyTorch, any byte but 0 is true.
        Dtype::BOOL => Unsigned(|it| u64::from(it[0] != 0)),
        Dtype::U16 => Unsigned(|it| half(it).into()),
        Dtype::U32 => Unsigned(|it| u32::from_le_bytes(word(it)).into()),
        Dtype::U64 => Unsigned(|it| u64::from_le_bytes(word(it))),
        _ => return None,
    })
}

/// Whether numbers of this type can be read.
pub(in crate::state) fn is_known(dtype: Dtype) -> bool {
    reader(dtype).is_some()
}

/// Whether numbers of this type are whole.
pub(in crate::state) fn is_whole(dtype: Dtype) -> bool {
    matches!(reader(dtype), Some(Reader::Signed(_) | Reader::Unsigned(_)))
}

/// The nearest f32 of each number. An error where that is not finite.
pub(in crate::state) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, Misfit> {
    let words = bytes.chunks_exact(size(dtype));
    let value = |wide: f64, at: usize| {
        let value = wide as f32;
        if value.is_finite() { Ok(value) } else { Err((at, text(wide))) }
    };
    match reader(dtype) {
        _ if dtype == Dtype::F32 => {
            let values: Vec<f32> = words.map(|it| f32::from_le_bytes(word(it))).collect();
            match super::super::values::first_not_finite(&values) {
                Some(at) => Err((at, text(values[at].into()))),
                None => Ok(values),
            }
        }
        Some(Reader::Float(read)) => {
            words.enumerate().map(|(at, it)| value(read(it), at)).collect()
        }
        Some(Reader::Signed(read)) => Ok(words.map(|it| read(it) as f32).collect()),
        Some(Reader::Unsigned(read)) => Ok(words.map(|it| read(it) as f32).collect()),
        None => Err((0, format!("the type {dtype:?}"))),
    }
}

/// The nearest f64 of each number. An error where that is not finite.
pub(in crate::state) fn to_f64(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f64>, Misfit> {
    let words = bytes.chunks_exact(size(dtype));
    match reader(dtype) {
        Some(Reader::Float(read)) => {
            let value = |value: f64, at| {
                if value.is_finite() { Ok(value) } else { Err((at, text(value))) }
            };
            words.enumerate().map(|(at, it)| value(read(it), at)).collect()
        }
        Some(Reader::Signed(read)) => Ok(words.map(|it| read(it) as f64).collect()),
        Some(Reader::Unsigned(read)) => Ok(words.map(|it| read(it) as f64).collect()),
        None => Err((0, format!("the type {dtype:?}"))),
    }
}

/// Each number as an i64. An error where it is beyond that, or not whole.
pub(in crate::state) fn to_i64(dtype: Dtype, bytes: &[u8]) -> Result<Vec<i64>, Misfit> {
    let words = bytes.chunks_exact(size(dtype));
    match reader(dtype) {
        Some(Reader::Signed(read)) => Ok(words.map(read).collect()),
        Some(Reader::Unsigned(read)) => {
            let whole = |value: u64, at| i64::try_from(value).map_err(|_| (at, value.to_string()));
            words.enumerate().map(|(at, it)| whole(read(it), at)).collect()
        }
        Some(Reader::Float(read)) => {
            let is_whole =
                |value: f64| value.fract() == 0.0 && (-I64_END..I64_END).contains(&value);
            let whole = |value: f64, at| {
                if is_whole(value) { Ok(value as i64) } else { Err((at, text(value))) }
            };
            words.enumerate().map(|(at, it)| whole(read(it), at)).collect()
        }
        None => Err((0, format!("the type {dtype:?}"))),
    }
}

/// Each number as a counter. An error where it is negative, or not whole.
pub(in crate::state) fn to_u64(dtype: Dtype, bytes: &[u8]) -> Result<Vec<u64>, Misfit> {
    let words = bytes.chunks_exact(size(dtype));
    match reader(dtype) {
        Some(Reader::Unsigned(read)) => Ok(words.map(read).collect()),
        Some(Reader::Signed(read)) => {
            let count = |value: i64, at| u64::try_from(value).map_err(|_| (at, value.to_string()));
            words.enumerate().map(|(at, it)| count(read(it), at)).collect()
        }
        Some(Reader::Float(read)) => {
            let is_count = |value: f64| value.fract() == 0.0 && (0.0..U64_END).contains(&value);
            let count = |value: f64, at| {
                if is_count(value) { Ok(value as u64) } else { Err((at, text(value))) }
            };
            words.enumerate().map(|(at, it)| count(read(it), at)).collect()
        }
        None => Err((0, format!("the type {dtype:?}"))),
    }
}

/// Bytes of a number of a type that is known.
fn size(dtype: Dtype) -> usize {
    (dtype.bitsize() / 8).max(1)
}

/// A number in few digits: 1e300 has 300 otherwise.
fn text(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e15).contains(&value.abs()) && value.is_finite() {
        return format!("{value:e}");
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        to_f32(dtype, bytes).unwrap()
    }

    #[test]
    fn small_floats_have_the_values_of_their_standards() {
        let halves = |bits: &[u16]| bits.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
        let bits = [0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x8000, 0x3555];
        let expected =
            [1.0, -2.0, 5.960_464_5e-8, 6.097_555e-5, 6.103_515_6e-5, 65504.0, -0.0, 0.333_251_95];
        assert_eq!(f32s(Dtype::F16, &halves(&bits)), expected);
        assert_eq!(
            f32s(Dtype::BF16, &halves(&[0x3f80, 0xc049, 0x0001])),
            [1.0, -3.140_625, f32::from_bits(0x0001_0000)]
        );
        assert_eq!(
            f32s(Dtype::F8_E4M3, &[0x38, 0x7e, 0x01, 0x08, 0xb8]),
            [1.0, 448.0, 0.001_953_125, 0.015_625, -1.0]
        );
        assert_eq!(f32s(Dtype::F8_E5M2, &[0x3c, 0x7b, 0x01]), [1.0, 57344.0, 1.525_878_9e-5]);
        assert_eq!(f32s(Dtype::F8_E4M3FNUZ, &[0x40, 0x7f]), [1.0, 240.0]);
        assert_eq!(f32s(Dtype::F8_E5M2FNUZ, &[0x40, 0x7f]), [1.0, 57344.0]);
        for (dtype, bits) in
            [(Dtype::F8_E4M3, 0x7f), (Dtype::F8_E5M2, 0x7d), (Dtype::F8_E4M3FNUZ, 0x80)]
        {
            assert_eq!(to_f32(dtype, &[0, bits]), Err((1, "NaN".into())), "{dtype:?}");
        }
        assert_eq!(to_f32(Dtype::F16, &halves(&[0xfc00])), Err((0, "-inf".into())));
        assert_eq!(to_f32(Dtype::F8_E5M2, &[0x7c]), Err((0, "inf".into())));
    }

    #[test]
    fn every_half_is_what_it_was() {
        // Back by the way that is exact: f32 has all of them.
        for bits in 0..=u16::MAX {
            let value = F16.to_f32(bits.into());
            let (sign, exponent, mantissa) = (bits >> 15, (bits >> 10) & 31, bits & 1023);
            let expected = match exponent {
                31 => continue,
                0 => f64::from(mantissa) * 2f64.powi(-24),
                _ => (1.0 + f64::from(mantissa) / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
            };
            let expected = if sign == 1 { -expected } else { expected };
            assert_eq!(f64::from(value).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
    }

    #[test]
    fn wide_numbers_are_rounded_and_what_does_not_fit_has_its_place() {
        let f64s =
            |values: &[f64]| values.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
        let found = f32s(Dtype::F64, &f64s(&[0.1, -1e-300, 16_777_217.0]));
        assert_eq!(found, [0.1_f32, -0.0, 16_777_216.0]);
        let infinite = to_f32(Dtype::F64, &f64s(&[1.0, 1e300]));
        assert_eq!(infinite, Err((1, "1e300".into())));
        assert_eq!(to_f32(Dtype::F64, &f64s(&[f64::NAN])), Err((0, "NaN".into())));
        assert_eq!(to_f32(Dtype::F32, &f32::INFINITY.to_le_bytes()), Err((0, "inf".into())));
        assert_eq!(f32s(Dtype::I8, &[0xff, 3]), [-1.0, 3.0]);
        assert_eq!(f32s(Dtype::BOOL, &[1, 0, 7]), [1.0, 0.0, 1.0]);
        assert_eq!(to_f32(Dtype::C64, &[0; 8]), Err((0, "the type C64".into())));
    }

    #[test]
    fn counters_are_whole_and_not_negative() {
        let count = |dtype, bytes: &[u8]| to_u64(dtype, bytes);
        assert_eq!(count(Dtype::I64, &7_i64.to_le_bytes()), Ok(vec![7]));
        assert_eq!(count(Dtype::U64, &u64::MAX.to_le_bytes()), Ok(vec![u64::MAX]));
        assert_eq!(count(Dtype::I16, &[1, 0, 0xfe, 0xff]), Err((1, "-2".into())));
        assert_eq!(count(Dtype::F32, &1438_f32.to_le_bytes()), Ok(vec![1438]));
        assert_eq!(count(Dtype::F64, &1.5_f64.to_le_bytes()), Err((0, "1.5".into())));
        assert_eq!(count(Dtype::F64, &1e20_f64.to_le_bytes()), Err((0, "1e20".into())));
        assert_eq!(count(Dtype::F32, &f32::NAN.to_le_bytes()), Err((0, "NaN".into())));
        assert_eq!(count(Dtype::U16, &[1, 2]), Ok(vec![513]));
    }

    #[test]
    fn wide_types_take_what_fits() {
        let f64s =
            |values: &[f64]| values.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
        let values = [0.1, -1e-300, 1e300, -0.0, 5e-324];
        let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&to_f64(Dtype::F64, &f64s(&values)).unwrap()), bits(&values));
        assert_eq!(to_f64(Dtype::F32, &0.1_f32.to_le_bytes()), Ok(vec![f64::from(0.1_f32)]));
        assert_eq!(to_f64(Dtype::I8, &[0xff, 3]), Ok(vec![-1.0, 3.0]));
        assert_eq!(to_f64(Dtype::U64, &u64::MAX.to_le_bytes()), Ok(vec![U64_END]));
        let infinite = to_f64(Dtype::F64, &f64s(&[1.0, f64::NEG_INFINITY]));
        assert_eq!(infinite, Err((1, "-inf".into())));
        assert_eq!(to_f64(Dtype::C64, &[0; 8]), Err((0, "the type C64".into())));

        assert_eq!(to_i64(Dtype::I64, &i64::MIN.to_le_bytes()), Ok(vec![i64::MIN]));
        assert_eq!(to_i64(Dtype::I16, &[1, 0, 0xfe, 0xff]), Ok(vec![1, -2]));
        assert_eq!(to_i64(Dtype::U64, &7_u64.to_le_bytes()), Ok(vec![7]));
        let large = to_i64(Dtype::U64, &[1, 1 << 63].map(u64::to_le_bytes).concat());
        assert_eq!(large, Err((1, "9223372036854775808".into())));
        assert_eq!(to_i64(Dtype::F64, &f64s(&[-I64_END, -0.0])), Ok(vec![i64::MIN, 0]));
        assert_eq!(to_i64(Dtype::F64, &f64s(&[I64_END])), Err((0, "9.223372036854776e18".into())));
        assert_eq!(to_i64(Dtype::F64, &f64s(&[1.0, 0.5])), Err((1, "0.5".into())));
        assert_eq!(to_i64(Dtype::F32, &f32::NAN.to_le_bytes()), Err((0, "NaN".into())));
    }
}
