//! The harness of the end-to-end tests.
//!
//! - [`binaries`]: the real binaries, built once.
//! - [`cluster`]: a coordinator and workers as processes, with signals and faults for them.
//! - [`client`]: `coordinator run --json`, followed event by event.
//! - [`logged`]: processes whose logs are read live.
//! - [`crowd`]: connections that never finish their handshake.
//! - [`cgroup`]: control groups that limit a process's memory.
//! - [`proxy`]: network faults between a worker and its coordinator.
//! - [`examples`]: the commands in every `--help` and document.
//! - [`expected`]: the digests of the one-process reference.
//! - [`imports`]: files that import each other in circles.
//! - [`kill`]: runs whose processes are killed at random.
//! - [`prose`]: the comments and strings of source files, apart from the code.
//! - [`python`]: a virtual environment of Python, with packages.
//! - [`trouble`]: models that break the rules for models.

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
pub mod prose;
pub mod proxy;
pub mod python;
pub mod trouble;
