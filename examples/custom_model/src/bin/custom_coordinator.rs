//! `coordinator` with a user's own model.

use std::process::ExitCode;

fn main() -> ExitCode {
    coordinator::run(custom_model::registry(), std::env::args_os())
}
