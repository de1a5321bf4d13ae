//! A cluster with keys lets in its own, and nobody else.
//!
//! - `attacks`: who a coordinator turns away, and in which words.
//! - `callers`: what workers and clients say who have the wrong keys, and how
//!   they end.
//! - `crowd`: runs go on and workers get in, however many stand at the door.
//! - `liars`: what becomes of those who have keys and do not say what they
//!   computed.
//! - `raw`: a peer that does with TLS whatever it likes.

mod attacks;
mod callers;
mod crowd;
mod liars;
mod raw;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::keys::{IDENTITY_DAYS, Keys, now};
use serde_json::Value;
use tests::binaries::binaries;
use tests::logged::Logged;

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Keys of clusters, in a folder that goes with them.
struct KeyFiles {
    folder: tempfile::TempDir,
}

impl KeyFiles {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new cluster's.
    fn new_cluster(&self, name: &str) -> Keys {
        self.write(Keys::generate(&self.path(name), IDENTITY_DAYS).expect("keys"))
    }

    /// Those of a cluster whose identities were made for `days` at another time,
    /// and the same cluster's with new ones.
    fn renewed_cluster(&self, old: &str, new: &str, days: u32, made: u64) -> [Keys; 2] {
        let keys = Keys::generate_at(&self.path(old), days, made).expect("keys");
        let renewed = keys.renewed(IDENTITY_DAYS).expect("keys").at(&self.path(new));
        [keys, renewed].map(|keys| self.write(keys))
    }

    fn write(&self, keys: Keys) -> Keys {
        keys.write_new().expect("the file is new");
        keys
    }
}

/// Keys whose identities expired yesterday, and the same cluster's of today.
fn expired(files: &KeyFiles) -> [Keys; 2] {
    files.renewed_cluster("expired.pem", "renewed.pem", 1, now() - 2 * DAY)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A coordinator with keys, and where it listens.
fn coordinator(keys: &Keys) -> (Logged, String) {
    Logged::coordinator(&["--keys", text(keys.path())])
}

/// `coordinator ARGS` against an address, with keys if there are any.
fn command(args: &[&str], address: &str, keys: Option<&Path>) -> Output {
    let mut command = Command::new(&binaries().coordinator);
    command.args(args).args(["--coordinator", address]).env_remove("SAMEBIT_KEYS");
    if let Some(keys) = keys {
        command.arg("--keys").arg(keys);
    }
    command.stdin(Stdio::null()).output().expect("the command runs")
}

/// What `coordinator status --json` says.
fn status(address: &str, keys: Option<&Path>) -> Value {
    let output = command(&["status", "--json"], address, keys);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
