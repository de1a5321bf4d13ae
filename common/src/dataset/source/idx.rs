//! `idx` folders, the format of MNIST and its relatives: for each split a file of images and a
//! file of labels, big-endian.
//!
//! ```text
//! 00 00   type   number of dimensions   length of each dimension (u32) …   the values …
//! ```
//!
//! QMNIST has eight numbers for each label, of which the first one is the class.

mod files;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::array::{self, Layout, Part};
use super::file::SourceFile;
use super::numbers::{Number, Order};
use super::{Reading, Splits, labels};
use crate::dataset::DatasetError;
use crate::limits;
use crate::spec::TargetKind;
use files::Pair;

/// Numbers of one label of QMNIST.
const QMNIST_COLUMNS: u64 = 8;

/// Loads both splits; the test split may be missing, and so may all labels.
pub(super) fn load(folder: &Path, reading: Reading) -> Result<Splits, DatasetError> {
    let targets = reading.targets;
    let files = files::find(folder, reading)?;
    let train = part(&files.train, targets)?;
    let test = files.test.as_ref().map(|pair| part(pair, targets)).transpose()?;
    array::agree(train, test)
}

fn part(Pair { images, labels }: &Pair, targets: TargetKind) -> Result<Part, DatasetError> {
    let mut file = SourceFile::open(images)?;
    let examples = header(&mut file)?.features(&mut file, images.display().to_string())?;
    let Some(path) = labels else {
        return Ok(examples.with(None));
    };
    let mut file = SourceFile::open(path)?;
    let layout = header(&mut file)?;
    let name = path.display().to_string();
    let qmnist = path.file_name().is_some_and(|name| name.to_string_lossy().contains("qmnist"));
    let labels = if targets == TargetKind::Vector {
        labels::vectors(&mut file, &layout, examples.count, name)
    } else if qmnist && layout.shape == [examples.count, QMNIST_COLUMNS] {
        labels::columns(&mut file, &layout, examples.count, QMNIST_COLUMNS, name)
    } else {
        labels::numbers(&mut file, &layout, examples.count, name)
    };
    Ok(examples.with(Some(labels?)))
}

/// Reads the header of a file.
fn header(file: &mut SourceFile<'_>) -> Result<Layout, DatasetError> {
    let magic = file.take(4, "the magic number")?;
    let number = match magic[2] {
        0x08 => Some(Number::U8),
        0x09 => Some(Number::I8),
        0x0b => Some(Number::I16),
        0x0c => Some(Number::I32),
        0x0d => Some(Number::F32),
        0x0e => Some(Number::F64),
        _ => None,
    };
    let (Some(number), [0, 0, _, dimensions]) = (number, &magic[..]) else {
        let expected = "an idx file, which starts with 00 00, a type from 08 to 0e and the number \
                        of dimensions";
        let found: Vec<String> = magic.iter().map(|byte| format!("{byte:02x}")).collect();
        let found = format!("{}: this is another or a damaged file", found.join(" "));
        return Err(file.wrong_byte(0, expected, found));
    };
    if !(1..=limits::DIMENSIONS).contains(&usize::from(*dimensions)) {
        let expected = format!("1 to {} dimensions", limits::DIMENSIONS);
        return Err(file.wrong_byte(3, expected, dimensions));
    }
    let mut shape = Vec::new();
    for _ in 0..*dimensions {
        shape.push(file.word("the length of a dimension")?.into());
    }
    let start = 4 + 4 * u64::from(*dimensions);
    Ok(Layout { number, order: Order::Big, shape, fortran: false, shape_at: 4, start })
}
