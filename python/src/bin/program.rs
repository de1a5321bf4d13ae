//! The program `samebit`, as it is in the wheel: built with the extension module, so that what both need
//! is built once.

use std::process::ExitCode;

fn main() -> ExitCode {
    samebit::main(samebit::model::Registry::standard())
}
