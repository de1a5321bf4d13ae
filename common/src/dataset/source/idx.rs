//! `idx` folders, the format of MNIST and Fashion-MNIST: for each split a file of images and
//! a file of labels, big-endian.
//!
//! ```text
//! images   00 00 08 03   count   rows   columns   a byte per pixel …
//! labels   00 00 08 01   count   a byte per label …
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::file::{SPLIT_BYTES, SourceFile};
use super::{Loaded, Part};
use crate::dataset::{DatasetError, Features};
use crate::limits;

const IMAGES_MAGIC: u32 = 0x0000_0803;
const LABELS_MAGIC: u32 = 0x0000_0801;

/// Loads both splits; the test split may be missing.
pub(super) fn load(folder: &Path, label_bound: u32) -> Result<Loaded, DatasetError> {
    let train = split(folder, "train", label_bound, None)?;
    let names = [names("t10k", "images", 3), names("t10k", "labels", 1)];
    let test = if names.iter().any(|names| find(folder, names).is_some()) {
        Some(split(folder, "t10k", label_bound, Some(train.width))?)
    } else {
        None
    };
    Ok(Loaded { train, test, scale: 255.0 })
}

fn split(
    folder: &Path,
    prefix: &str,
    label_bound: u32,
    width: Option<u32>,
) -> Result<Part, DatasetError> {
    let open = |what, dimensions| {
        let names = names(prefix, what, dimensions);
        let path = find(folder, &names).ok_or_else(|| DatasetError::Io {
            path: folder.display().to_string(),
            error: io::Error::new(
                io::ErrorKind::NotFound,
                format!("expected a file {}, found none of them", names.join(" or ")),
            ),
        })?;
        SourceFile::open(&path)
    };
    let (count, width, pixels) = images(open("images", 3)?, width)?;
    let labels = labels(open("labels", 1)?, count, label_bound)?;
    Ok(Part { features: Features::U8(pixels), labels, width })
}

/// The names that a file may have: `train-images-idx3-ubyte` as it is
/// published, `train-images.idx3-ubyte` as some archives unpack it.
fn names(prefix: &str, what: &str, dimensions: u32) -> [String; 4] {
    let name = |dot, end| format!("{prefix}-{what}{dot}idx{dimensions}-ubyte{end}");
    [name("-", ""), name("-", ".gz"), name(".", ""), name(".", ".gz")]
}

fn find(folder: &Path, names: &[String]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.exists())
}

fn images(
    mut file: SourceFile<'_>,
    train_width: Option<u32>,
) -> Result<(u32, u32, Vec<u8>), DatasetError> {
    magic(&mut file, IMAGES_MAGIC, "images")?;
    let count = count(&mut file)?;
    let (rows, columns) = (file.word("the number of rows")?, file.word("the number of columns")?);
    let width = u64::from(rows) * u64::from(columns);
    let found = format!("{rows} × {columns}");
    if !(1..=u64::from(limits::FEATURES)).contains(&width) {
        let expected = format!("images of 1 to {} pixels", limits::FEATURES);
        return Err(file.wrong_byte(8, expected, found));
    }
    let width = width as u32;
    if let Some(expected) = train_width.filter(|expected| *expected != width) {
        let expected = format!("images of {expected} pixels, as in the training split");
        return Err(file.wrong_byte(8, expected, found));
    }
    let bytes = u64::from(count) * u64::from(width);
    if bytes > SPLIT_BYTES {
        let expected = format!("at most {SPLIT_BYTES} pixels in all");
        return Err(file.wrong_byte(4, expected, bytes));
    }
    let pixels = file.take(bytes, "pixels")?;
    file.end()?;
    Ok((count, width, pixels))
}

fn labels(
    mut file: SourceFile<'_>,
    images: u32,
    label_bound: u32,
) -> Result<Vec<u32>, DatasetError> {
    magic(&mut file, LABELS_MAGIC, "labels")?;
    let count = count(&mut file)?;
    if count != images {
        return Err(file.wrong_byte(4, format!("{images} labels, one for each image"), count));
    }
    let labels = file.take(count.into(), "labels")?;
    file.end()?;
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    if let Some(at) = labels.iter().position(|label| *label >= label_bound) {
        let expected = format!("a label below {label_bound}");
        return Err(file.wrong_byte(8 + at as u64, expected, labels[at]));
    }
    Ok(labels)
}

fn magic(file: &mut SourceFile<'_>, expected: u32, what: &str) -> Result<(), DatasetError> {
    let found = file.word("the magic number")?;
    if found != expected {
        let expected = format!("the magic number {expected:#010x} of idx {what}");
        return Err(file.wrong_byte(0, expected, format!("{found:#010x}")));
    }
    Ok(())
}

fn count(file: &mut SourceFile<'_>) -> Result<u32, DatasetError> {
    let count = file.word("the number of examples")?;
    if !(1..=limits::EXAMPLES).contains(&u64::from(count)) {
        return Err(file.wrong_byte(4, format!("1 to {} examples", limits::EXAMPLES), count));
    }
    Ok(count)
}
