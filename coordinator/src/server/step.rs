//! The step that workers compute, from its base state to the next state. This room receives
//! finished blocks and pulled segments, and merges them. Everything that must be done outside the
//! room is an [`Effect`].
//!
//! | file | what |
//! |---|---|
//! | `active_run` | the active run, and the stage of its step |
//! | `accept` | checks whether a finished block can be valid |
//! | `executor` | the work of each stage, and the order of stages |
//! | `merging` | the merge of a complete round |
//! | `merge` | partials too large to be sent inline: pulled, decoded, merged |
//! | `finalise` | the model's part after a merge, and after a labelling |
//! | `shard_log` | which worker was given which shards, and their results |
//! | `timing` | durations |

mod accept;
mod active_run;
mod block_outcome;
mod effect;
mod executor;
mod finalise;
mod merge;
mod merging;
mod shard_log;
#[cfg(test)]
mod tests;
mod timing;

pub(super) use accept::{Accepted, FinishedBlock};
pub(super) use active_run::ActiveRun;
pub(super) use effect::{Done, Effect};
pub(super) use executor::{Start, StepExecutor, StepOutcome};
pub(super) use merge::Payload;
pub(super) use merging::Stalled;
pub(super) use shard_log::Difference;
