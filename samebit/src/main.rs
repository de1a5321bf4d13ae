//! `samebit`: see `samebit --help`.

use std::process::ExitCode;

// Cargo unites the features of what it builds at once; the tests plant bugs.
const _: () = assert!(
    !coordinator::PLANTED || cfg!(debug_assertions),
    "a program for use has no bugs planted in it: build it without the package `tests`, as in \
     `cargo build --release`"
);

fn main() -> ExitCode {
    samebit::main(samebit::model::Registry::standard())
}
