//! `coordinator`: see `coordinator --help`.

use std::process::ExitCode;

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!(
    "a coordinator for use has no bugs planted in it: build it without the package `tests`, as in \
     `cargo build --release -p coordinator -p worker`"
);

fn main() -> ExitCode {
    coordinator::run(common::model::Registry::standard(), std::env::args_os())
}
