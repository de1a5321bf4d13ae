//! Sources of datasets: each turns its files into splits as they have them.
//!
//! | file | what |
//! |---|---|
//! | `file`, `ahead`, `kind`, `unpack`, `archive` | a file of any origin, decompressed as it is read |
//! | `text`, `paths` | the text of a file; the files that a pattern names |
//! | `csv` | tables |
//! | `npy`, `npz`, `safetensors`, `idx` | arrays, with what they share in `array`, `labels`, `listing`, `numbers`, `pairs` |
//! | `memory` | arrays in memory, and `Origin`, which tells them from files |
//! | `table` | tables in files: all of a source, and its test split |
//! | `parquet`, `image` | tables and images in Parquet files, if the feature `parquet` is on |

mod ahead;
mod archive;
mod array;
pub(super) mod csv;
pub(super) mod file;
mod idx;
#[cfg(feature = "parquet")]
mod image;
mod kind;
mod labels;
mod listing;
pub(super) mod memory;
mod npy;
mod npz;
mod numbers;
mod pairs;
#[cfg(feature = "parquet")]
mod parquet;
mod paths;
mod safetensors;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod unpack;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::columns::Column;
use super::error::{DatasetError, invalid};
use super::features::Features;
use super::labels as classes;
use super::raw::{Raw, RawLabels};
use super::schema::Schema;
use crate::spec::{DatasetSpec, Missing, TargetKind};

/// Scale of images, and of other arrays of bytes.
const BYTES: f32 = 255.0;

/// What is read of a source of arrays.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Labels are passed over if there are no targets.
    targets: TargetKind,
    /// Whether there has to be a training split. Otherwise a test split alone is all of the data.
    to_train: bool,
}

/// The training split, and the test split if the source has one.
type Splits = (Raw, Option<Raw>);

/// What a source has.
pub(super) struct Found {
    pub(super) train: Raw,
    /// The source's own test split.
    pub(super) test: Option<Raw>,
    /// The source's scale, if the spec sets none.
    pub(super) scale: f32,
    /// Its name in the line about it.
    pub(super) name: String,
    /// The column of the label of a table, and why it is that one.
    pub(super) label: Option<(String, &'static str)>,
    /// Names of the classes 0, 1, …, if the source has them.
    pub(super) classes: Vec<String>,
    /// The columns of a table.
    pub(super) columns: Vec<Column>,
    /// Whether its numbers have a comma for the point.
    pub(super) decimal_commas: bool,
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Found {
    /// Arrays: images if they are of bytes.
    fn of_arrays(train: Raw, test: Option<Raw>, name: String) -> Self {
        let is_of_bytes = |raw: &Raw| match &raw.features {
            // Yes or no, as 0 and 1, is no image.
            Features::U8(values) => values.iter().any(|value| *value > 1),
            Features::F32(_) | Features::Table(_) => false,
        };
        let scale = if is_of_bytes(&train) { BYTES } else { 1.0 };
        let (classes, columns, label) = (Vec::new(), Vec::new(), None);
        let (notes, warnings) = (Vec::new(), Vec::new());
        let decimal_commas = false;
        Self { train, test, scale, name, label, classes, columns, decimal_commas, notes, warnings }
    }

    /// With the names of the classes in place of their numbers, if the source has both. A split whose
    /// labels are all -1, which stands for none, has no labels.
    ///
    /// # Errors
    /// A number has no name.
    pub(super) fn with_names(mut self) -> Result<Self, DatasetError> {
        let are_different =
            self.classes.iter().collect::<BTreeSet<_>>().len() == self.classes.len();
        if !are_different {
            self.classes.clear();
        }
        if self.classes.is_empty() {
            return Ok(self);
        }
        for split in std::iter::once(&mut self.train).chain(&mut self.test) {
            split.labels = named(split, &self.classes)?;
        }
        Ok(self)
    }
}

/// The names of classes in place of the numbers that stand for them. Labels that are no numbers stay.
fn named(split: &Raw, names: &[String]) -> Result<RawLabels, DatasetError> {
    let texts = |labels: &[f64]| {
        let name = |(at, label): (usize, &f64)| {
            let is_class = label.fract() == 0.0 && *label >= 0.0;
            let name = names.get(*label as usize).filter(|_| is_class);
            name.ok_or_else(|| classes::no_name(split, at, *label, names.len()))
        };
        labels.iter().enumerate().map(name).collect::<Result<Vec<&String>, _>>()
    };
    let is_none = |labels: &[f64]| !labels.is_empty() && labels.iter().all(|label| *label == -1.0);
    Ok(match &split.labels {
        RawLabels::Numbers(labels) if is_none(labels) => RawLabels::None,
        RawLabels::Numbers(labels) => RawLabels::Texts(texts(labels)?.into_iter().collect()),
        RawLabels::Texts(all) => match all.numbers() {
            Some(numbers) if is_none(&numbers) => RawLabels::None,
            Some(numbers) => {
                let each = all.each(&numbers);
                RawLabels::Texts(texts(&each)?.into_iter().collect())
            }
            None => RawLabels::Texts(all.clone()),
        },
        other => other.clone(),
    })
}

/// Names and descriptions of the dataset sources, for `coordinator datasets`.
pub fn sources() -> &'static [(&'static str, &'static str)] {
    &[
        (
            "digits",
            "1,797 handwritten digits of 8×8 pixels, embedded: 1,438 to train on, 359 to test \
             (UCI Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, CC BY 4.0)",
        ),
        (
            "csv:FILE",
            "a table: one example per line, in columns that any of , ; | tab or blanks separate; \
             with or without a header; FILE may be a pattern (data/*.csv), a compressed file, or - \
             for standard input",
        ),
        (
            "idx:FOLDER",
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, and t10k-… if present, the format of \
             MNIST, Fashion-MNIST, EMNIST and QMNIST, with or without gzip",
        ),
        (
            "npy:FOLDER",
            "NumPy's arrays, examples first: x_train.npy and y_train.npy (or other usual names), \
             and x_test.npy and y_test.npy if present",
        ),
        ("npz:FILE", "the same arrays in one file"),
        ("safetensors:FILE", "the same arrays in one file of that format"),
        (
            "parquet:PATH",
            "a table or images in a Parquet file, in several (a pattern), or in a folder as Hugging \
             Face has them (data/train-00000-of-00001.parquet); for programs built with the \
             feature `parquet`, as releases are",
        ),
    ]
}

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Digits,
    Csv,
    Idx,
    Npy,
    Npz,
    Safetensors,
    Parquet,
}

/// The kind of a source and its path. A path without a kind is told by its name, or by what is in
/// the folder. `base` is the folder of relative paths.
fn kind<'a>(source: &'a str, base: &Path) -> Result<(Kind, &'a str), DatasetError> {
    let unknown = || DatasetError::Source(source.chars().take(200).collect());
    match source.split_once(':') {
        None if source == "digits" => return Ok((Kind::Digits, source)),
        Some((_, "")) => return Err(unknown()),
        Some(("csv", path)) => return Ok((Kind::Csv, path)),
        Some(("idx", path)) => return Ok((Kind::Idx, path)),
        Some(("npy", path)) => return Ok((Kind::Npy, path)),
        Some(("npz", path)) => return Ok((Kind::Npz, path)),
        Some(("safetensors", path)) => return Ok((Kind::Safetensors, path)),
        Some(("parquet", path)) => return Ok((Kind::Parquet, path)),
        _ => {}
    }
    let path = &*within(base, source);
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if path.is_dir() && (has(path, ".npy") || has(path, ".npz")) => Ok((Kind::Npy, source)),
        _ if path.is_dir() && (has(path, ".parquet") || has_in_folder(path, ".parquet")) => {
            Ok((Kind::Parquet, source))
        }
        _ if path.is_dir() => Ok((Kind::Idx, source)),
        Some("npz") => Ok((Kind::Npz, source)),
        Some("safetensors") => Ok((Kind::Safetensors, source)),
        Some("parquet") => Ok((Kind::Parquet, source)),
        Some("csv" | "tsv" | "data" | "txt" | "dat" | "gz" | "bz2" | "xz" | "zst" | "zip") => {
            Ok((Kind::Csv, source))
        }
        // A file, or a pipe with a name.
        _ if path.exists() || source == "-" => Ok((Kind::Csv, source)),
        _ => Err(unknown()),
    }
}

/// The first entries of a folder.
fn entries(folder: &Path) -> impl Iterator<Item = std::fs::DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().take(1000)
}

/// Whether a folder has an entry with this part in its name.
fn has(folder: &Path, part: &str) -> bool {
    entries(folder).any(|entry| entry.file_name().to_string_lossy().contains(part))
}

/// The same of the folders in it.
fn has_in_folder(folder: &Path, part: &str) -> bool {
    entries(folder).any(|entry| entry.path().is_dir() && has(&entry.path(), part))
}

/// Reads a spec's source. `base` is the folder of relative paths. `known` is the schema of earlier
/// files, by which these are read. Without `labels`, a table's labels are not read.
pub(super) fn read(
    spec: &DatasetSpec,
    base: &Path,
    known: Option<&Schema>,
    labels: bool,
) -> Result<Found, DatasetError> {
    let (kind, path) = kind(&spec.source, base)?;
    let targets = super::schema::target_kind(spec, known);
    let reading = Reading { targets, to_train: known.is_none() && labels };
    if known.is_none() && !matches!(kind, Kind::Csv | Kind::Parquet) {
        refuse_columns(spec)?;
    }
    let mut found = match kind {
        Kind::Digits => table::digits()?,
        Kind::Csv => return table::read(spec, path, base, known, labels),
        Kind::Parquet => return parquet::read(spec, path, base, known, labels),
        _ => arrays(kind, &within(base, path), spec.source.clone(), reading)?,
    };
    if let Some(source) = &spec.test_source {
        let (kind, path) = self::kind(source, base)?;
        if matches!(kind, Kind::Digits | Kind::Csv | Kind::Parquet) {
            return Err(table::other_kind(spec));
        }
        let reading = Reading { to_train: false, ..reading };
        found.test = Some(arrays(kind, &within(base, path), source.clone(), reading)?.train);
    }
    Ok(found)
}

/// Refuses what a spec says of the columns of a table, where there are none.
pub(super) fn refuse_columns(spec: &DatasetSpec) -> Result<(), DatasetError> {
    let fields = [
        ("label", spec.label.is_some()),
        ("separator", spec.separator.is_some()),
        ("ignore", spec.ignore.is_some()),
        ("missing", spec.missing != Missing::Error),
    ];
    match fields.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => {
            let expected = format!("no `dataset.{field}`, which is about the columns of a table");
            Err(invalid(expected, format!("it for {}", spec.source)))
        }
        None => Ok(()),
    }
}

/// Without the feature, Parquet is known, but not read.
#[cfg(not(feature = "parquet"))]
mod parquet {
    use super::*;

    pub(super) fn read(
        _: &DatasetSpec,
        path: &str,
        base: &Path,
        _: Option<&Schema>,
        _: bool,
    ) -> Result<Found, DatasetError> {
        Err(DatasetError::Content {
            path: within(base, path).display().to_string(),
            place: "byte 0".into(),
            expected: "another format, as this program was built without Parquet (releases have \
                       it; cargo build --features parquet)"
                .into(),
            found: "Parquet: convert it with pandas.read_parquet(path).to_csv(\"x.csv\", \
                    index=False)"
                .into(),
        })
    }
}

/// A path that may be relative to a folder.
fn within(base: &Path, path: &str) -> PathBuf {
    if path == "-" || base.as_os_str().is_empty() { path.into() } else { base.join(path) }
}

fn arrays(kind: Kind, path: &Path, name: String, reading: Reading) -> Result<Found, DatasetError> {
    let (train, test) = match kind {
        Kind::Idx => idx::load(path, reading)?,
        Kind::Npz => npz::load(path, reading)?,
        Kind::Safetensors => safetensors::load(path, reading)?,
        _ if path.is_file() => npy::load_file(path)?,
        _ => match npz::only(path)? {
            Some(archive) => npz::load(&archive, reading)?,
            None => npy::load_folder(path, reading)?,
        },
    };
    Ok(Found::of_arrays(train, test, name))
}
