//! Arrays in a `.safetensors` file, with the names of [`pairs`]. Bytes are little-endian, the last
//! index changes fastest, and the format has no texts.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::array::{self, Bytes, Examples, Labels, Layout, Part};
use super::file::SourceFile;
use super::listing::{missing, shown};
use super::numbers::{Number, Order};
use super::pairs::{self, NoChoice, Pair};
use super::{Reading, Splits, labels};
use crate::dataset::DatasetError;
use crate::spec::TargetKind;

/// Limit of the header, in bytes: enough for ten thousand arrays.
const HEADER_BYTES: u64 = 4 << 20;

/// Bytes that are read at once to pass over other arrays.
const SKIPPED_BYTES: u64 = 1 << 20;

/// Loads the arrays of a file. The test split may be missing, and so may all labels; a file of
/// one array has features only, whatever its name.
pub(super) fn load(path: &Path, reading: Reading) -> Result<Splits, DatasetError> {
    let mut file = SourceFile::open(path)?;
    let header = Header::read(&mut file)?;
    let mut names = header.arrays.offset_keys();
    names.sort_unstable();
    let arrays = Arrays { path, header };
    if let [name] = &names[..]
        && !pairs::is_labels(name)
    {
        return array::agree(arrays.features(name)?.with(None), None);
    }
    let has = |name: &str| names.iter().any(|it| it == name);
    let chosen = pairs::choose(reading, has).map_err(|NoChoice { expected, remark }| {
        let found = shown(names.iter().map(String::as_str));
        missing(path, &format!("{expected} (arrays of the file)"), &format!("{found}: {remark}"))
    })?;
    let train = arrays.part(chosen.train, reading.targets)?;
    let test = chosen.test.map(|pair| arrays.part(pair, reading.targets)).transpose()?;
    array::agree(train, test)
}

/// What is in a file.
struct Header {
    arrays: Metadata,
    /// The byte of the first value.
    start: u64,
}

impl Header {
    fn read(file: &mut SourceFile<'_>) -> Result<Self, DatasetError> {
        let length = file.take(8, "the header's length")?;
        let length = length.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let wrong = |file: &SourceFile<'_>, found| {
            let expected = "a safetensors file: its header in JSON behind 8 bytes of its length";
            file.wrong_byte(0, expected, found)
        };
        if length > HEADER_BYTES {
            return Err(wrong(file, format!("a length of {length}, above {HEADER_BYTES}")));
        }
        let text = file.take(length, "the header")?;
        let arrays: Metadata =
            serde_json::from_slice(&text).map_err(|error| wrong(file, error.to_string()))?;
        Ok(Self { arrays, start: 8 + length })
    }
}

/// The arrays of a file.
struct Arrays<'a> {
    path: &'a Path,
    header: Header,
}

impl Arrays<'_> {
    fn part(&self, (name, label_name): Pair, targets: TargetKind) -> Result<Part, DatasetError> {
        let examples = self.features(name)?;
        let labels =
            label_name.map(|name| self.labels(name, examples.count, targets)).transpose()?;
        Ok(examples.with(labels))
    }

    fn features(&self, name: &str) -> Result<Examples, DatasetError> {
        let (mut array, layout) = self.open(name)?;
        layout.features(&mut array, self.shown(name))
    }

    fn labels(
        &self,
        name: &str,
        examples: u64,
        targets: TargetKind,
    ) -> Result<Labels, DatasetError> {
        let (mut array, layout) = self.open(name)?;
        let read = if targets == TargetKind::Vector { labels::vectors } else { labels::numbers };
        read(&mut array, &layout, examples, self.shown(name))
    }

    /// An array's name in errors.
    fn shown(&self, name: &str) -> String {
        format!("{} ({name})", self.path.display())
    }

    /// Opens the file at an array, which the header has.
    fn open(&self, name: &str) -> Result<(Array, Layout), DatasetError> {
        let none = || missing(self.path, name, "no such array");
        let info = self.header.arrays.info(name).ok_or_else(none)?;
        let start = self.header.start + info.data_offsets.0 as u64;
        let mut file = SourceFile::open(self.path)?;
        let mut left = start;
        while left > 0 {
            let bytes = left.min(SKIPPED_BYTES);
            file.take(bytes, "the arrays before")?;
            left -= bytes;
        }
        let is_last = info.data_offsets.1 == self.header.arrays.data_len();
        let array = Array { name: self.shown(name), file, is_last };
        let layout = layout(info, start).ok_or_else(|| {
            let expected = "an array of booleans, whole numbers or floats of at least 16 bits";
            array.wrong_byte(8, expected.into(), format!("type {:?}", info.dtype))
        })?;
        Ok((array, layout))
    }
}

/// The layout of an array; `None` if no features are of its type.
fn layout(info: &TensorInfo, start: u64) -> Option<Layout> {
    let number = match info.dtype {
        Dtype::BOOL => Number::Bool,
        Dtype::U8 => Number::U8,
        Dtype::I8 => Number::I8,
        Dtype::U16 => Number::U16,
        Dtype::I16 => Number::I16,
        Dtype::U32 => Number::U32,
        Dtype::I32 => Number::I32,
        Dtype::U64 => Number::U64,
        Dtype::I64 => Number::I64,
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        _ => return None,
    };
    Some(Layout {
        number,
        order: Order::Little,
        shape: info.shape.iter().map(|length| *length as u64).collect(),
        fortran: false,
        shape_at: 8,
        start,
    })
}

/// A file from the first byte of one of its arrays on. As the header was checked, the array has
/// as many bytes as its shape says.
struct Array {
    name: String,
    file: SourceFile<'static>,
    /// Whether no other array follows.
    is_last: bool,
}

impl Bytes for Array {
    fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        self.file.take(bytes, what)
    }

    fn end(&mut self) -> Result<(), DatasetError> {
        if self.is_last { self.file.end() } else { Ok(()) }
    }

    fn wrong_byte(&self, byte: u64, expected: String, found: String) -> DatasetError {
        let place = format!("byte {byte}");
        DatasetError::Content { path: self.name.clone(), place, expected, found }
    }
}

#[cfg(test)]
mod tests;
