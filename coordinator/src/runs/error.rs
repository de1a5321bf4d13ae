//! What can go wrong with the runs folder, each with what to do about it.

use std::io;
use std::path::Path;

use common::digest::Digest;
use common::id::RunId;

/// Version of the files in a run's folder.
pub const FORMAT: u32 = 2;

/// Why something is not in the runs folder, or cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// Another coordinator writes there.
    #[error(
        "another coordinator uses the runs folder {folder}: stop it, or give this one its own \
         with --runs"
    )]
    Locked {
        /// The folder.
        folder: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Some of a run's examples are not there.
    #[error(
        "{path}: expected chunk {} of {chunks} of the run's examples, found no such file: copy it \
         back from where the folder is whole, or submit the same data again (`coordinator run`), \
         which brings what is missing",
        index + 1
    )]
    MissingChunk {
        /// The file.
        path: String,
        /// Its place in the split.
        index: usize,
        /// Chunks of the split.
        chunks: usize,
    },
    /// A file does not hold what it should.
    #[error("{path}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A record is not the one that was written.
    #[error(
        "{path}: expected a whole record of a run's {expected}, found {found}: the file is damaged; \
         check the disk"
    )]
    DamagedRecord {
        /// The file.
        path: String,
        /// The kind of record.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A record of another version of Samebit.
    #[error(
        "{path}: expected a record of format {FORMAT}, found format {found}: another version of \
         Samebit wrote it; use that version, or submit the run again"
    )]
    Format {
        /// The file.
        path: String,
        /// The version found.
        found: u32,
    },
    /// A run of this number is there already.
    #[error("{path}: expected no run of this number, found a folder; nothing in it was changed")]
    Exists {
        /// The folder.
        path: String,
    },
    /// Checkpoints of one folder are of several runs.
    #[error(
        "{path}: expected checkpoints of one run, found those of several: move the files of the \
         others out of the folder"
    )]
    SeveralRuns {
        /// The run's folder.
        path: String,
    },
    /// A run of other numerics.
    #[error(
        "run {run} has the bits of numeric profile {expected:?}, and this version of Samebit has \
         {found:?}: go on with a version of that profile, or submit the run again"
    )]
    NumericProfile {
        /// The run.
        run: RunId,
        /// The run's.
        expected: String,
        /// This build's.
        found: &'static str,
    },
    /// A run of another version of its model.
    #[error(
        "run {run} began with version {expected} of model `{name}`, and this build has version \
         {found}, which may give other bits: go on with a build of that version, or submit the \
         run again"
    )]
    ModelVersion {
        /// The run.
        run: RunId,
        /// Name of the model.
        name: String,
        /// The run's.
        expected: u32,
        /// This build's.
        found: u32,
    },
    /// A run that is not there.
    #[error(
        "run {run} is not in the runs folder {folder}: `coordinator runs` lists those that are"
    )]
    Unknown {
        /// The run.
        run: RunId,
        /// The folder.
        folder: String,
    },
    /// A state is not the one that was written.
    #[error(
        "{path}: expected a state of digest {expected}, found {found}: the file is damaged; check \
         the disk"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The digest of the state that was written.
        expected: String,
        /// The digest of what is there.
        found: Digest,
    },
    /// A state that cannot be read, or does not fit.
    #[error(transparent)]
    State(#[from] common::state::StateError),
}

impl RunsError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), error }
    }

    /// Whether a file is gone or does not hold what was written, where another one
    /// may serve: not if it cannot be read, or is of another version.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { error, .. } => error.kind() == io::ErrorKind::NotFound,
            Self::Locked { .. } | Self::Exists { .. } | Self::Format { .. } => false,
            Self::SeveralRuns { .. } => false,
            Self::NumericProfile { .. } | Self::ModelVersion { .. } => false,
            Self::MissingChunk { .. }
            | Self::Content { .. }
            | Self::DamagedRecord { .. }
            | Self::Unknown { .. }
            | Self::Damaged { .. }
            | Self::State(_) => true,
        }
    }

    pub(super) fn content(path: &Path, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self::Content { path: path.display().to_string(), expected, found }
    }
}
