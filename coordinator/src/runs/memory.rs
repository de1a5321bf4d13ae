//! The memory of the coordinator that writes here, for the next one: a process that the system kills
//! cannot say why it ended.

use std::io;
use std::path::PathBuf;

use common::id::RunId;
use common::memory;
use serde::{Deserialize, Serialize};

use super::error::RunsError;
use super::folder::RunsFolder;
use super::sealed::{self, Record};

/// What a coordinator last noted of its memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryNote {
    /// The run that it worked on.
    pub run: RunId,
    /// The largest resident memory that it had had, in bytes.
    pub peak: u64,
    /// Memory at which the system would have killed it, in bytes.
    pub limit: u64,
    /// Its control group, and how many of its processes the system had killed for memory.
    pub kills: Option<(String, u64)>,
}

impl Record for MemoryNote {
    const KIND: &'static str = "memory";
}

impl MemoryNote {
    /// That of this process.
    pub fn now(run: RunId) -> Self {
        let (peak, limit) = (memory::peak(), memory::hard_limit());
        Self { run, peak, limit, kills: memory::kills() }
    }
}

impl RunsFolder {
    fn memory_path(&self) -> PathBuf {
        self.path.join("memory.json")
    }

    /// Writes a note. It is not flushed to disk, and is replaced in place: it must outlive this
    /// process only, and a note that was cut off is ignored.
    pub fn note_memory(&self, note: &MemoryNote) -> Result<(), RunsError> {
        let path = self.memory_path();
        let failed = |error| RunsError::io(&path, error);
        let text = sealed::seal(note).map_err(|error| failed(io::Error::other(error)))?;
        self.files.create(&path).and_then(|mut file| file.write_all(&text)).map_err(failed)
    }

    /// The last note of the coordinator before, unless that ended in order.
    pub fn memory_note(&self) -> Option<MemoryNote> {
        self.read_record(&self.memory_path()).ok()
    }

    /// Removes the note.
    pub fn forget_memory(&self) -> Result<(), RunsError> {
        self.remove(&self.memory_path())
    }
}
