//! `coordinator`: see `coordinator --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    coordinator::run(common::model::Registry::standard(), std::env::args_os())
}
