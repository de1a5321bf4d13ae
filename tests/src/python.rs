//! A Python with packages, in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set where Python and its packages are known to be there: then no test is skipped.
const NEEDED: &str = "SAMEBIT_TEST_PYTHON";

/// Runs a command; an error has what it wrote to standard error.
fn run(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{what}: {said}")) }
}

/// The Python of a virtual environment in `folder` that has these requirements; an error says why
/// there is none.
pub fn environment(folder: &Path, requirements: &Path) -> Result<PathBuf, String> {
    let python = folder.join("bin/python");
    // `tomllib` came with 3.11.
    run(Command::new("python3").args(["-c", "import tomllib"]))?;
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(install).arg("-r").arg(requirements))?;
    Ok(python)
}

/// The Python if there is one here, with a message if there is none.
///
/// # Panics
/// If there is none, and the environment says that there has to be one.
pub fn or_skip(python: &Result<PathBuf, String>) -> Option<&Path> {
    match python {
        Ok(python) => Some(python),
        Err(error) => {
            assert!(std::env::var_os(NEEDED).is_none(), "no Python with packages: {error}");
            println!("skipped: no Python with packages: {error}");
            None
        }
    }
}
