//! The header of a `.npy` file.
//!
//! ```text
//! 93 'NUMPY' major minor   header length (u16, from version 2 on u32; little-endian)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }
//! the values
//! ```

use crate::dataset::DatasetError;
use crate::dataset::source::array::{Bytes, Layout};
use crate::dataset::source::numbers::{Number, Order};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Limit of a header, the one which NumPy has by default. The header of a plain array has 128
/// bytes.
const HEADER_BYTES: u32 = 10_000;

/// Most brackets that open in the header of a plain array: those of the dictionary, of the shape
/// and of a unit, as in `<M8[s]`.
const BRACKETS: usize = 3;

/// Most characters of a header in an error.
const SHOWN: usize = 200;

/// Texts of one size, with zeros at their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) coding: Coding,
    /// Characters of one text.
    pub(super) length: u64,
}

/// How characters are coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coding {
    /// As 32-bit numbers.
    Ucs4(Order),
    /// As bytes; those beyond ASCII are taken as UTF-8.
    Utf8,
}

/// What is in an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    Number(Number, Order),
    Text(Text),
}

/// A header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) element: Element,
    /// NumPy's name of the type, as in `<f4`.
    pub(super) descr: String,
    fortran: bool,
    shape: Vec<u64>,
    /// The byte at which the header's dictionary starts.
    pub(super) text_at: u64,
    /// The byte of the first value.
    pub(super) start: u64,
}

impl Header {
    /// Reads the header at the start of a file.
    pub(super) fn read(file: &mut dyn Bytes) -> Result<Self, DatasetError> {
        let magic = file.take(8, "the magic bytes and version")?;
        if &magic[..6] != MAGIC {
            let found = magic[..6].escape_ascii().to_string();
            return Err(file.wrong_byte(0, "the magic bytes \\x93NUMPY of npy".into(), found));
        }
        let length_bytes = match magic[6] {
            1 => 2,
            2 | 3 => 4,
            other => {
                let expected = "npy version 1, 2 or 3".into();
                return Err(file.wrong_byte(6, expected, other.to_string()));
            }
        };
        let length = file.take(length_bytes, "the header's length")?;
        let length = length.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        if length > HEADER_BYTES {
            let expected = format!("a header of at most {HEADER_BYTES} bytes");
            return Err(file.wrong_byte(8, expected, length.to_string()));
        }
        let text_at = 8 + length_bytes;
        let text = file.take(length.into(), "the header")?;
        Self::parse(&text, text_at)
            .map_err(|(expected, found)| file.wrong_byte(text_at, expected, found))
    }

    /// Reads the dictionary at byte `text_at`, or says what was expected and found.
    fn parse(text: &[u8], text_at: u64) -> Result<Self, (String, String)> {
        let start = text_at + text.len() as u64;
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end();
        let wrong = |hint: &str| {
            let expected = "a header with 'descr', 'fortran_order' and 'shape' of a plain array";
            let found: String = text.chars().take(SHOWN).collect();
            (expected.to_string(), format!("{found}{hint}"))
        };
        if text.contains("'descr': [") {
            return Err(wrong(
                " (named fields): make it a plain array, with \
                 numpy.lib.recfunctions.structured_to_unstructured or DataFrame.to_numpy",
            ));
        }
        let header = parsed(text).ok_or_else(|| wrong(""))?;
        let descr = header.type_descriptor.as_string().ok_or_else(|| wrong(""))?;
        let element = element(descr)?;
        Ok(Self {
            element,
            descr: descr.clone(),
            fortran: header.layout.is_fortran(),
            shape: header.shape.iter().map(|length| *length as u64).collect(),
            text_at,
            start,
        })
    }

    /// The layout of an array of numbers.
    pub(super) fn layout(&self, number: Number, order: Order) -> Layout {
        Layout {
            number,
            order,
            shape: self.shape.clone(),
            fortran: self.fortran,
            shape_at: self.text_at,
            start: self.start,
        }
    }
}

/// Parses the dictionary. The parser of ndarray-npy takes any Python literal, and needs at least
/// twice the time for each bracket inside of another one. So no text gets there that has more
/// brackets than a plain array's header, nor sums or escapes, which no such header has.
fn parsed(text: &str) -> Option<ndarray_npy::npy::header::Header> {
    let brackets = text.chars().filter(|c| "([{".contains(*c)).count();
    if brackets > BRACKETS || text.contains(['\\', '+', '-']) {
        return None;
    }
    // Python 2 wrote some lengths as `60000L`.
    let text = text.replace("L,", ",").replace("L)", ")");
    let length = u32::try_from(text.len() + 1).ok()?;
    // Rewritten as version 3, which has no alignment, and UTF-8 text.
    let mut bytes = MAGIC.to_vec();
    bytes.extend([3, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(b'\n');
    ndarray_npy::npy::header::Header::from_reader(&mut &bytes[..]).ok()
}

/// The element type of NumPy's name, or what was expected and found.
fn element(descr: &str) -> Result<Element, (String, String)> {
    let expected = || "an array of numbers or texts".to_string();
    let order = if descr.starts_with('>') { Order::Big } else { Order::Little };
    let kind = descr.strip_prefix(['<', '>', '|']).unwrap_or(descr);
    let number = match kind {
        "b1" => Number::Bool,
        "u1" => Number::U8,
        "i1" => Number::I8,
        "u2" => Number::U16,
        "i2" => Number::I16,
        "u4" => Number::U32,
        "i4" => Number::I32,
        "u8" => Number::U64,
        "i8" => Number::I64,
        "f2" => Number::F16,
        "f4" => Number::F32,
        "f8" => Number::F64,
        "O" => {
            let found = "Python objects (|O), which only Python can read: save \
                         array.astype(numpy.float32), or array.astype(str) for texts, with \
                         allow_pickle=False";
            return Err((expected(), found.into()));
        }
        _ => {
            let text = kind.split_at_checked(1).and_then(|(letter, length)| {
                let length = length.parse().ok()?;
                match letter {
                    "U" => Some(Text { coding: Coding::Ucs4(order), length }),
                    "S" => Some(Text { coding: Coding::Utf8, length }),
                    _ => None,
                }
            });
            let found: String = descr.chars().take(SHOWN).collect();
            let found = format!("type {found}: save array.astype(numpy.float32)");
            return text.map(Element::Text).ok_or_else(|| (expected(), found));
        }
    };
    Ok(Element::Number(number, order))
}
