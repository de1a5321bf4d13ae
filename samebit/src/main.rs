//! `samebit`: see `samebit --help`.

use std::process::ExitCode;

// The package `tests` enables bugs on purpose, and Cargo unifies the features of all packages
// that it builds at once.
const _: () = assert!(
    !coordinator::PLANTED || cfg!(debug_assertions),
    "a program for use has no injected bugs: build it without the package `tests`, as in \
     `cargo build --release`"
);

fn main() -> ExitCode {
    samebit::main(samebit::model::Registry::standard())
}
