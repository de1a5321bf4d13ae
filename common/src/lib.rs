//! The code that coordinator and worker share.
//!
//! A run's final state is a pure function of its [`spec`] and its [`dataset`]. For that,
//! coordinator and worker must agree on everything in this crate: identifiers and limits, the
//! spec, the [`state`] and the [`merge`] of replicas, the [`model`]s, the [`plan`] of every
//! step, and the [`wire`].
//!
//! Imports only go down:
//!
//! ```text
//! settings                             F5  flags, files and environment
//! wire  keys                           F2  messages, handshake, codec; the cluster's keys
//! shard                                F1  one replica's work, from start to end
//! state  merge  model  dataset  plan   F1  the computation of a round
//! id  digest  limits  spec  run_settings  run_state  worker_event      F0
//! merge_rule  results  text  memory                                    F0
//! ```

pub mod dataset;
pub mod digest;
pub mod id;
pub mod keys;
pub mod limits;
pub mod memory;
pub mod merge;
pub mod merge_rule;
pub mod model;
pub mod plan;
pub mod results;
pub mod run_settings;
pub mod run_state;
pub mod settings;
pub mod shard;
pub mod spec;
pub mod state;
pub mod text;
#[cfg(test)]
mod vectors;
pub mod wire;
pub mod worker_event;
