//! The Python package `python/`: its wheel, in a fresh virtual environment that has nothing else, and the
//! tests of the package with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::binaries::{target_folder, workspace};
use tests::python;

/// What the seed's lines need around them, and a sentence about what came out.
const BEFORE: &str = "
import numpy as np
from samebit import NetworkState, ParallelBatchProcessor
random = np.random.default_rng(1)
training_labels = random.integers(0, 4, 400)
training_data = np.eye(4)[training_labels].repeat(4, 1)
current_weights, current_theta = random.random((16, 20)), np.full(20, 20.0)
";
const AFTER: &str = "print(final_state.digest(), round(results.accuracy, 2))";

/// Runs a command to its end; what it printed. It must succeed.
fn run(command: &mut Command) -> String {
    let what = format!("{command:?}");
    // A cluster of this shell is no part of a test.
    command.env_remove("SAMEBIT_COORDINATOR").env_remove("SAMEBIT_KEYS");
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{what}: {said}{errors}");
    said
}

/// Builds the wheel for this machine; the folder with it.
fn wheel(python: &Path, folder: &Path) -> PathBuf {
    let wheels = folder.join("wheels");
    let _ = fs::remove_dir_all(&wheels);
    let profile = if cfg!(debug_assertions) { "carried" } else { "wheel" };
    let commands = python.parent().expect("a folder of programs");
    let path = std::env::var("PATH").unwrap_or_default();
    let script = workspace().join("python/wheels.py");
    let said = run(Command::new(python)
        .arg(script)
        .args(["--profile", profile, "--out"])
        .arg(&wheels)
        .arg(std::env::consts::ARCH)
        .env("PATH", format!("{}:{path}", commands.display()))
        .env("CARGO_TARGET_DIR", target_folder().join("wheel")));
    println!("{said}");
    assert!(said.contains("manylinux2014"), "no wheel: {said}");
    wheels
}

/// Runs pip of a Python.
fn pip(python: &Path, args: &[&str], wheels: &Path) {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(args).arg(wheels);
    run(command.arg(if args[0] == "download" { "numpy==2.4.6" } else { "samebit" }));
}

/// A new environment has the wheel and numpy's, and no index to ask for more.
fn the_wheel_is_enough(python: &Path, wheels: &Path, folder: &Path) {
    let fresh = folder.join("fresh");
    let _ = fs::remove_dir_all(&fresh);
    pip(python, &["download", "--dest"], wheels);
    run(Command::new("python3").args(["-m", "venv"]).arg(&fresh));
    let python = fresh.join("bin/python");
    pip(&python, &["install", "--no-index", "--find-links"], wheels);
    let seed = fs::read_to_string(workspace().join("python/tests/seed.txt")).expect("it is there");
    let said = run(Command::new(&python).args(["-c", &format!("{BEFORE}{seed}{AFTER}")]));
    assert_eq!(said.split_whitespace().next().map_or(0, str::len), 64, "{said}");
    let readme = fs::read_to_string(workspace().join("README.md")).expect("it is there");
    let said = run(Command::new(fresh.join("bin/samebit")).args(["run", "--local", "2"]));
    let mut words = said.split_whitespace();
    let digest = words.find(|word| word.len() == 64).expect("a digest");
    assert!(readme.contains(digest), "{said}");
}

#[test]
fn the_package_does_what_its_tests_say() {
    let tests = workspace().join("python/tests");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_package");
    let found = python::environment(&folder.join("tools"), &tests.join("requirements.txt"));
    let Some(python) = python::or_skip(&found) else { return };
    let wheels = wheel(python, &folder);
    the_wheel_is_enough(python, &wheels, &folder);
    let again = ["install", "--no-index", "--no-deps", "--force-reinstall", "--find-links"];
    pip(python, &again, &wheels);
    let said = run(Command::new(python)
        .args(["-m", "pytest", "-q", "-x", "--durations=8", "-p", "no:cacheprovider"])
        .arg(&tests)
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1"));
    println!("{said}");
}
