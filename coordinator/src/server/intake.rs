//! Submissions on their way in, by client, and the chunks of examples that they and
//! the runs refer to. A submission's spec is checked, its model made, its chunks and
//! its state come, and then it is a run.
//!
//! The engine performs what [`Intake`] asks for (an [`Effect`]), and gives it the
//! results of the [`Job`]s.

mod chunk_store;
mod submission;
#[cfg(test)]
mod tests;
mod uploads;

pub(super) use chunk_store::StoreFull;
pub(super) use submission::{Complete, Request};
pub(super) use uploads::{Done, Effect, Intake};
