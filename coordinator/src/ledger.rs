//! The history of runs, in SQLite: what a coordinator records while it works,
//! and what is read of it later, beside a coordinator or without one.
//!
//! ```text
//! server ── Record … ──▶ Ledger ──▶ history.sqlite ──▶ LedgerReader ──▶ cli
//! ```
//!
//! | file | what |
//! |---|---|
//! | `record` | what can be recorded |
//! | `writer` | the [`Ledger`]: records in, a transaction at a time |
//! | `batch` | how records go into the tables |
//! | `reader`, `pages`, `rows` | the [`LedgerReader`]: rows out, a page at a time |
//! | `schema` | the tables, and how older ones are brought up to date |
//! | `thin` | what makes room in a history that has grown to its bound |
//! | `damage` | a damaged file is found, and put aside |
//! | `event` | an event of a run as columns, and as JSON that keeps every bit |
//! | `error` | what can go wrong |
//! | `file` | the file's name, what lies beside it, its bounds |
//!
//! The history is for people, for what follows a run later, and for checks:
//! no outcome of a run depends on it, and a run goes on without it.

mod batch;
#[cfg(test)]
pub(crate) mod befalls;
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
