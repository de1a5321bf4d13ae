//! The folder: its runs, their submissions, and their ends.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::RunId;

use super::error::RunsError;
use super::files::{self, Files, OsFiles};
use super::lock::{Lock, LockedFiles};
use super::records::{Outcome, SubmissionRecord};
use super::sealed::{self, Record};

/// The folder of the chunks.
pub(super) const DATA: &str = "data";

/// Suffix of records.
const RECORD: &str = ".json";

/// Limit of a JSON file, in bytes: two manifests with the maximum number of chunks, a spec,
/// and the longest history.
const RECORD_BYTES: u64 = 16 << 20;

/// Mode of a new runs folder: only its owner can enter it.
const FOLDER_MODE: u32 = 0o700;

/// Limit of entries of a folder.
const ENTRIES: usize = 1 << 20;

/// The largest number of a run: all JSON parsers represent numbers up to it exactly.
pub const LAST_NUMBER: u64 = (1 << 53) - 1;

/// See the [module](super). Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunsFolder {
    pub(super) path: PathBuf,
    pub(super) files: Arc<dyn Files>,
    /// The lock, held as long as any clone lives; `None` for a reader.
    lock: Option<Lock>,
}

impl RunsFolder {
    /// Opens and locks the folder of a coordinator. A missing folder is created, readable by
    /// its owner only.
    pub fn open(path: &Path) -> Result<Self, RunsError> {
        Self::open_with(path, Arc::new(OsFiles))
    }

    /// The same with other file operations.
    pub fn open_with(path: &Path, files: Arc<dyn Files>) -> Result<Self, RunsError> {
        let data = path.join(DATA);
        make_folder(path).map_err(|error| RunsError::io(path, error))?;
        fs::create_dir_all(&data).map_err(|error| RunsError::io(&data, error))?;
        OsFiles.sync_folder(path).map_err(|error| RunsError::io(path, error))?;
        let lock = Lock::take(path)?;
        let files = Arc::new(LockedFiles { lock: lock.clone(), files });
        Ok(Self { path: path.to_owned(), files, lock: Some(lock) })
    }

    /// Opens the folder for reading, whether or not a coordinator writes in it.
    pub fn read(path: &Path) -> Result<Self, RunsError> {
        fs::read_dir(path).map_err(|error| RunsError::io(path, error))?;
        Ok(Self { path: path.to_owned(), files: Arc::new(OsFiles), lock: None })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that this coordinator may still write here: its folder may have been removed,
    /// or replaced by one in which another coordinator writes. Every write through this
    /// type checks it, too.
    pub fn check_lock(&self) -> Result<(), RunsError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        lock.check().map_err(|error| RunsError::io(&self.path, error))
    }

    /// The used numbers, in order: of all entries whose name is a number, whatever they are.
    pub fn numbers(&self) -> Result<Vec<RunId>, RunsError> {
        let names = names(&self.path)?;
        let mut runs: Vec<RunId> = names.iter().filter_map(|name| number(name)).collect();
        runs.sort_unstable();
        Ok(runs)
    }

    /// The runs in the folder, in order: those with any record, even a damaged one, and those
    /// whose folder cannot be read. A folder without a record belongs to a submission that
    /// was never accepted.
    pub fn runs(&self) -> Result<Vec<RunId>, RunsError> {
        let is_record = |name: &String| name.ends_with(RECORD);
        let mut runs = self.run_folders()?;
        runs.retain(|run| {
            names(&self.run_path(*run)).map_or(true, |names| names.iter().any(is_record))
        });
        Ok(runs)
    }

    /// Numbers of the folders that may be runs. An entry that is not a folder is not a run.
    fn run_folders(&self) -> Result<Vec<RunId>, RunsError> {
        let mut runs = self.numbers()?;
        runs.retain(|run| self.run_path(*run).is_dir());
        Ok(runs)
    }

    /// Refuses entries that look like a run but are not: names such as `07`, or entries that
    /// are not folders. A run may have been renamed.
    fn check_names(&self) -> Result<(), RunsError> {
        for name in names(&self.path)?.iter().filter(|name| name.parse::<u64>().is_ok()) {
            let path = self.path.join(name);
            if number(name).is_none() || !path.is_dir() {
                let expected = "a folder named by its run's number, as `7`";
                return Err(RunsError::content(&path, expected, "another entry with a number"));
            }
        }
        Ok(())
    }

    pub(super) fn run_path(&self, run: RunId) -> PathBuf {
        self.path.join(run.0.to_string())
    }

    pub(super) fn submission_path(&self, run: RunId) -> PathBuf {
        self.run_path(run).join("run.json")
    }

    fn outcome_path(&self, run: RunId) -> PathBuf {
        self.run_path(run).join("outcome.json")
    }

    /// Writes a submitted run to disk, in its own folder; `start` is the initial state, if a
    /// client sent one.
    pub fn write_submission(
        &self,
        submission: &SubmissionRecord,
        start: Option<&common::state::NetworkState>,
    ) -> Result<(), RunsError> {
        let folder = self.run_path(submission.run);
        self.files.create_folder(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                RunsError::Exists { path: folder.display().to_string() }
            }
            _ => RunsError::io(&folder, error),
        })?;
        self.files.sync_folder(&self.path).map_err(|error| RunsError::io(&self.path, error))?;
        if let Some(state) = start {
            let path = self.start_path(submission.run);
            self.write(&path, &mut |file| {
                state.write_to(file, state.digest(), &Default::default())
            })?;
        }
        self.write_record(&self.submission_path(submission.run), submission)
    }

    /// Writes the changed record of an existing run to disk.
    pub fn update_submission(&self, submission: &SubmissionRecord) -> Result<(), RunsError> {
        self.write_record(&self.submission_path(submission.run), submission)
    }

    /// A run's submission. If `run.json` is missing or damaged, it is restored from the
    /// checkpoints, and the error is returned as well.
    pub fn restore_submission(
        &self,
        run: RunId,
    ) -> Result<(SubmissionRecord, Option<RunsError>), RunsError> {
        let error = match self.submission(run) {
            Ok(submission) => return Ok((submission, None)),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        match self.submission_by_checkpoints(run)? {
            Some(submission) => {
                self.update_submission(&submission)?;
                Ok((submission, Some(error)))
            }
            None => Err(error),
        }
    }

    /// A run's submission.
    pub fn submission(&self, run: RunId) -> Result<SubmissionRecord, RunsError> {
        let path = self.submission_path(run);
        if !path.is_file() {
            return Err(RunsError::Unknown { run, folder: self.path.display().to_string() });
        }
        let submission: SubmissionRecord = self.read_record(&path)?;
        if submission.run != run {
            return Err(RunsError::content(&path, format!("run {run}"), submission.run));
        }
        Ok(submission)
    }

    /// Writes a run's end to disk.
    pub fn write_outcome(&self, run: RunId, outcome: &Outcome) -> Result<(), RunsError> {
        self.write_record(&self.outcome_path(run), outcome)
    }

    /// How a run ended; `None` if it has not.
    pub fn outcome(&self, submission: &SubmissionRecord) -> Result<Option<Outcome>, RunsError> {
        let path = self.outcome_path(submission.run);
        let outcome: Outcome = match self.read_record(&path) {
            Err(RunsError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            read => read?,
        };
        let expected = (submission.run, submission.identity);
        if (outcome.run, outcome.identity) != expected {
            let found = format!("that of run {}, {}", outcome.run, outcome.identity);
            let expected = format!("the end of run {}, {}", submission.run, submission.identity);
            return Err(RunsError::content(&path, expected, found));
        }
        Ok(Some(outcome))
    }

    /// Removes the record of a run's end, as the run continues.
    pub fn remove_outcome(&self, run: RunId) -> Result<(), RunsError> {
        self.remove(&self.outcome_path(run))?;
        // Flushed: if a power failure undid the removal, the run would end again.
        let folder = self.run_path(run);
        self.files.sync_folder(&folder).map_err(|error| RunsError::io(&folder, error))
    }

    pub(super) fn start_path(&self, run: RunId) -> PathBuf {
        self.run_path(run).join("start.safetensors")
    }

    pub(super) fn write_record(&self, path: &Path, record: &impl Record) -> Result<(), RunsError> {
        let text =
            sealed::seal(record).map_err(|error| RunsError::io(path, io::Error::other(error)))?;
        self.write(path, &mut |file| file.write_all(&text))
    }

    pub(super) fn read_record<T: Record>(&self, path: &Path) -> Result<T, RunsError> {
        sealed::open(path, &read_bounded(path, RECORD_BYTES)?)
    }

    /// Writes a file atomically.
    pub(super) fn write(
        &self,
        path: &Path,
        content: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), RunsError> {
        files::write_atomically(&*self.files, &files::temporary(path), path, content)
            .map_err(|error| RunsError::io(path, error))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), RunsError> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RunsError::io(path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes temporary files of a coordinator that died, and chunks that no run refers to.
    /// If anything cannot be read, nothing is removed, as it is unknown what an unreadable
    /// run needs.
    pub fn clean(&self) -> Result<(), RunsError> {
        let mut referred = BTreeSet::new();
        let mut unfinished = Vec::new();
        self.check_names()?;
        for run in self.run_folders()? {
            let folder = self.run_path(run);
            let names = names(&folder)?;
            let temporary = names.iter().filter(|name| files::is_temporary(name));
            unfinished.extend(temporary.map(|name| folder.join(name)));
            if !names.iter().any(|name| name.ends_with(RECORD)) {
                continue;
            }
            let submission = self.submission(run)?;
            for manifest in [&submission.train, &submission.test] {
                referred.extend(manifest.chunks.iter().map(ToString::to_string));
            }
        }
        let folder = self.path.join(DATA);
        let chunks = names(&folder)?;
        let unneeded = chunks.iter().filter(|name| !referred.contains(*name));
        unfinished.extend(unneeded.map(|name| folder.join(name)));
        unfinished.iter().try_for_each(|path| self.remove(path))
    }
}

/// Creates the runs folder, readable by its owner only, as it holds states and examples. An
/// existing folder keeps its mode.
fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// The number of a run's folder, in canonical form: `07` is not one.
fn number(name: &str) -> Option<RunId> {
    let number = name.parse::<u64>().ok().filter(|number| *number <= LAST_NUMBER)?;
    (number.to_string() == name).then_some(RunId(number))
}

/// Names of a folder's entries that are valid text, as all of ours are. All of them, or an
/// error.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, RunsError> {
    let entries = fs::read_dir(folder).map_err(|error| RunsError::io(folder, error))?;
    names_of(folder, entries.map(|entry| entry.map(|entry| entry.file_name())))
}

/// The same for the system's entries.
pub(super) fn names_of(
    folder: &Path,
    entries: impl Iterator<Item = io::Result<OsString>>,
) -> Result<Vec<String>, RunsError> {
    let mut names = Vec::new();
    for entry in entries {
        if names.len() == ENTRIES {
            return Err(RunsError::content(folder, format!("at most {ENTRIES} entries"), "more"));
        }
        names.extend(entry.map_err(|error| RunsError::io(folder, error))?.into_string());
    }
    Ok(names)
}

/// A file's bytes, unless it is too long or not a file.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, RunsError> {
    let error = |error| RunsError::io(path, error);
    let file = File::open(path).map_err(error)?;
    let about = file.metadata().map_err(error)?;
    if !about.is_file() {
        return Err(RunsError::content(path, "a file", "something else"));
    }
    let found = about.len();
    if found > limit {
        return Err(RunsError::content(path, format!("at most {limit} bytes"), found));
    }
    let mut bytes = Vec::with_capacity(found as usize);
    io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes).map_err(error)?;
    Ok(bytes)
}
