//! `coordinator`: another name of `samebit`.

use std::process::ExitCode;

fn main() -> ExitCode {
    samebit::main(samebit::model::Registry::standard())
}
