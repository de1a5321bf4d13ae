//! Arrays of NumPy in `.npy` files: a folder with the names of [`pairs`], or a single file.

mod header;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use super::array::{self, Bytes, Examples, Labels, Part};
use super::file::SourceFile;
use super::listing::{Listing, missing};
use super::pairs::{self, Chosen, NoChoice, Pair};
use super::{Reading, Splits, labels};
use crate::dataset::DatasetError;
use crate::spec::TargetKind;
use header::{Element, Header};

/// Loads the arrays of a folder. The test split may be missing, and so may all labels.
pub(super) fn load_folder(folder: &Path, reading: Reading) -> Result<Splits, DatasetError> {
    let listing = Listing::of(folder, |name| name.ends_with(".npy"))?;
    let has = |name: &str| listing.has(&format!("{name}.npy"));
    let chosen = pairs::choose(reading, has).map_err(|NoChoice { expected, remark }| {
        let expected = format!("{expected} (.npy files)");
        missing(folder, &expected, &format!("{}: {remark}", listing.found()))
    })?;
    load(&mut Folder { path: folder }, &chosen, reading.targets)
}

/// Loads one array as features without labels.
pub(super) fn load_file(path: &Path) -> Result<Splits, DatasetError> {
    let mut file = SourceFile::open(path)?;
    let examples = features(&mut file, path.display().to_string())?;
    array::agree(examples.with(None), None)
}

/// Where arrays are, by name.
pub(super) trait Arrays {
    /// Opens an array's file.
    fn open(&mut self, name: &str) -> Result<Box<dyn Bytes + '_>, DatasetError>;

    /// Its name in errors.
    fn shown(&self, name: &str) -> String;
}

struct Folder<'a> {
    path: &'a Path,
}

impl Folder<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.npy"))
    }
}

impl Arrays for Folder<'_> {
    fn open(&mut self, name: &str) -> Result<Box<dyn Bytes + '_>, DatasetError> {
        Ok(Box::new(SourceFile::open(&self.file(name))?))
    }

    fn shown(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}

/// Loads chosen arrays.
pub(super) fn load(
    arrays: &mut dyn Arrays,
    chosen: &Chosen,
    targets: TargetKind,
) -> Result<Splits, DatasetError> {
    let train = part(arrays, chosen.train, targets)?;
    let test = chosen.test.map(|pair| part(arrays, pair, targets)).transpose()?;
    array::agree(train, test)
}

fn part(
    arrays: &mut dyn Arrays,
    (name, label_name): Pair,
    targets: TargetKind,
) -> Result<Part, DatasetError> {
    let shown = arrays.shown(name);
    let examples = features(&mut *arrays.open(name)?, shown)?;
    let labels = label_name.map(|name| {
        let shown = arrays.shown(name);
        labels(&mut *arrays.open(name)?, examples.count, shown, targets)
    });
    Ok(examples.with(labels.transpose()?))
}

/// Reads one array as features.
pub(super) fn features(file: &mut dyn Bytes, name: String) -> Result<Examples, DatasetError> {
    let header = Header::read(file)?;
    match header.element {
        Element::Number(number, order) => header.layout(number, order).features(file, name),
        Element::Text(_) => {
            let found = format!("text ({}): give each text a number", header.descr);
            Err(file.wrong_byte(header.text_at, "features that are numbers".into(), found))
        }
    }
}

/// Reads one array as the labels or other targets of `examples` examples.
fn labels(
    file: &mut dyn Bytes,
    examples: u64,
    name: String,
    targets: TargetKind,
) -> Result<Labels, DatasetError> {
    let header = Header::read(file)?;
    match header.element {
        Element::Number(number, order) if targets == TargetKind::Vector => {
            labels::vectors(file, &header.layout(number, order), examples, name)
        }
        Element::Number(number, order) => {
            labels::numbers(file, &header.layout(number, order), examples, name)
        }
        Element::Text(kind) => text::labels(file, &header, kind, examples, name),
    }
}
