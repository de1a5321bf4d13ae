//! The history of runs, in SQLite. A coordinator writes it; commands read it, with or without
//! a running coordinator.
//!
//! ```text
//! server ── Record … ──▶ Ledger ──▶ history.sqlite ──▶ LedgerReader ──▶ cli
//! ```
//!
//! | file | what |
//! |---|---|
//! | `record` | the records |
//! | `writer` | the [`Ledger`], which writes records, one transaction at a time |
//! | `batch` | writes records into the tables |
//! | `reader`, `pages`, `rows` | the [`LedgerReader`], which reads rows, one page at a time |
//! | `schema` | the tables, and the migration of older versions |
//! | `thin` | drops rows of a history that has reached its limit |
//! | `damage` | finds damaged files, and renames them |
//! | `event` | an event of a run as columns, and as JSON that keeps every bit |
//! | `error` | errors |
//! | `file` | the file's name, the files beside it, its limits |
//!
//! The history is for people, for clients that follow a run later, and for checks. No result
//! of a run depends on it, and a run continues without it.

mod batch;
mod damage;
mod error;
mod event;
mod file;
mod pages;
mod reader;
mod record;
mod rows;
mod schema;
#[cfg(test)]
pub(crate) mod test_faults;
#[cfg(test)]
mod tests;
mod thin;
mod writer;

pub use error::LedgerError;
pub use event::RUN_EVENTS;
pub use file::{BUSY_TIMEOUT, FILE};
pub use pages::Pages;
pub use reader::LedgerReader;
pub use record::{
    CheckpointRow, EndRow, EventKind, EventRow, KILLED_FOR_MEMORY, Record, RunRow, ShardRow,
    StepRow, step_digest,
};
pub use rows::{StepName, StoredRun, StoredShard, StoredStep};
pub use thin::{HISTORY_BOUNDS, HISTORY_BYTES};
pub use writer::Ledger;
