//! The step that workers work on: from its base to the next state. This room takes in
//! finished blocks and pulled segments, and merges them; what is to be done outside it
//! is an [`Effect`].
//!
//! | file | what |
//! |---|---|
//! | `active_run` | the run that is worked on, and the stage of its step |
//! | `accept` | whether a finished block can be what it claims to be |
//! | `executor` | what happens in each stage, and what the next one is |
//! | `merging` | how a complete round is merged |
//! | `merge` | partials too large to come inline: pulled, decoded, merged |
//! | `finalise` | the model's part after a merge, and after a labelling |
//! | `shard_log` | which worker was given which shards, and what they gave |
//! | `timing` | how long things take |

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
pub(super) use merging::Stalled;
pub(super) use shard_log::Difference;
