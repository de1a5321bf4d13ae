//! A process that is killed at one of its writes.
//!
//! Its system calls are looked at with ptrace(2): those that change files below
//! a folder are counted, and the process is killed as it begins the one of a
//! given number, which is then not done; or half of it, if it writes.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest path that is read from a process.
const PATH_BYTES: usize = 4096;

/// What is started: stands still until it is traced.
const LAUNCH: &str = r#"kill -STOP $$; exec "$0" "$@""#;

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// At the write of this number, counted from 0.
    pub number: u64,
    /// After half of its bytes instead of before it. Of a call that writes no
    /// bytes, nothing is done.
    pub torn: bool,
}

/// A system call that changes a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Its name: `write`, `fsync`, …
    pub name: &'static str,
    /// Of what.
    pub path: PathBuf,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.path.display())
    }
}

/// A process that is being traced.
#[derive(Debug)]
pub(super) struct Traced {
    id: Pid,
    thread: JoinHandle<()>,
    /// What it was killed at.
    ended: mpsc::Receiver<Option<Call>>,
}

impl Traced {
    /// Starts a program that is to be killed at a point of its changes below a
    /// folder. Gives its standard output, too.
    #[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
    pub(super) fn start(
        command: &Command,
        stderr: File,
        folder: &Path,
        point: Point,
    ) -> (Self, ChildStdout) {
        let mut launch = Command::new("sh");
        launch.args(["-c", LAUNCH]).arg(command.get_program()).args(command.get_args());
        // A group of its own, so that all its threads can be waited for, and
        // nobody else's children.
        launch.process_group(0);
        launch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let folder = folder.to_owned();
        let (sender, started) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // Whoever starts a process must be the one who traces it.
            let mut child = launch.spawn().expect("a shell starts");
            let id = Pid::from_raw(child.id() as i32);
            let _ = sender.send((id, child.stdout.take().expect("stdout is piped")));
            let mut tracer = Tracer { id, folder, point, count: 0, torn: None };
            let _ = ends.send(tracer.run().expect("ptrace works here"));
        });
        let (id, stdout) = started.recv().expect("the process has started");
        (Self { id, thread, ended }, stdout)
    }

    /// Asks it to leave.
    pub(super) fn terminate(&self) {
        let _ = kill(self.id, Signal::SIGTERM);
    }

    /// Whether it is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits so long for its end: the call that it was killed at, or nothing if
    /// it ended before it came to its point. One that does not end is killed.
    pub(super) fn wait(self, patience: Duration) -> Result<Option<Call>, String> {
        let ended = self.ended.recv_timeout(patience);
        if ended == Err(RecvTimeoutError::Timeout) {
            let _ = kill(self.id, Signal::SIGKILL);
        }
        self.thread.join().expect("a tracer does not panic");
        ended.map_err(|_| format!("the coordinator has not left {patience:?} after SIGTERM"))
    }
}

struct Tracer {
    id: Pid,
    folder: PathBuf,
    point: Point,
    count: u64,
    /// The thread that does half a write, and what.
    torn: Option<(Pid, Call)>,
}

impl Tracer {
    fn run(&mut self) -> nix::Result<Option<Call>> {
        let group = Pid::from_raw(-self.id.as_raw());
        let all = WaitPidFlag::__WALL;
        waitpid(self.id, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.id, options)?;
        kill(self.id, Signal::SIGCONT)?;
        let mut killed = None;
        loop {
            let (thread, signal) = match waitpid(group, Some(all)) {
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    if killed.is_none() {
                        killed = self.on_call(thread)?;
                    }
                    (thread, None)
                }
                Ok(WaitStatus::PtraceEvent(thread, ..)) => (thread, None),
                Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
                Ok(WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..))
                    if thread == self.id =>
                {
                    return Ok(killed);
                }
                Ok(_) => continue,
                Err(error) => return Err(error),
            };
            match ptrace::syscall(thread, signal) {
                // It was killed meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at a call that a thread begins or has done; gives it if the
    /// process was killed at it.
    fn on_call(&mut self, thread: Pid) -> nix::Result<Option<Call>> {
        if self.torn.as_ref().is_some_and(|(of, _)| *of == thread) {
            kill(self.id, Signal::SIGKILL)?;
            return Ok(self.torn.take().map(|(_, call)| call));
        }
        let mut registers = match ptrace::getregs(thread) {
            Err(Errno::ESRCH) => return Ok(None),
            registers => registers?,
        };
        // So the system marks a call that it begins.
        let begins = registers.rax as i64 == -i64::from(libc::ENOSYS);
        let Some(call) = begins.then(|| self.change(thread, &registers)).flatten() else {
            return Ok(None);
        };
        let number = self.count;
        self.count += 1;
        if number != self.point.number {
            return Ok(None);
        }
        if self.point.torn && ["write", "pwrite64"].contains(&call.name) {
            registers.rdx /= 2;
            ptrace::setregs(thread, registers)?;
            self.torn = Some((thread, call));
            return Ok(None);
        }
        kill(self.id, Signal::SIGKILL)?;
        Ok(Some(call))
    }

    /// The call, if it changes something below the folder.
    fn change(&self, thread: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
        let argument = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let of_descriptor = |name| {
            let link = format!("/proc/{thread}/fd/{}", argument[0]);
            Some((name, std::fs::read_link(link).ok()?))
        };
        let of_path = |name, place: usize| Some((name, path_at(thread, None, argument[place])?));
        let of_path_at = |name, place: usize| {
            Some((name, path_at(thread, Some(argument[place - 1]), argument[place])?))
        };
        let creates = |flags: u64| flags & libc::O_CREAT as u64 != 0;
        let (name, path) = match registers.orig_rax as i64 {
            libc::SYS_write => of_descriptor("write"),
            libc::SYS_pwrite64 => of_descriptor("pwrite64"),
            libc::SYS_writev => of_descriptor("writev"),
            libc::SYS_pwritev | libc::SYS_pwritev2 => of_descriptor("pwritev"),
            libc::SYS_copy_file_range => of_descriptor("copy_file_range"),
            libc::SYS_fsync => of_descriptor("fsync"),
            libc::SYS_fdatasync => of_descriptor("fdatasync"),
            libc::SYS_ftruncate => of_descriptor("ftruncate"),
            libc::SYS_fallocate => of_descriptor("fallocate"),
            libc::SYS_open if creates(argument[1]) => of_path("create", 0),
            libc::SYS_openat if creates(argument[2]) => of_path_at("create", 1),
            libc::SYS_rename => of_path("rename", 0),
            libc::SYS_renameat | libc::SYS_renameat2 => of_path_at("rename", 1),
            libc::SYS_link => of_path("link", 1),
            libc::SYS_linkat => of_path_at("link", 3),
            libc::SYS_unlink => of_path("unlink", 0),
            libc::SYS_unlinkat => of_path_at("unlink", 1),
            libc::SYS_truncate => of_path("truncate", 0),
            libc::SYS_mkdir => of_path("mkdir", 0),
            libc::SYS_mkdirat => of_path_at("mkdir", 1),
            libc::SYS_rmdir => of_path("rmdir", 0),
            _ => None,
        }?;
        let path = path.strip_prefix(&self.folder).ok()?.to_owned();
        Some(Call { name, path })
    }
}

/// The path at an address of a thread's memory. One that is relative begins in a
/// folder that the thread has open, or in its working directory.
fn path_at(thread: Pid, folder: Option<u64>, address: u64) -> Option<PathBuf> {
    let mut memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    memory.seek(SeekFrom::Start(address)).ok()?;
    let mut bytes = vec![0; PATH_BYTES];
    // Fewer may be there, where a mapping ends.
    let read = memory.read(&mut bytes).ok()?;
    let text = bytes[..read].split(|byte| *byte == 0).next()?;
    let path = String::from_utf8(text.to_vec()).ok()?;
    let begin = match folder.map(|descriptor| descriptor as i32) {
        None | Some(libc::AT_FDCWD) => format!("/proc/{thread}/cwd"),
        Some(descriptor) => format!("/proc/{thread}/fd/{descriptor}"),
    };
    Some(std::fs::read_link(begin).ok()?.join(path))
}
