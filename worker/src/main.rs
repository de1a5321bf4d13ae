//! `worker`: see `worker --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::run(common::model::Registry::standard(), std::env::args_os())
}
