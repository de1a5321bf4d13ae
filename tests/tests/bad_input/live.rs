//! A living cluster that strangers talk to, while runs go on.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use common::digest::Digest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::binaries::binaries;
use tests::client::Client;
use tests::expected;

use super::stranger::Stranger;
use crate::cluster::SOFTMAX;

/// Longest wait for a line of a log: a bound on hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Workers that the runs are to be done by.
const WORKERS: [&str; 2] = ["good-1", "good-2"];

/// Lets all strangers talk to one coordinator at the same time, while it does
/// one run after another: each run ends in the digest of the reference, none
/// of its workers is lost, and in the end all processes leave in order.
pub(super) fn meet(strangers: Vec<Stranger>) {
    let expected = expected::digest(SOFTMAX);
    let (mut coordinator, address) = Logged::coordinator();
    let mut workers = WORKERS.map(|name| Logged::worker(name, &address));
    let over = AtomicBool::new(false);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let (started, first) = mpsc::channel();
        let runs = scope.spawn(|| run_until(&over, &address, expected, started));
        first.recv_timeout(PATIENCE).expect("the first run starts");
        let (address, log) = (&address, &coordinator.log);
        let talks: Vec<_> = strangers
            .iter()
            .map(|stranger| scope.spawn(move || stranger.talk(address, log)))
            .collect();
        let failures = talks
            .into_iter()
            .zip(&strangers)
            .filter_map(|(talk, stranger)| {
                let error = talk.join().expect("a talk reports its failure").err()?;
                Some(format!("{}: {error}", stranger.name))
            })
            .collect();
        over.store(true, Ordering::SeqCst);
        runs.join().expect("the runs go on undisturbed");
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert_status(&address);
    for process in workers.iter_mut().chain([&mut coordinator]) {
        process.leave();
    }
}

/// Does one run after another until it is `over`; says when the first one has
/// begun.
fn run_until(over: &AtomicBool, address: &str, expected: Digest, started: mpsc::Sender<()>) {
    loop {
        let mut client = Client::start(SOFTMAX, &["--coordinator", address, "--min-workers", "2"]);
        client.wait_for("started");
        // Only the first is waited for.
        let _ = started.send(());
        assert_eq!(client.finish(), expected);
        let is_ours = |event: &&Value| WORKERS.iter().any(|name| event["worker"] == *name);
        let lost = client.events.iter().filter(is_ours).find(|event| event["what"] == "lost");
        assert!(lost.is_none(), "{lost:?}");
        if over.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// The coordinator answers, and both workers are still there.
fn assert_status(address: &str) {
    let output = Command::new(&binaries().coordinator)
        .args(["status", "--json", "--coordinator", address])
        .output()
        .expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for name in WORKERS {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
}

/// A process whose log is read as it comes.
#[derive(Debug)]
pub(super) struct Logged {
    child: Child,
    /// What it says.
    pub(super) log: Log,
    /// Where a coordinator keeps its runs.
    runs: Option<tempfile::TempDir>,
}

impl Logged {
    /// A coordinator, and where it listens.
    fn coordinator() -> (Self, String) {
        let runs = tempfile::tempdir().expect("a folder");
        let args = ["serve", "--listen", "127.0.0.1:0", "--runs"];
        let mut command = Command::new(&binaries().coordinator);
        let mut process = Self::start(command.args(args).arg(runs.path()));
        process.runs = Some(runs);
        let mut line = String::new();
        let stdout = process.child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the coordinator says where it is");
        let address = line.trim().strip_prefix("listening on ").expect("`listening on HOST:PORT`");
        (process, address.to_owned())
    }

    /// A worker of this name.
    pub(super) fn worker(name: &str, address: &str) -> Self {
        let args = ["--coordinator", address, "--slots", "1", "--name", name];
        Self::start(Command::new(&binaries().worker).args(args))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--log-format", "json", "--log-level", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let log = Log::of(child.stderr.take().expect("stderr is piped"));
        Self { child, log, runs: None }
    }

    /// Tells it to leave, which it must do in order.
    pub(super) fn leave(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it is there");
        assert_eq!(self.wait(), Some(0));
    }

    /// Waits for its end, and gives the exit code.
    pub(super) fn wait(&mut self) -> Option<i32> {
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
pub(super) struct Log {
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
    pub(super) fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Result<Value, String> {
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

    /// Every line is a line of a log: none is of a panic.
    fn assert_orderly(&self) {
        let lines = self.lines.0.lock().expect("no reader of the log panics");
        for line in lines.iter() {
            assert!(line.is_object() && !line.to_string().contains("panicked"), "{line}");
        }
    }
}
