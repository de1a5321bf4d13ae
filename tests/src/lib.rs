//! Where coordinator and worker meet: the harness of the end-to-end tests.
//!
//! - [`binaries`]: the real binaries, built once.
//! - [`cluster`]: a coordinator and workers as processes, and what to do to
//!   them.
//! - [`client`]: `coordinator run --json`, followed event by event.
//! - [`logged`]: processes whose logs are read as they come.
//! - [`crowd`]: connections that never say who they are.
//! - [`cgroup`]: control groups that limit a process's memory.
//! - [`proxy`]: what can happen between a worker and its coordinator.
//! - [`examples`]: the commands in every `--help` and document.
//! - [`expected`]: what the one-process reference gives.
//! - [`kill`]: runs whose processes are killed at random.
//! - [`trouble`]: models that do what no model should.

pub mod binaries;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod crowd;
pub mod examples;
pub mod expected;
pub mod imports;
pub mod kill;
pub mod logged;
pub mod proxy;
pub mod trouble;
