//! The Python package `python/`: its tests, in a fresh virtual environment that has the extension
//! module and the program of this build.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::binaries::{extension, workspace};
use tests::python;

/// Puts the package of this build into the environment of a Python, as an installation does.
fn install(python: &Path) {
    let (module, binaries) = extension();
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let said = Command::new(python).args(["-c", ask]).output().expect("Python starts");
    let folder = PathBuf::from(String::from_utf8(said.stdout).expect("a path in UTF-8").trim());
    let package = folder.join("samebit");
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(&package).expect("room");
    let sources = workspace().join("python/samebit");
    for file in fs::read_dir(sources).expect("the package is there").flatten() {
        if file.path().extension() != Some(OsStr::new("so")) && file.path().is_file() {
            fs::copy(file.path(), package.join(file.file_name())).expect("room");
        }
    }
    fs::copy(module, package.join("_samebit.abi3.so")).expect("room");
    let program = python.with_file_name("samebit");
    // A program that runs cannot be written to.
    let _ = fs::remove_file(&program);
    fs::copy(&binaries.samebit, program).expect("room");
}

#[test]
fn the_package_does_what_its_tests_say() {
    let tests = workspace().join("python/tests");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_package");
    let found = python::environment(&folder, &tests.join("requirements.txt"));
    let Some(python) = python::or_skip(&found) else { return };
    install(python);
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-x", "--durations=8", "-p", "no:cacheprovider"])
        .arg(&tests)
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("SAMEBIT_COORDINATOR")
        .env_remove("SAMEBIT_KEYS")
        .output()
        .expect("pytest starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
}
