//! One value as a text, as pandas writes it to CSV: numbers exactly, dates as such.

use std::io::Write;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;
use time::{Date, Duration, OffsetDateTime};

use crate::dataset::source::numbers::half;

/// What the values of a column mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Their type says it.
    Plain,
    Unsigned,
    /// A whole number, with so many digits behind the point.
    Decimal(u32),
    /// Days from 1970 on.
    Date,
    /// Parts of a second from 1970 on, of which a second has so many.
    Timestamp(i64),
    /// Floats of 16 bits.
    Half,
    /// Texts in UTF-8.
    Text,
    /// Any bytes.
    Bytes,
}

/// Most digits behind the point: those of 128 bits.
const DECIMALS: i32 = 38;

impl Format {
    pub(super) fn of(descriptor: &ColumnDescriptor) -> Self {
        if let Some(logical) = descriptor.logical_type_ref() {
            match logical {
                LogicalType::String | LogicalType::Enum | LogicalType::Json => return Self::Text,
                LogicalType::Decimal(decimal) => return Self::decimal(decimal.scale),
                LogicalType::Date => return Self::Date,
                LogicalType::Timestamp(timestamp) => {
                    return Self::Timestamp(match timestamp.unit {
                        TimeUnit::MILLIS => 1_000,
                        TimeUnit::MICROS => 1_000_000,
                        TimeUnit::NANOS => 1_000_000_000,
                    });
                }
                LogicalType::Integer(integer) if !integer.is_signed => return Self::Unsigned,
                LogicalType::Float16 => return Self::Half,
                _ => {}
            }
        }
        match (descriptor.converted_type(), descriptor.physical_type()) {
            (ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, _) => Self::Text,
            (ConvertedType::DECIMAL, _) => Self::decimal(descriptor.type_scale()),
            (ConvertedType::DATE, _) => Self::Date,
            (ConvertedType::TIMESTAMP_MILLIS, _) => Self::Timestamp(1_000),
            (ConvertedType::TIMESTAMP_MICROS, _) => Self::Timestamp(1_000_000),
            (ConvertedType::UINT_8 | ConvertedType::UINT_16, _) => Self::Unsigned,
            (ConvertedType::UINT_32 | ConvertedType::UINT_64, _) => Self::Unsigned,
            (_, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY) => Self::Bytes,
            _ => Self::Plain,
        }
    }

    fn decimal(scale: i32) -> Self {
        Self::Decimal(scale.clamp(0, DECIMALS) as u32)
    }
}

/// A value of a type of Parquet.
pub(super) trait Value {
    /// Its text, which is written to `text`, or its bytes; `None` if it stands for nothing.
    fn bytes<'a>(&'a self, format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]>;
}

impl Value for bool {
    fn bytes<'a>(&'a self, _: Format, _: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(if *self { b"True" } else { b"False" })
    }
}

impl Value for i32 {
    fn bytes<'a>(&'a self, format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match format {
            Format::Unsigned => written(text, self.cast_unsigned()),
            Format::Decimal(scale) => decimal(text, (*self).into(), scale),
            Format::Date => {
                let epoch = Date::from_ordinal_date(1970, 1).ok()?;
                written(text, epoch.checked_add(Duration::days((*self).into()))?)
            }
            _ => written(text, self),
        }
    }
}

impl Value for i64 {
    fn bytes<'a>(&'a self, format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match format {
            Format::Unsigned => written(text, self.cast_unsigned()),
            Format::Decimal(scale) => decimal(text, (*self).into(), scale),
            Format::Timestamp(unit) => {
                timestamp(text, i128::from(*self) * i128::from(1_000_000_000 / unit))
            }
            _ => written(text, self),
        }
    }
}

impl Value for Int96 {
    fn bytes<'a>(&'a self, _: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let &[low, high, day] = self.data() else { return None };
        let nanoseconds = i128::from(high) << 32 | i128::from(low);
        // The day is a Julian one.
        let days = i128::from(day) - 2_440_588;
        timestamp(text, days * 86_400 * 1_000_000_000 + nanoseconds)
    }
}

impl Value for f32 {
    fn bytes<'a>(&'a self, _: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if self.is_nan() { None } else { written(text, self) }
    }
}

impl Value for f64 {
    fn bytes<'a>(&'a self, _: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if self.is_nan() { None } else { written(text, self) }
    }
}

impl Value for ByteArray {
    fn bytes<'a>(&'a self, format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        of_bytes(self.data(), format, text)
    }
}

impl Value for FixedLenByteArray {
    fn bytes<'a>(&'a self, format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        of_bytes(self.data(), format, text)
    }
}

fn of_bytes<'a>(bytes: &'a [u8], format: Format, text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    match format {
        Format::Half => {
            let value = half(u16::from_le_bytes(bytes.try_into().ok()?));
            if value.is_nan() { None } else { written(text, value) }
        }
        Format::Decimal(scale) => {
            let mut value = [if bytes.first()? >> 7 == 0 { 0 } else { 0xff }; 16];
            let start = value.len().checked_sub(bytes.len())?;
            value[start..].copy_from_slice(bytes);
            decimal(text, i128::from_be_bytes(value), scale)
        }
        _ => Some(bytes),
    }
}

fn written(text: &mut Vec<u8>, value: impl std::fmt::Display) -> Option<&[u8]> {
    // Writing to memory cannot fail.
    let _ = write!(text, "{value}");
    Some(text)
}

fn decimal(text: &mut Vec<u8>, value: i128, scale: u32) -> Option<&[u8]> {
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let unit = 10_u128.pow(scale);
    let (whole, rest, digits) = (value / unit, value % unit, scale as usize);
    match scale {
        0 => written(text, format_args!("{sign}{whole}")),
        _ => written(text, format_args!("{sign}{whole}.{rest:0digits$}")),
    }
}

fn timestamp(text: &mut Vec<u8>, nanoseconds: i128) -> Option<&[u8]> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    written(text, format_args!("{} {}", moment.date(), moment.time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Value, format: Format) -> Option<String> {
        let mut text = Vec::new();
        value.bytes(format, &mut text).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn values_have_the_text_that_pandas_writes() {
        let cases = [
            (text(&true, Format::Plain), "True"),
            (text(&-1_i32, Format::Plain), "-1"),
            (text(&-1_i32, Format::Unsigned), "4294967295"),
            (text(&-1_i64, Format::Unsigned), "18446744073709551615"),
            (text(&-1234_i32, Format::Decimal(2)), "-12.34"),
            (text(&5_i64, Format::Decimal(3)), "0.005"),
            (text(&7_i64, Format::Decimal(0)), "7"),
            (text(&19_000_i32, Format::Date), "2022-01-08"),
            (text(&1_641_600_000_500_i64, Format::Timestamp(1000)), "2022-01-08 0:00:00.5"),
            (text(&0.1_f32, Format::Plain), "0.1"),
            (text(&0.1_f64, Format::Plain), "0.1"),
            (text(&f64::INFINITY, Format::Plain), "inf"),
            (text(&ByteArray::from("é"), Format::Text), "é"),
            (text(&ByteArray::from(vec![0xfe, 0x0c]), Format::Decimal(1)), "-50.0"),
            (text(&ByteArray::from(vec![0x00, 0x3c]), Format::Half), "1"),
        ];
        for (found, expected) in cases {
            assert_eq!(found.as_deref(), Some(expected));
        }
        for none in [
            text(&f32::NAN, Format::Plain),
            text(&i64::MAX, Format::Timestamp(1000)),
            text(&i32::MAX, Format::Date),
            text(&ByteArray::from(vec![]), Format::Decimal(1)),
            text(&ByteArray::from(vec![1; 17]), Format::Decimal(1)),
            text(&ByteArray::from(vec![1]), Format::Half),
        ] {
            assert_eq!(none, None);
        }
    }
}
