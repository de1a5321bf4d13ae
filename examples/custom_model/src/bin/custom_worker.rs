//! `worker` with a user's own model.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::run(custom_model::registry(), std::env::args_os())
}
