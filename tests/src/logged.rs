//! Processes whose logs are read as they come.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::binaries;

/// Longest wait for a line of a log: a bound on hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process whose log is read as it comes.
#[derive(Debug)]
pub struct Logged {
    child: Child,
    /// What it says.
    pub log: Log,
    /// Where a coordinator keeps its runs.
    runs: Option<TempDir>,
}

impl Logged {
    /// A coordinator with more flags, and where it listens. It logs every
    /// refusal.
    pub fn coordinator(flags: &[&str]) -> (Self, String) {
        Self::coordinator_by(Command::new(&binaries().coordinator), flags)
    }

    /// The same by another command than `coordinator`.
    pub fn coordinator_by(command: Command, flags: &[&str]) -> (Self, String) {
        Self::coordinator_on(tempfile::tempdir().expect("a folder"), command, flags)
    }

    /// The same on a runs folder that exists.
    pub fn coordinator_on(runs: TempDir, mut command: Command, flags: &[&str]) -> (Self, String) {
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--log-level", "info,samebit_coordinator=debug"];
        let mut process =
            Self::start(command.args(args).args(flags).arg("--runs").arg(runs.path()));
        process.runs = Some(runs);
        let mut line = String::new();
        let stdout = process.child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the coordinator says where it is");
        let address = line.trim().strip_prefix("listening on ").expect("`listening on HOST:PORT`");
        (process, address.to_owned())
    }

    /// A worker of this name, with more flags.
    pub fn worker(name: &str, address: &str, flags: &[&str]) -> Self {
        let flags = [&["--slots", "1"], flags].concat();
        Self::worker_by(Command::new(&binaries().worker), name, address, &flags)
    }

    /// The same by another command than `worker`, with all slots there are.
    pub fn worker_by(mut command: Command, name: &str, address: &str, flags: &[&str]) -> Self {
        Self::start(command.args(["--coordinator", address, "--name", name]).args(flags))
    }

    /// The folder that a coordinator keeps its runs in.
    pub fn runs(&self) -> &Path {
        self.runs.as_ref().expect("a coordinator").path()
    }

    /// The runs folder of a coordinator that was killed. Waits for its end.
    pub fn into_runs(mut self) -> TempDir {
        self.child.wait().expect("a child can be waited for");
        self.runs.take().expect("a coordinator")
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let log = Log::of(child.stderr.take().expect("stderr is piped"));
        Self { child, log, runs: None }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is there");
    }

    /// Tells it to leave, which it must do in order.
    pub fn leave(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait(), Some(0));
    }

    /// Waits for its end, and gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let status = self.child.wait().expect("a child can be waited for");
        self.log.assert_orderly();
        status.code()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a log, one JSON object each. What is none is kept as a text.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<(Mutex<Vec<Value>>, Condvar)>,
}

impl Log {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let log = Self { lines: lines.clone() };
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.0.lock().expect("no reader of the log panics").push(value);
                lines.1.notify_all();
            }
        });
        log
    }

    /// Waits for a line of which this holds.
    pub fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let lines = self.lines.0.lock().expect("no reader of the log panics");
        let missing = |lines: &mut Vec<Value>| !lines.iter().any(&is_it);
        let waited = self.lines.1.wait_timeout_while(lines, PATIENCE, missing);
        let (lines, _) = waited.expect("no reader of the log panics");
        let found = lines.iter().find(|line| is_it(line)).cloned();
        found.ok_or_else(|| {
            let last: Vec<_> = lines.iter().rev().take(20).map(Value::to_string).collect();
            format!("no such line in the log; the last ones are\n{}", last.join("\n"))
        })
    }

    /// All lines until now.
    pub fn all(&self) -> Vec<Value> {
        self.lines.0.lock().expect("no reader of the log panics").clone()
    }

    /// Every line is a line of a log: none is of a panic.
    fn assert_orderly(&self) {
        let lines = self.lines.0.lock().expect("no reader of the log panics");
        for line in lines.iter() {
            assert!(line.is_object() && !line.to_string().contains("panicked"), "{line}");
        }
    }
}
