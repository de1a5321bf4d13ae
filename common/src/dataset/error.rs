//! [`DatasetError`]: errors of datasets.

use std::borrow::Cow;

use crate::spec::Split;

/// An error of a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The source is unknown.
    #[error(
        "unknown dataset source {0:?}: expected `digits`, `csv:FILE`, `idx:FOLDER`, `npy:FOLDER`, \
         `npz:FILE`, `safetensors:FILE`, `parquet:PATH`, or the path of a file or folder that exists"
    )]
    Source(String),
    /// A file cannot be opened or read.
    #[error("dataset {}: {error}: check the path in `dataset.source` or --dataset", one_line(path))]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// A file's content is wrong.
    #[error("{}, {place}: expected {expected}, found {found}", one_line(path))]
    Content {
        /// The file.
        path: String,
        /// `byte N` (of the unpacked file) or `line N`.
        place: String,
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// A folder or an archive lacks what is needed.
    #[error("{}: expected {expected}, found {found}", one_line(path))]
    Missing {
        /// The folder or the archive.
        path: String,
        /// What is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Parts of the dataset contradict each other, or a value is out of range.
    #[error("dataset: expected {expected}, found {found}")]
    Invalid {
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// A chunk is missing: a bug of the caller.
    #[error("chunk {0} of the {1:?} split is missing")]
    MissingChunk(usize, Split),
}

/// A path with its control characters written out, so that an error stays one line.
fn one_line(path: &str) -> Cow<'_, str> {
    if !path.contains(char::is_control) {
        return path.into();
    }
    let visible = |c: char| {
        if c.is_control() { c.escape_default().collect() } else { c.to_string() }
    };
    path.chars().map(visible).collect::<String>().into()
}

/// Parts of the dataset contradict each other, or a value is out of range.
pub(super) fn invalid(expected: impl ToString, found: impl ToString) -> DatasetError {
    DatasetError::Invalid { expected: expected.to_string(), found: found.to_string() }
}
