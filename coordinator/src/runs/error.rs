//! Errors of the runs folder.

use std::io;
use std::path::Path;

use common::digest::Digest;
use common::id::RunId;

/// Version of the files in a run's folder.
pub const FORMAT: u32 = 2;

/// An error of the runs folder.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// Another coordinator writes there.
    #[error(
        "another coordinator uses the runs folder {folder}: stop it, or name another folder for \
         this one with --runs"
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
        /// The error of the system.
        error: io::Error,
    },
    /// Some of a run's examples are missing.
    #[error(
        "{path}: expected chunk {} of {chunks} of the run's examples, found no such file: restore it \
         from a complete copy of the folder, or submit the same data again (`coordinator run`), \
         which restores missing chunks",
        index + 1
    )]
    MissingChunk {
        /// The file.
        path: String,
        /// Its index in the split.
        index: usize,
        /// Chunks of the split.
        chunks: usize,
    },
    /// A file has unexpected content.
    #[error("{path}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// The expected content.
        expected: String,
        /// The content found.
        found: String,
    },
    /// A record is damaged.
    #[error(
        "{path}: expected an intact record of a run's {expected}, found {found}: the file is \
         damaged; check the disk"
    )]
    DamagedRecord {
        /// The file.
        path: String,
        /// The kind of record.
        expected: &'static str,
        /// The content found.
        found: String,
    },
    /// A record of another version of Samebit.
    #[error(
        "{path}: expected a record of format {FORMAT}, found format {found}, which another version \
         of Samebit wrote: use that version, or submit the run again"
    )]
    Format {
        /// The file.
        path: String,
        /// The version found.
        found: u32,
    },
    /// A run of this number exists already.
    #[error("{path}: expected no run of this number, found a folder; nothing in it was changed")]
    Exists {
        /// The folder.
        path: String,
    },
    /// One folder has checkpoints of several runs.
    #[error(
        "{path}: expected checkpoints of one run, found those of several: move the files of the \
         other runs out of the folder"
    )]
    SeveralRuns {
        /// The run's folder.
        path: String,
    },
    /// The run has another numeric profile.
    #[error(
        "run {run}: expected numeric profile {expected:?}, found {found:?} in this version of \
         Samebit: continue with a version of that profile, or submit the run again"
    )]
    NumericProfile {
        /// The run.
        run: RunId,
        /// The run's.
        expected: String,
        /// This build's.
        found: &'static str,
    },
    /// The run has another version of its model.
    #[error(
        "run {run}: expected version {expected} of model `{name}`, found version {found} in this \
         build, which may give other bits: continue with a build of that version, or submit the \
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
    /// The run does not exist.
    #[error(
        "run {run} is not in the runs folder {folder}: `coordinator runs` lists the runs there"
    )]
    Unknown {
        /// The run.
        run: RunId,
        /// The folder.
        folder: String,
    },
    /// A state is damaged.
    #[error(
        "{path}: expected a state of digest {expected}, found {found}: the file is damaged; check \
         the disk"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The digest of the state that was written.
        expected: String,
        /// The digest of the state found.
        found: Digest,
    },
    /// A state cannot be read, or does not fit.
    #[error(transparent)]
    State(#[from] common::state::StateError),
}

impl RunsError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), error }
    }

    /// Whether a file is missing or damaged, so that another one may be used instead; false
    /// if it cannot be read or is of another version.
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
