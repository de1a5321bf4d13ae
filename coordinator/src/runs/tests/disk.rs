//! A disk that fails where it is told to, and one whose power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::{Files, OsFiles, WriteFile};

/// One thing that was done to a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create(PathBuf),
    Write(PathBuf, Bytes),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncFolder(PathBuf),
    CreateFolder(PathBuf),
    Remove(PathBuf),
}

/// What was written, shown as its length.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes(Vec<u8>);

impl Debug for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[derive(Debug, Default)]
struct Record {
    done: Vec<Operation>,
    /// The operation that fails instead of being done, from 0.
    failing: Option<usize>,
}

/// The system's files, with all that is done to them recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording(Arc<Mutex<Record>>);

impl Recording {
    /// What was done so far.
    pub(super) fn done(&self) -> Vec<Operation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).done.clone()
    }

    /// How much was done so far.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).done.len()
    }

    /// Has the operation of this number, counted from the first, fail once.
    pub(super) fn fail_at(&self, number: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failing = Some(number);
    }

    fn begin(&self, operation: Operation) -> io::Result<()> {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if record.failing == Some(record.done.len()) {
            record.failing = None;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "this operation fails"));
        }
        record.done.push(operation);
        Ok(())
    }
}

struct RecordedFile {
    path: PathBuf,
    file: Box<dyn WriteFile>,
    recording: Recording,
}

impl Write for RecordedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.recording.begin(Operation::Write(self.path.clone(), Bytes(bytes.to_vec())))?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.recording.begin(Operation::Sync(self.path.clone()))?;
        self.file.sync()
    }
}

impl Files for Recording {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.begin(Operation::Create(path.to_owned()))?;
        let file = OsFiles.create(path)?;
        Ok(Box::new(RecordedFile { path: path.to_owned(), file, recording: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(Operation::Rename(from.to_owned(), to.to_owned()))?;
        OsFiles.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.begin(Operation::SyncFolder(folder.to_owned()))?;
        OsFiles.sync_folder(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.begin(Operation::CreateFolder(folder.to_owned()))?;
        OsFiles.create_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Remove(path.to_owned()))?;
        OsFiles.remove(path)
    }
}

/// What of a file is in memory, and what on the medium.
#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

/// A file system that keeps no more than it has promised: names outlive the
/// power once their folder was synced, bytes once their file was. What was not
/// synced may be there all the same.
#[derive(Debug, Default)]
pub(super) struct Disk {
    contents: Vec<Content>,
    /// Which content a name has.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    synced_folders: BTreeSet<PathBuf>,
}

impl Disk {
    /// What is there after these operations. Folders that none of them has
    /// made were there before.
    pub(super) fn after(operations: &[Operation]) -> Self {
        let mut disk = Self::default();
        for operation in operations {
            disk.perform(operation);
        }
        disk
    }

    fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(path) => {
                self.names.insert(path.clone(), self.contents.len());
                self.contents.push(Content::default());
            }
            Operation::Write(path, Bytes(bytes)) => {
                self.contents[self.names[path]].written.extend(bytes);
            }
            Operation::Sync(path) => {
                let content = &mut self.contents[self.names[path]];
                content.synced = content.written.clone();
            }
            Operation::Rename(from, to) => {
                let content = self.names.remove(from).expect("a file of this name");
                self.names.insert(to.clone(), content);
            }
            Operation::SyncFolder(folder) => {
                let is_in = |path: &PathBuf| path.parent() == Some(folder);
                self.synced_names.retain(|path, _| !is_in(path));
                let names = self.names.iter().filter(|(path, _)| is_in(path));
                self.synced_names.extend(names.map(|(path, content)| (path.clone(), *content)));
                self.synced_folders.extend(self.folders.iter().filter(|it| is_in(it)).cloned());
            }
            Operation::CreateFolder(folder) => {
                self.folders.insert(folder.clone());
            }
            Operation::Remove(path) => {
                self.names.remove(path);
            }
        }
    }

    /// Makes, in an empty folder, what a process finds that was killed: all
    /// that was done.
    pub(super) fn restore_all(&self, from: &Path, to: &Path) {
        restore_folders(&self.folders, from, to);
        for (path, content) in &self.names {
            restore(path, &self.contents[*content].written, from, to);
        }
    }

    /// Makes, in an empty folder, what may be found after the power was gone:
    /// what was synced, and of all else what `keeps` says. It gets the number
    /// of choices, and chooses below it.
    pub(super) fn restore_synced(
        &self,
        from: &Path,
        to: &Path,
        mut keeps: impl FnMut(usize) -> usize,
    ) {
        let mut folders = self.synced_folders.clone();
        folders.extend(self.folders.iter().filter(|_| keeps(2) == 1).cloned());
        restore_folders(&folders, from, to);
        let paths: BTreeSet<&PathBuf> = self.names.keys().chain(self.synced_names.keys()).collect();
        for path in paths {
            let (new, old) = (self.names.get(path), self.synced_names.get(path));
            let name = if new == old || keeps(2) == 1 { new } else { old };
            let Some(Content { written, synced }) = name.map(|name| &self.contents[*name]) else {
                continue;
            };
            let length = synced.len() + keeps(written.len() - synced.len() + 1);
            let is_in = |folder: &PathBuf| path.parent() == Some(folder);
            if !self.folders.iter().any(is_in) || folders.iter().any(is_in) {
                restore(path, &written[..length], from, to);
            }
        }
    }
}

fn restore_folders(folders: &BTreeSet<PathBuf>, from: &Path, to: &Path) {
    for folder in folders {
        std::fs::create_dir_all(to.join(folder.strip_prefix(from).unwrap())).unwrap();
    }
}

fn restore(path: &Path, bytes: &[u8], from: &Path, to: &Path) {
    std::fs::write(to.join(path.strip_prefix(from).unwrap()), bytes).unwrap();
}
