//! What the documents say is true.

use std::fs;
use std::process::Command;

use common::digest::Digest;
use tests::binaries::{binaries, workspace};

/// The digest that the README prints for the default run.
fn printed() -> Digest {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let mut digests = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("digest"))
        .filter_map(|rest| rest.trim().parse().ok());
    digests.next().expect("README.md prints `digest  <64 hexadecimal digits>`")
}

#[test]
fn the_default_run_ends_in_the_digest_of_the_readme() {
    let output =
        Command::new(&binaries().coordinator).args(["run", "--local", "3"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&printed().to_string()), "{text}");
}
