//! The runs folder: all that must outlive a coordinator.
//!
//! ```text
//! runs/
//!   lock                       held by the coordinator that writes here
//!   history.sqlite             what happened (see `ledger`); no run depends on it
//!   data/<digest>              chunks of examples
//!   7/run.json                 run 7, as it was submitted
//!     start.safetensors        the state that it starts from, where a client sent one
//!     round-12.safetensors     the state after round 12,
//!     round-12.json            and what there is to know beside it: the checkpoint
//!     starts.json              how often it was begun since its last checkpoint
//!     outcome.json             how it ended
//! ```
//!
//! Every file is written under a temporary name, made durable, and renamed, so
//! that under its own name it is whole. A checkpoint is there once its manifest
//! (`round-12.json`) is: that is written last, and removed first.
//!
//! | file | what |
//! |---|---|
//! | `folder` | the folder: its runs, their submissions and ends; what nobody needs is removed |
//! | `error` | what can go wrong |
//! | `lock` | one coordinator writes, whatever becomes of the folder's name |
//! | `files` | the few things that are done to files, so that tests can make each fail |
//! | `records` | what the JSON files say |
//! | `sealed` | a record with the digest over itself |
//! | `checkpoint` | writing, finding and reading checkpoints |
//! | `data` | chunks of examples |
//! | `starts` | starts that were followed by no checkpoint |
//! | `history` | what a run has reported so far, as a checkpoint and a final state keep it |

mod checkpoint;
mod data;
mod error;
mod files;
mod folder;
mod history;
mod lock;
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
pub use records::{CheckpointRecord, Outcome, Progress, SubmissionRecord, dataset_digest};
