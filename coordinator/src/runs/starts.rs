//! How often a run was begun from one place and its coordinator did not live to see
//! the next checkpoint.

use std::path::PathBuf;

use common::id::{RunId, RunIdentity};
use serde::{Deserialize, Serialize};

use super::error::RunsError;
use super::folder::RunsFolder;
use super::records::SubmissionRecord;
use super::sealed::Record;

/// Starts of a run from one place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Starts {
    run: RunId,
    identity: RunIdentity,
    /// The step that it was begun at.
    step: u64,
    count: u32,
}

impl Record for Starts {
    const KIND: &'static str = "starts";
}

impl RunsFolder {
    fn starts_path(&self, run: RunId) -> PathBuf {
        self.run_path(run).join("starts.json")
    }

    /// Starts of a run at a step that are counted and not forgotten.
    pub fn starts(&self, of: &SubmissionRecord, step: u64) -> Result<u32, RunsError> {
        let path = self.starts_path(of.run);
        let starts: Starts = match self.read_record(&path) {
            Err(RunsError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(0);
            }
            read => read?,
        };
        let is_it = (starts.run, starts.identity, starts.step) == (of.run, of.identity, step);
        Ok(if is_it { starts.count } else { 0 })
    }

    /// Makes durable that a run is about to start at a step. What was counted is
    /// counted anew where it cannot be read.
    pub fn count_start(&self, of: &SubmissionRecord, step: u64) -> Result<(), RunsError> {
        let count = self.starts(of, step).unwrap_or(0).saturating_add(1);
        let starts = Starts { run: of.run, identity: of.identity, step, count };
        self.write_record(&self.starts_path(of.run), &starts)
    }

    /// Forgets the starts of a run: it has gone on, or it is over. If power takes
    /// that back, what is counted is of another step, or of a run that is over.
    pub fn forget_starts(&self, run: RunId) -> Result<(), RunsError> {
        self.remove(&self.starts_path(run))
    }
}
