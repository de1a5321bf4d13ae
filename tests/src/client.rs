//! `coordinator run --json`, followed event by event.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use common::digest::Digest;
use serde_json::Value;

use crate::binaries::binaries;
use crate::cluster::log_file;

/// Longest wait for one event: a bound on hanging, not an expectation.
const EVENT_PATIENCE: Duration = Duration::from_secs(120);

/// What came of waiting for an event.
#[derive(Clone, Debug)]
pub enum Next {
    /// An event.
    Event(Value),
    /// The end of the output.
    End,
    /// None yet.
    Nothing,
}

/// A client that follows a run.
#[derive(Debug)]
pub struct Client {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    /// All events so far.
    pub events: Vec<Value>,
    _spec: Option<tempfile::NamedTempFile>,
}

impl Client {
    /// Submits `spec` to the coordinator at `address`.
    pub fn submit(address: &str, spec: &str) -> Self {
        Self::start(spec, &["--coordinator", address])
    }

    /// `coordinator run SPEC --json` with more flags.
    pub fn start(spec: &str, flags: &[&str]) -> Self {
        Self::start_by(Command::new(&binaries().coordinator), spec, flags)
    }

    /// The same by another command than `coordinator`.
    pub fn start_by(command: Command, spec: &str, flags: &[&str]) -> Self {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        file.write_all(spec.as_bytes()).expect("the spec is written");
        let path = file.path().to_str().expect("a plain path").to_owned();
        let args = [&["run", &path], flags].concat();
        let mut client = Self::spawn(command, &args, Stdio::inherit());
        client._spec = Some(file);
        client
    }

    /// Follows a run of the coordinator at `address`.
    pub fn follow(address: &str, run: u64) -> Self {
        let args = ["follow", &run.to_string(), "--coordinator", address];
        Self::spawn(Command::new(&binaries().coordinator), &args, Stdio::inherit())
    }

    /// The same with what it says to standard error in the file
    /// `follower.log` of a folder.
    pub fn follow_in(folder: &Path, address: &str, run: u64) -> Self {
        let args = ["follow", &run.to_string(), "--coordinator", address];
        let stderr = log_file(folder, "follower").into();
        Self::spawn(Command::new(&binaries().coordinator), &args, stderr)
    }

    /// The same, and has the final state written to a file.
    pub fn follow_to(folder: &Path, address: &str, run: u64, output: &Path) -> Self {
        let run = run.to_string();
        let output = output.to_str().expect("a plain path");
        let args = ["follow", &run, "--coordinator", address, "--output", output];
        let stderr = log_file(folder, "follower").into();
        Self::spawn(Command::new(&binaries().coordinator), &args, stderr)
    }

    /// Submits a spec that lies in a file to the coordinator at `address`, and
    /// follows the run. What it says to standard error is in the file
    /// `client.log` of a folder.
    pub fn submit_in(folder: &Path, address: &str, spec: &Path) -> Self {
        let args = ["run", spec.to_str().expect("a plain path"), "--coordinator", address];
        let stderr = log_file(folder, "client").into();
        Self::spawn(Command::new(&binaries().coordinator), &args, stderr)
    }

    fn spawn(mut command: Command, args: &[&str], stderr: Stdio) -> Self {
        let mut child = command
            .args(args)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the client starts");
        let lines = read_lines(child.stdout.take().expect("stdout is piped"));
        Self { child, lines, events: Vec::new(), _spec: None }
    }

    /// The next event; `None` at the end of the output.
    pub fn next_event(&mut self) -> Option<Value> {
        match self.next_within(EVENT_PATIENCE) {
            Next::Event(event) => Some(event),
            Next::End => None,
            Next::Nothing => {
                panic!("no event for {EVENT_PATIENCE:?}; so far: {:#?}", self.events)
            }
        }
    }

    /// Waits so long for the next event.
    pub fn next_within(&mut self, patience: Duration) -> Next {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                let event: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not a JSON line: {line:?}: {error}"));
                self.events.push(event.clone());
                Next::Event(event)
            }
            Err(Disconnected) => Next::End,
            Err(Timeout) => Next::Nothing,
        }
    }

    /// The next event of this kind; panics if the output ends without one.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event();
            let event = event.unwrap_or_else(|| panic!("no {kind}: {:#?}", self.events));
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Reads to the end and returns the final state's digest.
    pub fn finish(&mut self) -> Digest {
        let finished = self.wait_for("finished");
        while self.next_event().is_some() {}
        let status = self.wait();
        assert!(status.success(), "{status}: {:#?}", self.events);
        let digest = finished["digest"].as_str().expect("a digest");
        digest.parse().expect("a digest")
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the client can be waited for")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many `worker` events of this kind there were.
    pub fn count_worker_events(&self, what: &str) -> usize {
        let is = |event: &&Value| event["event"] == "worker" && event["what"] == what;
        self.events.iter().filter(is).count()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread of their own.
pub(crate) fn read_lines(
    stream: impl std::io::Read + Send + 'static,
) -> std::sync::mpsc::Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
