//! Models that do what no model should, for tests of what comes of it.

mod deadly;
mod greedy;

use std::process::Command;

use common::model::Registry;

/// The models `greedy` and `deadly`, and no other.
pub fn registry() -> Registry {
    let mut registry = Registry::empty();
    registry.register("greedy", "takes more memory than it declares", greedy::build);
    registry.register("deadly", "ends the process that runs it", deadly::build);
    registry
}

/// The program `trouble`, which knows these models, as `coordinator` or as `worker`.
/// Its path is what cargo tells tests alone: `env!("CARGO_BIN_EXE_trouble")`.
pub fn program(path: &str, role: &str) -> Command {
    let mut command = Command::new(path);
    command.arg(role);
    command
}
