//! The runs folder and its history: what is written there and in which order, and how a starting
//! coordinator reads it. Everything that reads or writes the records of runs goes through the queue
//! of the storage writer.

mod backfill;
mod draft;
mod final_state;
mod history_queue;
mod journal;
mod predecessor;
mod recover;
mod recovered;
mod starts;
mod writer;

pub(super) use draft::{Contents, Draft};
pub(super) use final_state::final_state;
pub(super) use history_queue::HistoryQueue;
pub(super) use journal::Journal;
pub(super) use recover::recover;
pub(super) use recovered::{Recovered, cannot_continue, run_row};
#[cfg(test)]
pub(super) use starts::STARTS;
pub(super) use writer::{Checkpoint, Checkpointed, EVENTS, Event, Saved};
