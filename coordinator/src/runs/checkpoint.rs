//! Checkpoints: a state and its manifest, by round.

use std::path::{Path, PathBuf};

use common::id::RunId;
use common::plan::RunPlan;
use common::spec::{RunSpec, SpecError};
use common::state::{NetworkState, StateError};

use super::error::RunsError;
use super::folder::{RunsFolder, names};
use super::records::{CheckpointRecord, SubmissionRecord, dataset_digest};

/// An intact checkpoint.
#[derive(Debug)]
pub struct Found {
    /// Its manifest.
    pub record: CheckpointRecord,
    /// Its state.
    pub state: NetworkState,
}

/// The point from which a run can continue.
#[derive(Debug)]
pub struct Restart {
    /// The last intact checkpoint; `None` if the run starts again from the beginning.
    pub checkpoint: Option<Found>,
    /// Later, damaged checkpoints, each with its error.
    pub damaged: Vec<RunsError>,
}

/// Number of damaged checkpoints that are named; further ones are counted.
const NAMED_CHECKPOINTS: usize = 4;

impl Restart {
    /// A sentence with the skipped checkpoints, the reasons, and what is used instead;
    /// `None` if none was skipped.
    pub fn passed_over(&self) -> Option<String> {
        let causes = self.damaged.iter().take(NAMED_CHECKPOINTS).map(ToString::to_string);
        let mut text = causes.collect::<Vec<_>>().join("; ");
        match self.damaged.len() {
            0 => return None,
            all if all > NAMED_CHECKPOINTS => {
                text += &format!("; and {} more", all - NAMED_CHECKPOINTS);
            }
            _ => {}
        }
        let used = match &self.checkpoint {
            Some(found) => {
                format!("the checkpoint of round {} is used instead", found.record.round)
            }
            None => {
                "the run starts again from the beginning, as there is no other checkpoint".into()
            }
        };
        Some(format!("{text}; {used}"))
    }
}

/// The field in which two records of the same run differ; `None` if they are consistent.
fn difference(expected: &SubmissionRecord, found: &SubmissionRecord) -> Option<&'static str> {
    let data = |record: &SubmissionRecord| dataset_digest(&record.train, &record.test);
    let differences = [
        ("number", expected.run != found.run),
        ("identity", expected.identity != found.identity),
        ("spec", expected.spec != found.spec),
        ("data", data(expected) != data(found)),
        ("initial state", expected.initial != found.initial),
        ("numeric profile", expected.numeric_profile != found.numeric_profile),
        ("submission", !expected.is_same_run(found)),
    ];
    differences.into_iter().find_map(|(what, differs)| differs.then_some(what))
}

/// Training rounds completed in the state from which a step begins.
fn rounds_before(submission: &SubmissionRecord, step: u64) -> Result<u64, SpecError> {
    let spec = RunSpec::from_toml(&submission.spec)?;
    let plan = RunPlan::new(&spec, submission.train.size(), submission.test.examples)?;
    Ok(plan.rounds_before(step))
}

impl RunsFolder {
    fn state_path(&self, run: RunId, round: u64) -> PathBuf {
        self.run_path(run).join(format!("round-{round}.safetensors"))
    }

    fn manifest_path(&self, run: RunId, round: u64) -> PathBuf {
        self.run_path(run).join(format!("round-{round}.json"))
    }

    /// Writes a checkpoint and flushes it to disk.
    pub fn write_checkpoint(
        &self,
        record: &CheckpointRecord,
        state: &NetworkState,
    ) -> Result<(), RunsError> {
        let run = record.submission.run;
        let metadata = [("samebit.spec".to_owned(), record.submission.spec.clone())].into();
        let manifest = self.manifest_path(run, record.round);
        // A checkpoint of this round may exist from before the run was restored.
        self.remove(&manifest)?;
        self.write(&self.state_path(run, record.round), &mut |file| {
            state.write_to(file, record.digest, &metadata)
        })?;
        self.write_record(&manifest, record)
    }

    /// Rounds with a checkpoint, in order.
    pub fn checkpoints(&self, run: RunId) -> Result<Vec<u64>, RunsError> {
        let round =
            |name: &String| name.strip_prefix("round-")?.strip_suffix(".json")?.parse().ok();
        let mut rounds: Vec<u64> = names(&self.run_path(run))?.iter().filter_map(round).collect();
        rounds.sort_unstable();
        Ok(rounds)
    }

    /// Reads and checks a checkpoint: the state must have the digest in both files, and
    /// belong to this run.
    pub fn checkpoint(
        &self,
        submission: &SubmissionRecord,
        round: u64,
    ) -> Result<Found, RunsError> {
        let record = self.checkpoint_record(submission, round)?;
        let path = self.state_path(submission.run, round);
        let state = self.load(&path, Some(record.digest))?;
        Ok(Found { record, state })
    }

    /// Reads and checks a checkpoint's manifest: it must be of this run, with the same spec,
    /// data, initial state and numeric profile, and match its plan.
    pub fn checkpoint_record(
        &self,
        submission: &SubmissionRecord,
        round: u64,
    ) -> Result<CheckpointRecord, RunsError> {
        let path = self.manifest_path(submission.run, round);
        let record: CheckpointRecord = self.read_record(&path)?;
        if let Some(what) = difference(submission, &record.submission) {
            return Err(RunsError::content(&path, format!("the {what} of run.json"), "another"));
        }
        let rounds = rounds_before(submission, record.step)
            .map_err(|error| RunsError::content(&path, "a run with a plan", error))?;
        if (record.round, rounds) != (round, round) {
            let expected = format!("a step after round {round}");
            let found = format!("round {} and step {}", record.round, record.step);
            return Err(RunsError::content(&path, expected, found));
        }
        Ok(record)
    }

    /// The manifest of a run's last checkpoint with an intact manifest; its state is not read.
    pub fn last_checkpoint_record(
        &self,
        submission: &SubmissionRecord,
    ) -> Result<Option<CheckpointRecord>, RunsError> {
        let rounds = self.checkpoints(submission.run)?;
        let records = rounds.iter().rev().map(|it| self.checkpoint_record(submission, *it));
        Ok(records.flatten().next())
    }

    /// A run's submission, from its last checkpoint with an intact manifest; `None` if there
    /// is none.
    pub(super) fn submission_by_checkpoints(
        &self,
        run: RunId,
    ) -> Result<Option<SubmissionRecord>, RunsError> {
        let mut last: Option<SubmissionRecord> = None;
        for round in self.checkpoints(run)? {
            let path = self.manifest_path(run, round);
            let submission = match self.read_record::<CheckpointRecord>(&path) {
                Ok(record) => record.submission,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            let agrees = last.is_none_or(|last| last.is_same_run(&submission));
            if !agrees || submission.run != run {
                let path = self.run_path(run).display().to_string();
                return Err(RunsError::SeveralRuns { path });
            }
            last = Some(submission);
        }
        Ok(last)
    }

    /// The last intact checkpoint of a run, up to a round.
    pub fn restart(&self, submission: &SubmissionRecord, up_to: u64) -> Result<Restart, RunsError> {
        let mut damaged = Vec::new();
        let rounds = self.checkpoints(submission.run)?;
        for round in rounds.into_iter().rev().filter(|round| *round <= up_to) {
            match self.checkpoint(submission, round) {
                Ok(found) => return Ok(Restart { checkpoint: Some(found), damaged }),
                Err(error) => damaged.push(error),
            }
        }
        Ok(Restart { checkpoint: None, damaged })
    }

    /// The initial state of a run, if a client sent one.
    pub fn start(&self, submission: &SubmissionRecord) -> Result<Option<NetworkState>, RunsError> {
        let Some(digest) = submission.initial else { return Ok(None) };
        self.load(&self.start_path(submission.run), Some(digest)).map(Some)
    }

    fn load(
        &self,
        path: &Path,
        expected: Option<common::digest::Digest>,
    ) -> Result<NetworkState, RunsError> {
        let damaged = |path, expected, found| RunsError::Damaged { path, expected, found };
        let state = NetworkState::load(path).map_err(|error| match error {
            // The advice differs from that for a user's own file.
            StateError::Digest { path, expected, found } => damaged(path, expected, found),
            other => other.into(),
        })?;
        let found = state.digest();
        match expected {
            Some(expected) if expected != found => {
                Err(damaged(path.display().to_string(), expected.to_string(), found))
            }
            _ => Ok(state),
        }
    }

    /// Removes all checkpoints except the last `keep`, and those after `round`, which a
    /// restored run will write again.
    pub fn prune(&self, run: RunId, round: u64, keep: u32) -> Result<(), RunsError> {
        let rounds = self.checkpoints(run)?;
        let (current, stale): (Vec<u64>, Vec<u64>) = rounds.iter().partition(|it| **it <= round);
        let old = current.len().saturating_sub(keep.max(1) as usize);
        for round in current.iter().take(old).chain(&stale) {
            self.remove(&self.manifest_path(run, *round))?;
            self.remove(&self.state_path(run, *round))?;
        }
        Ok(())
    }
}
