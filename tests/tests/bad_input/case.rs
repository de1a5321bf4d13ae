//! One command that gets something wrong, and what it must say.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rayon::prelude::*;
use tests::binaries::binaries;

/// Longest wait for a command to end: a bound on hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit code of bad input, as `--help` documents it.
pub(super) const BAD_INPUT: i32 = 2;
/// Exit code of a failed run, a refusal, or a failure of the system.
pub(super) const FAILED: i32 = 3;
/// Exit code of a coordinator that does not answer, or is lost.
pub(super) const LOST: i32 = 4;

/// A command that must end with an error.
#[derive(Clone, Debug)]
pub(super) struct Case {
    name: String,
    is_worker: bool,
    args: String,
    variables: Vec<(&'static str, &'static str)>,
    files: Vec<(&'static str, Vec<u8>)>,
    exit: i32,
    says: Vec<&'static str>,
}

impl Case {
    /// `coordinator` with these arguments, separated by blanks. `DIR` in them
    /// stands for the folder of the case's files. It must end with
    /// [`BAD_INPUT`], unless [`Case::exits`] says otherwise.
    pub(super) fn coordinator(name: &str, args: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_worker: false,
            args: args.into(),
            variables: Vec::new(),
            files: Vec::new(),
            exit: BAD_INPUT,
            says: Vec::new(),
        }
    }

    /// The same for `worker`.
    pub(super) fn worker(name: &str, args: impl Into<String>) -> Self {
        Self { is_worker: true, ..Self::coordinator(name, args) }
    }

    /// With a variable of the environment, which is empty otherwise.
    pub(super) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// With a file in the case's folder.
    pub(super) fn file(mut self, name: &'static str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name, content.into()));
        self
    }

    /// With more arguments.
    pub(super) fn args(mut self, more: &str) -> Self {
        self.args += more;
        self
    }

    /// Another exit code.
    pub(super) fn exits(mut self, exit: i32) -> Self {
        self.exit = exit;
        self
    }

    /// What standard error must contain, `DIR` standing for the folder again.
    pub(super) fn says(mut self, fragments: &[&'static str]) -> Self {
        self.says = fragments.to_vec();
        self
    }

    /// Runs the command; the answer is what is wrong with its end.
    fn run(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a path in UTF-8");
        for (name, content) in &self.files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, content).expect("a file");
        }
        let output = self.output(folder.path())?;
        let error = String::from_utf8_lossy(&output.stderr);
        let shown = format!("exit {:?}\n{}", output.status.code(), error.trim_end());
        if output.status.code() != Some(self.exit) {
            return Err(format!("expected exit {}, found {shown}", self.exit));
        }
        if !error.starts_with("error: ") || error.contains("panicked") {
            return Err(format!("expected one error in plain words, found {shown}"));
        }
        for fragment in &self.says {
            if !error.contains(&fragment.replace("DIR", path)) {
                return Err(format!("expected {fragment:?}, found {shown}"));
            }
        }
        // With --nocapture, all errors can be read by eye.
        println!("{}: {shown}\n", self.name);
        Ok(())
    }

    fn output(&self, folder: &Path) -> Result<Output, String> {
        let binary = if self.is_worker { &binaries().worker } else { &binaries().coordinator };
        let path = folder.to_str().expect("a path in UTF-8");
        let args = self.args.split_whitespace().map(|arg| arg.replace("DIR", path));
        let child = Command::new(binary)
            .args(args)
            .env_clear()
            .envs(self.variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let process = Pid::from_raw(child.id() as i32);
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => Ok(output.expect("a child can be waited for")),
            Err(_) => {
                let _ = kill(process, Signal::SIGKILL);
                Err(format!("still there after {PATIENCE:?}"))
            }
        }
    }
}

/// Runs all cases, several at a time, and reports all that went wrong.
pub(super) fn check(cases: Vec<Case>) {
    binaries();
    let failures: Vec<String> = cases
        .par_iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, case.run().err()?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Bytes that look like nothing: the same ones in every run.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    use rand_chacha::rand_core::{Rng, SeedableRng};
    let mut noise = vec![0; bytes];
    rand_chacha::ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
    noise
}
