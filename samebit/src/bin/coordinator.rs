//! `coordinator`: another name of `samebit`.

use std::process::ExitCode;

// As in `main.rs`.
const _: () = assert!(!coordinator::PLANTED || cfg!(debug_assertions), "see `main.rs`");

fn main() -> ExitCode {
    samebit::main(samebit::model::Registry::standard())
}
