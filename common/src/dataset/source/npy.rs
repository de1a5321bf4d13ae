//! `npy` folders: a NumPy array of features and one of labels for each split.
//!
//! ```text
//! 93 'NUMPY' major minor   header length (u16, from version 2 on u32; little-endian)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }
//! the values, row by row
//! ```

use std::path::Path;

use super::file::{SPLIT_BYTES, SourceFile};
use super::{Loaded, Part};
use crate::dataset::{DatasetError, Features};
use crate::limits;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Limit of a header. NumPy's own headers have 128 bytes.
const HEADER_BYTES: u32 = 4096;

/// Loads both splits; the test split may be missing.
pub(super) fn load(folder: &Path, label_bound: u32) -> Result<Loaded, DatasetError> {
    let train = split(folder, "train", label_bound, None)?;
    let names = ["test_features.npy", "test_labels.npy"];
    let test = if names.iter().any(|name| folder.join(name).exists()) {
        Some(split(folder, "test", label_bound, Some(&train))?)
    } else {
        None
    };
    let scale = match train.features {
        Features::U8(_) => 255.0,
        Features::F32(_) => 1.0,
    };
    Ok(Loaded { train, test, scale })
}

fn split(
    folder: &Path,
    prefix: &str,
    label_bound: u32,
    train: Option<&Part>,
) -> Result<Part, DatasetError> {
    let open = |what| SourceFile::open(&folder.join(format!("{prefix}_{what}.npy")));
    let (examples, width, features) = features(open("features")?, train)?;
    let labels = labels(open("labels")?, examples, label_bound)?;
    Ok(Part { features, labels, width })
}

fn features(
    mut file: SourceFile<'_>,
    train: Option<&Part>,
) -> Result<(u64, u32, Features), DatasetError> {
    let header = Header::read(&mut file)?;
    let found = format!("{} of shape {:?}", header.element, header.shape);
    let [examples, rest @ ..] = &header.shape[..] else {
        return Err(file.wrong_byte(header.start, "an array of examples", found));
    };
    let width = rest.iter().try_fold(1u64, |width, length| width.checked_mul(*length));
    let width = width.filter(|width| (1..=u64::from(limits::FEATURES)).contains(width));
    let (Some(width), 1.., false) = (width, *examples, rest.is_empty()) else {
        let expected = format!("shape [examples, features…], up to {} features", limits::FEATURES);
        return Err(file.wrong_byte(header.start, expected, found));
    };
    let size = match header.element.as_str() {
        "|u1" => 1,
        "<f4" => 4,
        _ => {
            let expected = "features of type |u1 or <f4 (astype(numpy.float32) makes it)";
            return Err(file.wrong_byte(header.start, expected, found));
        }
    };
    if let Some(train) = train {
        let bytes = train.features.element().bytes() as u64;
        if u64::from(train.width) != width || bytes != size {
            let expected = format!("{} features of {bytes} bytes, as of train", train.width);
            return Err(file.wrong_byte(header.start, expected, found));
        }
    }
    let values = header.values(&mut file, size)?;
    let features = if size == 1 {
        Features::U8(values)
    } else {
        let values: Vec<f32> =
            values.chunks_exact(4).map(|v| f32::from_le_bytes(array(v))).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let byte = header.end + 4 * at as u64;
            return Err(file.wrong_byte(byte, "a finite value", values[at]));
        }
        Features::F32(values)
    };
    Ok((*examples, width as u32, features))
}

fn labels(
    mut file: SourceFile<'_>,
    examples: u64,
    label_bound: u32,
) -> Result<Vec<u32>, DatasetError> {
    let header = Header::read(&mut file)?;
    if header.shape != [examples] {
        let expected = format!("shape [{examples}], a label for each example");
        return Err(file.wrong_byte(header.start, expected, format!("{:?}", header.shape)));
    }
    let size = match header.element.as_str() {
        "|u1" => 1,
        "<u4" | "<i4" => 4,
        "<i8" => 8,
        other => {
            let expected = "labels of type |u1, <u4, <i4 or <i8";
            return Err(file.wrong_byte(header.start, expected, other));
        }
    };
    let values = header.values(&mut file, size)?;
    let mut labels = Vec::with_capacity(examples as usize);
    for (at, value) in values.chunks_exact(size as usize).enumerate() {
        let label = match header.element.as_str() {
            "|u1" => i64::from(value[0]),
            "<u4" => i64::from(u32::from_le_bytes(array(value))),
            "<i4" => i64::from(i32::from_le_bytes(array(value))),
            _ => i64::from_le_bytes(array(value)),
        };
        if !(0..i64::from(label_bound)).contains(&label) {
            let byte = header.end + size * at as u64;
            return Err(file.wrong_byte(
                byte,
                format!("a label from 0, below {label_bound}"),
                label,
            ));
        }
        labels.push(label as u32);
    }
    Ok(labels)
}

/// Bytes of one value; the caller has cut them to its size.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a chunk has the size it was cut to")
}

/// The header of a file.
struct Header {
    /// NumPy's name of the type, as in `<f4`.
    element: String,
    shape: Vec<u64>,
    /// Where the header's text starts and ends.
    start: u64,
    end: u64,
}

impl Header {
    fn read(file: &mut SourceFile<'_>) -> Result<Self, DatasetError> {
        let magic = file.take(8, "the magic bytes and version")?;
        if &magic[..6] != MAGIC {
            let found = magic[..6].escape_ascii();
            return Err(file.wrong_byte(0, "the magic bytes \\x93NUMPY of npy", found));
        }
        let length_bytes = match magic[6] {
            1 => 2,
            2 | 3 => 4,
            other => return Err(file.wrong_byte(6, "npy version 1, 2 or 3", other)),
        };
        let length = file.take(length_bytes, "the header's length")?;
        let length = length.iter().rev().fold(0u32, |length, byte| length << 8 | u32::from(*byte));
        if length > HEADER_BYTES {
            let expected = format!("a header of at most {HEADER_BYTES} bytes");
            return Err(file.wrong_byte(8, expected, length));
        }
        let start = 8 + length_bytes;
        let text = file.take(length.into(), "the header")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let Some((element, fortran_order, shape)) = parse(&text) else {
            let expected = "a header with 'descr', 'fortran_order' and 'shape' of a plain array";
            let found: String = text.trim_end().chars().take(200).collect();
            return Err(file.wrong_byte(start, expected, found));
        };
        if fortran_order {
            let expected = "row-major order (numpy.ascontiguousarray makes it)";
            return Err(file.wrong_byte(start, expected, "fortran_order"));
        }
        Ok(Self { element, shape, start, end: start + u64::from(length) })
    }

    /// The values' bytes, `size` each, and the end of the file.
    fn values(&self, file: &mut SourceFile<'_>, size: u64) -> Result<Vec<u8>, DatasetError> {
        let bytes = self.shape.iter().try_fold(size, |bytes, length| bytes.checked_mul(*length));
        let Some(bytes) = bytes.filter(|bytes| *bytes <= SPLIT_BYTES) else {
            let expected = format!("at most {SPLIT_BYTES} bytes of values");
            return Err(file.wrong_byte(self.start, expected, format!("shape {:?}", self.shape)));
        };
        let values = file.take(bytes, "values")?;
        file.end()?;
        Ok(values)
    }
}

/// Reads the header's dictionary: type, whether it is in Fortran order, and
/// shape. `None` for anything but the three keys of a plain array.
fn parse(text: &str) -> Option<(String, bool, Vec<u64>)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut element, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (name, after) = quoted(value)?;
                element = Some(name.to_string());
                after
            }
            "fortran_order" => {
                let (flag, after) = match value.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, value.strip_prefix("False")?),
                };
                fortran_order = Some(flag);
                after
            }
            "shape" => {
                let (tuple, after) = value.strip_prefix('(')?.split_once(')')?;
                let tuple = tuple.trim();
                let lengths = tuple.strip_suffix(',').unwrap_or(tuple).split(',');
                let lengths = lengths.filter(|_| !tuple.is_empty());
                shape = Some(
                    lengths.map(|length| length.trim().parse()).collect::<Result<_, _>>().ok()?,
                );
                after
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some((element?, fortran_order?, shape?))
}

/// A quoted text at the start, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')?.split_once('\'')
}
