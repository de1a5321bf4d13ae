//! Adds the commit to the version of release builds, and of builds with the variable
//! `SAMEBIT_COMMIT`. (A debug build would otherwise be repeated for each commit.)

use std::fs;
use std::path::{Path, PathBuf};

/// Digits of a commit in the version.
const DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SAMEBIT_COMMIT");
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let commit = variable("SAMEBIT_COMMIT").or_else(|| {
        let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
        is_release.then(|| commit(Path::new("..")))?
    });
    let version = variable("CARGO_PKG_VERSION").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let build = match commit.filter(|commit| commit.chars().all(is_plain)) {
        Some(commit) => format!("{version}+{commit:.DIGITS$}"),
        None => version,
    };
    println!("cargo:rustc-env=SAMEBIT_BUILD={build}");
}

/// The commit that is checked out in a working tree; `None` if it is not one.
fn commit(tree: &Path) -> Option<String> {
    let mut own = tree.join(".git");
    if own.is_file() {
        let text = fs::read_to_string(&own).ok()?;
        own = tree.join(text.trim().strip_prefix("gitdir: ")?);
    }
    let head = read(&own.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return Some(head) };
    let shared = read(&own.join("commondir")).map_or(own.clone(), |path| own.join(path));
    read(&shared.join(name)).or_else(|| packed(&shared.join("packed-refs"), name))
}

fn read(path: &PathBuf) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim().to_owned())
}

/// The commit of a name that git has packed with others.
fn packed(path: &PathBuf, name: &str) -> Option<String> {
    let all = read(path)?;
    all.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
}
