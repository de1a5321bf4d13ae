//! The real binaries, built once by cargo in the profile of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binaries lie.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `coordinator`.
    pub coordinator: PathBuf,
    /// `worker`.
    pub worker: PathBuf,
    /// `samebit`.
    pub samebit: PathBuf,
    /// The program of `examples/custom_model`.
    pub custom_model: PathBuf,
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// The packages that have the binaries, and no others.
const PACKAGES: &[&str] = &["-p", "samebit", "-p", "custom_model"];

/// All that `cargo test` builds. It builds dependencies with more features than
/// the binaries alone need: where these are asked for in the same way, they are
/// linked of what is there, and nothing is compiled twice.
const TESTED: &[&str] = &["--workspace", "--bins", "--tests"];

/// The binaries of this build.
pub fn binaries() -> &'static Binaries {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    BUILT.get_or_init(|| {
        if cfg!(debug_assertions) {
            build_what(TESTED, &target_folder(), "dev", None)
        } else {
            build_what(PACKAGES, &target_folder(), "release", None)
        }
    })
}

/// Builds `coordinator` into `target`, with `RUSTFLAGS`.
pub fn coordinator_with(target: &Path, profile: &str, rustflags: &str) -> PathBuf {
    let only = ["-p", "samebit", "--bin", "coordinator"];
    build_what(&only, target, profile, Some(rustflags)).coordinator
}

fn build_what(what: &[&str], target: &Path, profile: &str, rustflags: Option<&str>) -> Binaries {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace())
        .args(["build", "--locked", "--quiet"])
        .args(what)
        .args(["--profile", profile, "--target-dir"])
        .arg(target);
    if let Some(flags) = rustflags {
        cargo.env("RUSTFLAGS", flags);
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "building the binaries: {status}");
    let folder = target.join(if profile == "dev" { "debug" } else { profile });
    Binaries {
        coordinator: folder.join("coordinator"),
        worker: folder.join("worker"),
        samebit: folder.join("samebit"),
        custom_model: folder.join("custom_model"),
    }
}

/// The target folder that this program was built into: the one that cargo has
/// marked.
pub fn target_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut folders = program.ancestors();
    let marked = folders.find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.expect("cargo marks its target folder").to_owned()
}
