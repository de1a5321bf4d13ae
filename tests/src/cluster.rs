//! A coordinator and workers as real processes on loopback.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binaries::binaries;
use crate::client::{Client, read_lines};

/// Longest wait for the coordinator to listen: a bound on hanging.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(5);

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

    /// Stops it, and returns once all its threads stand still, or are dead.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stands_still = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state =
                stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
            state.is_none_or(|state| "TZX".contains(state))
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

    /// Waits so long for its end; nothing if it still runs then.
    pub fn wait_for(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            let ended = self.try_wait();
            if ended.is_some() || Instant::now() >= end {
                return ended;
            }
            std::thread::sleep(LOOK);
        }
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
    runs: PathBuf,
    /// Where the processes log to; else to standard error.
    logs: Option<PathBuf>,
    _scratch: Option<tempfile::TempDir>,
}

impl Cluster {
    /// A coordinator without workers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A coordinator with more flags for `serve`, without workers.
    pub fn start_with(flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let cluster = Self::open("127.0.0.1:0", scratch.path(), None, flags);
        Self { _scratch: Some(scratch), ..cluster }
    }

    /// `examples/custom_model` as a coordinator, which has a model that the
    /// workers of [`Cluster::add_worker`] lack.
    pub fn start_own() -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let (runs, mut command) =
            (scratch.path().to_owned(), Command::new(&binaries().custom_model));
        command.args(["serve", "--listen", "127.0.0.1:0", "--runs"]).arg(&runs);
        let (coordinator, address) = spawn(command, None).expect("it says where it is");
        let (workers, flags, logs) = Default::default();
        Self { address, coordinator, workers, flags, runs, logs, _scratch: Some(scratch) }
    }

    /// Adds `examples/custom_model` as a worker.
    pub fn add_own_worker(&mut self, slots: u32) {
        let name = format!("test-{}", self.workers.len() + 1);
        let mut command = Command::new(&binaries().custom_model);
        command.arg("worker");
        self.workers.push(spawn_worker(command, &self.address, slots, &name, None));
    }

    /// Adds a worker that another program is.
    pub fn add_other_worker(&mut self, mut command: Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.workers.push(Process { child: command.spawn().expect("the worker starts") });
    }

    /// A coordinator at an address (port 0: any) that keeps its runs in the
    /// folder `runs` of `folder`. It logs to files beside that, and so do its
    /// workers.
    pub fn start_in(folder: &Path, address: &str, flags: &[&str]) -> Self {
        Self::open(address, &folder.join("runs"), Some(folder.to_owned()), flags)
    }

    fn open(address: &str, runs: &Path, logs: Option<PathBuf>, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (coordinator, address) = serve(address, runs, logs.as_deref(), &flags);
        let runs = runs.to_owned();
        Self { address, coordinator, workers: Vec::new(), flags, runs, logs, _scratch: None }
    }

    /// Starts a coordinator again, where the last one was.
    pub fn restart(&mut self) {
        (self.coordinator, _) = serve(&self.address, &self.runs, self.logs.as_deref(), &self.flags);
    }

    /// Starts a worker again, in the place of one that is gone.
    pub fn restart_worker(&mut self, index: usize, slots: u32) {
        self.workers[index] = self.start_worker(&self.address, slots, index, &[]);
    }

    /// The folder that runs are kept in.
    pub fn runs(&self) -> &Path {
        &self.runs
    }

    /// Adds a worker of so many slots.
    pub fn add_worker(&mut self, slots: u32) -> &mut Process {
        let worker = self.start_worker(&self.address, slots, self.workers.len(), &[]);
        self.add(worker)
    }

    /// Adds a worker of one slot with more flags.
    pub fn add_worker_with(&mut self, flags: &[&str]) -> &mut Process {
        let worker = self.start_worker(&self.address, 1, self.workers.len(), flags);
        self.add(worker)
    }

    /// Adds a worker that reaches the coordinator through another address. It is sent everything
    /// there, as a worker on another host would be.
    pub fn add_worker_at(&mut self, address: &str, slots: u32) -> &mut Process {
        let flags = &["--no-shared-memory"];
        let worker = self.start_worker(address, slots, self.workers.len(), flags);
        self.add(worker)
    }

    fn add(&mut self, worker: Process) -> &mut Process {
        self.workers.push(worker);
        self.workers.last_mut().expect("just added")
    }

    fn start_worker(&self, address: &str, slots: u32, index: usize, flags: &[&str]) -> Process {
        let mut command = Command::new(&binaries().worker);
        command.args(flags);
        let name = format!("test-{}", index + 1);
        spawn_worker(command, address, slots, &name, self.logs.as_deref())
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
fn serve(listen: &str, runs: &Path, logs: Option<&Path>, flags: &[String]) -> (Process, String) {
    spawn(serve_command(listen, runs, flags), logs).expect("the coordinator says where it is")
}

/// Starts what serves; nothing if it ends before it says where it is.
fn spawn(mut command: Command, logs: Option<&Path>) -> Option<(Process, String)> {
    log_to(&mut command, logs, "coordinator");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the coordinator starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let process = Process { child };
    Some((process, address_of(stdout)?))
}

/// What starts a coordinator.
pub(crate) fn serve_command(listen: &str, runs: &Path, flags: &[String]) -> Command {
    let mut command = Command::new(&binaries().coordinator);
    command.args(["serve", "--listen", listen, "--runs"]).arg(runs).args(flags);
    command
}

/// Where the coordinator listens that writes there; nothing if it ends before
/// it does.
pub(crate) fn address_of(stdout: ChildStdout) -> Option<String> {
    match read_lines(stdout).recv_timeout(START_PATIENCE) {
        Ok(line) => {
            let address = line.strip_prefix("listening on ").expect("`listening on HOST:PORT`");
            Some(address.to_owned())
        }
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("the coordinator does not say where it is"),
    }
}

/// Starts a worker of this name for the coordinator at an address.
pub(crate) fn start_worker(address: &str, slots: u32, name: &str, logs: Option<&Path>) -> Process {
    spawn_worker(Command::new(&binaries().worker), address, slots, name, logs)
}

fn spawn_worker(
    mut command: Command,
    address: &str,
    slots: u32,
    name: &str,
    logs: Option<&Path>,
) -> Process {
    command.args(["--coordinator", address, "--slots", &slots.to_string(), "--name", name]);
    log_to(&mut command, logs, name);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Process { child: command.spawn().expect("the worker starts") }
}

/// Has a program log warnings to standard error, or more to the end of the
/// file of its name.
fn log_to(command: &mut Command, logs: Option<&Path>, name: &str) {
    let Some(folder) = logs else {
        command.args(["--log-level", "warn"]);
        return;
    };
    command.args(["--log-level", "info"]).stderr(log_file(folder, name));
}

/// The log of this name in a folder, to be appended to.
pub(crate) fn log_file(folder: &Path, name: &str) -> File {
    let path = folder.join(format!("{name}.log"));
    File::options().create(true).append(true).open(path).expect("a log can be written")
}
