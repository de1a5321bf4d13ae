//! [`DatasetError`]: what is wrong with a dataset.

use crate::spec::Split;

/// What is wrong with a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The source is none that is known.
    #[error("dataset source {0:?}: expected `digits`, `idx:FOLDER`, `npy:FOLDER` or `csv:FILE`")]
    Source(String),
    /// A file cannot be opened or read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file's content is wrong.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// `byte N` (of the unpacked file) or `line N`.
        place: String,
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// Parts of the dataset do not agree, or a value is out of range.
    #[error("dataset: expected {expected}, found {found}")]
    Invalid {
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A chunk is not at hand: a bug of the caller.
    #[error("chunk {0} of the {1:?} split is not at hand")]
    MissingChunk(usize, Split),
}

/// Parts of the dataset do not agree, or a value is out of range.
pub(super) fn invalid(expected: impl ToString, found: impl ToString) -> DatasetError {
    DatasetError::Invalid { expected: expected.to_string(), found: found.to_string() }
}
