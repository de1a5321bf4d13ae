//! Counts how often a run was started at one step by coordinators that ended before the next
//! checkpoint.

use std::path::PathBuf;

use common::id::{RunId, RunIdentity};
use serde::{Deserialize, Serialize};

use super::error::RunsError;
use super::folder::RunsFolder;
use super::records::SubmissionRecord;
use super::sealed::Record;

/// Starts of a run at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Starts {
    run: RunId,
    identity: RunIdentity,
    /// The step at which it was started.
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

    /// The counted starts of a run at a step.
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

    /// Records on disk that a run is about to start at a step. If the count cannot be read, it
    /// starts at zero.
    pub fn count_start(&self, of: &SubmissionRecord, step: u64) -> Result<(), RunsError> {
        let count = self.starts(of, step).unwrap_or(0).saturating_add(1);
        let starts = Starts { run: of.run, identity: of.identity, step, count };
        self.write_record(&self.starts_path(of.run), &starts)
    }

    /// Resets the count of a run that has continued or ended. If a power failure undoes
    /// that, the count is of another step, or of a run that has ended, and is ignored.
    pub fn forget_starts(&self, run: RunId) -> Result<(), RunsError> {
        self.remove(&self.starts_path(run))
    }
}
