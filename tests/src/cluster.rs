//! A coordinator and workers as real processes on loopback.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binaries::binaries;
use crate::client::{Client, read_lines};

/// Longest wait for the coordinator to listen: a bound on hanging.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A process that does not outlive its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Sends a signal. A process that is gone already is left alone.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Stops it, and returns once all its threads stand still.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stands_still = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        let threads = format!("/proc/{}/task", self.id());
        let all = || std::fs::read_dir(&threads).expect("the process runs").flatten();
        while !all().all(stands_still) {
            std::thread::yield_now();
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }

    /// Whether it has ended, and how.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A coordinator and its workers.
#[derive(Debug)]
pub struct Cluster {
    /// Where the coordinator listens.
    pub address: String,
    /// The coordinator.
    pub coordinator: Process,
    /// The workers, in the order they were started.
    pub workers: Vec<Process>,
    flags: Vec<String>,
    runs: tempfile::TempDir,
}

impl Cluster {
    /// A coordinator without workers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A coordinator with more flags for `serve`, without workers.
    pub fn start_with(flags: &[&str]) -> Self {
        let runs = tempfile::tempdir().expect("a folder");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (coordinator, address) = serve("127.0.0.1:0", runs.path(), &flags);
        Self { address, coordinator, workers: Vec::new(), flags, runs }
    }

    /// Starts a coordinator again, where the last one was.
    pub fn restart(&mut self) {
        (self.coordinator, _) = serve(&self.address, self.runs.path(), &self.flags);
    }

    /// The folder that runs are kept in.
    pub fn runs(&self) -> &Path {
        self.runs.path()
    }

    /// Adds a worker of so many slots.
    pub fn add_worker(&mut self, slots: u32) -> &mut Process {
        let address = self.address.clone();
        self.add_worker_at(&address, slots)
    }

    /// Adds a worker that reaches the coordinator through another address.
    pub fn add_worker_at(&mut self, address: &str, slots: u32) -> &mut Process {
        let name = format!("test-{}", self.workers.len() + 1);
        let child = Command::new(&binaries().worker)
            .args(["--coordinator", address, "--slots", &slots.to_string(), "--name", &name])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the worker starts");
        self.workers.push(Process { child });
        self.workers.last_mut().expect("just added")
    }

    /// Adds so many workers.
    pub fn with_workers(mut self, workers: u32, slots: u32) -> Self {
        for _ in 0..workers {
            self.add_worker(slots);
        }
        self
    }

    /// Submits a run and follows it.
    pub fn submit(&self, spec: &str) -> Client {
        Client::submit(&self.address, spec)
    }

    /// Submits a run that waits for so many workers, and follows it.
    pub fn submit_when(&self, spec: &str, workers: u32) -> Client {
        let workers = workers.to_string();
        Client::start(spec, &["--coordinator", &self.address, "--min-workers", &workers])
    }
}

/// A coordinator, and where it listens.
fn serve(listen: &str, runs: &Path, flags: &[String]) -> (Process, String) {
    let mut child = Command::new(&binaries().coordinator)
        .args(["serve", "--listen", listen, "--log-level", "warn", "--runs"])
        .arg(runs)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the coordinator starts");
    let lines = read_lines(child.stdout.take().expect("stdout is piped"));
    let process = Process { child };
    let line = lines.recv_timeout(START_PATIENCE).expect("the coordinator says where it is");
    let address = line.strip_prefix("listening on ").expect("`listening on HOST:PORT`");
    (process, address.to_owned())
}
