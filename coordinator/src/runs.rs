//! The runs folder: everything that must survive a coordinator.
//!
//! ```text
//! runs/
//!   lock                       held by the coordinator that writes here
//!   history.sqlite             the history (see `ledger`); no run depends on it
//!   memory.json                memory of the coordinator that works on a run, noted every second
//!   data/<digest>              chunks of examples
//!   7/run.json                 run 7, as it was submitted
//!     start.safetensors        the initial state, if a client sent one
//!     round-12.safetensors     the state after round 12,
//!     round-12.json            and its manifest: together the checkpoint
//!     starts.json              how often it was started since its last checkpoint
//!     outcome.json             how it ended
//! ```
//!
//! Every file but `memory.json` is written under a temporary name, flushed to disk, and renamed, so
//! that a file is complete under its own name. A checkpoint exists once its manifest (`round-12.json`)
//! does: the manifest is written last, and removed first.
//!
//! | file | what |
//! |---|---|
//! | `folder` | the folder: its runs, their submissions and ends, and removal of unneeded files |
//! | `error` | errors |
//! | `lock` | the lock: one coordinator writes, even if the folder is moved or replaced |
//! | `files` | the operations on files, so that tests can make each of them fail |
//! | `records` | the content of the JSON files |
//! | `sealed` | a record with a digest of itself |
//! | `checkpoint` | writing, finding and reading checkpoints |
//! | `data` | chunks of examples |
//! | `starts` | starts of a run without a checkpoint since |
//! | `memory` | the memory of a coordinator, for the next one |
//! | `history` | the results that a run has reported, as a checkpoint and a state file store them |

mod checkpoint;
mod data;
mod error;
mod files;
mod folder;
mod history;
mod lock;
mod memory;
mod records;
mod sealed;
mod starts;

#[cfg(test)]
mod tests;

pub use checkpoint::{Found, Restart};
pub use error::{FORMAT, RunsError};
pub use files::{Files, OsFiles, WriteFile};
pub use folder::{LAST_NUMBER, RunsFolder};
pub use history::{
    EvaluationPoint, HISTORY_POINTS, History, HistoryError, HistorySoFar, RoundPoint,
};
pub use memory::MemoryNote;
pub use records::{CheckpointRecord, Outcome, Progress, SubmissionRecord, dataset_digest};
