//! Submissions in progress, by client, and the chunks of examples that submissions and runs refer
//! to. The spec of a submission is checked, its model is made, its chunks and its state arrive, and
//! then it becomes a run.
//!
//! The engine performs the effects that [`Intake`] returns (see [`Effect`]), and passes it the
//! results of the [`Job`]s.

mod chunk_store;
mod submission;
#[cfg(test)]
mod tests;
mod uploads;

pub(super) use chunk_store::StoreFull;
pub(super) use submission::{Complete, Request};
pub(super) use uploads::{Done, Effect, Intake};
