//! `worker`: another name of `samebit worker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::run(samebit::model::Registry::standard(), std::env::args_os())
}
