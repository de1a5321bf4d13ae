//! Starts a worker process and restarts it after crashes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::WorkerProgram;

/// Times that one worker is restarted.
const RESTARTS: u32 = 100;

/// If a worker crashes sooner than this after its start, the next start is delayed.
const EARLY: Duration = Duration::from_secs(1);

/// First and longest delay of a start after early crashes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Time limit for a worker to leave in order.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of a worker's log that are read at once, and longest line that is buffered.
const RELAYED: usize = 8 << 10;

/// Exit code of a worker whose flags or settings are wrong: a restart would not help.
const BAD_INPUT: i32 = 2;

/// Exit code of a worker that the coordinator has refused: a restart would not help.
const REFUSED: i32 = 3;

/// Writes the workers' standard error.
#[derive(Clone, Copy, Debug)]
pub struct Relay {
    /// Writes whole lines.
    pub write: fn(&[u8]) -> std::io::Result<()>,
    /// Whether lines may have colours.
    pub colour: bool,
}

/// How to start a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerCommand {
    pub(super) program: WorkerProgram,
    pub(super) name: String,
    pub(super) coordinator: SocketAddr,
    pub(super) slots: u32,
    pub(super) log_level: String,
    /// Where the worker finds the coordinator's memory.
    pub(super) socket_dir: PathBuf,
    /// Writes the worker's standard error.
    pub(super) relay: Option<Relay>,
}

/// A worker process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    /// Closes with this process, however it ends; the worker then exits.
    stdin: Option<ChildStdin>,
    started: Instant,
}

impl WorkerProcess {
    /// Lets the worker leave in order, and kills it if it does not.
    async fn end(mut self) {
        drop(self.stdin.take());
        if timeout(LEAVE_TIMEOUT, self.child.wait()).await.is_err() {
            // This fails if it has just ended, which is fine.
            let _ = self.child.kill().await;
        }
    }
}

impl WorkerCommand {
    /// Starts the process.
    pub(super) fn spawn(&self) -> io::Result<WorkerProcess> {
        let mut command = Command::new(&self.program.path);
        if let Some(relay) = self.relay {
            command.stderr(Stdio::piped());
            if relay.colour {
                command.env("CLICOLOR_FORCE", "1");
            }
        }
        let mut child = command
            .args(&self.program.args)
            .arg("--coordinator")
            .arg(self.coordinator.to_string())
            .arg("--slots")
            .arg(self.slots.to_string())
            .arg("--name")
            .arg(&self.name)
            .arg("--log-level")
            .arg(&self.log_level)
            .arg("--socket-dir")
            .arg(&self.socket_dir)
            .arg("--exit-on-stdin-close")
            // The variable is for another cluster than this one.
            .env_remove("SAMEBIT_KEYS")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            // In its own group, so that Ctrl-C in a terminal reaches only this
            // process, which cancels the run before it stops the workers.
            .process_group(0)
            .spawn()?;
        let stdin = child.stdin.take();
        if let (Some(stderr), Some(relay)) = (child.stderr.take(), self.relay) {
            tokio::spawn(pass_on(stderr, relay.write));
        }
        Ok(WorkerProcess { child, stdin, started: Instant::now() })
    }
}

/// Restarts the worker whenever it crashes, until `stop` is true (then it is stopped), it
/// leaves by itself, or it cannot start. Reasons that end the whole run go to `failures`.
pub(super) async fn keep_running(
    command: WorkerCommand,
    mut process: WorkerProcess,
    mut stop: watch::Receiver<bool>,
    failures: mpsc::Sender<String>,
) {
    let name = &command.name;
    let mut pause = Duration::ZERO;
    for _ in 0..=RESTARTS {
        let status = tokio::select! {
            status = process.child.wait() => status,
            () = stopped(&mut stop) => {
                return process.end().await;
            }
        };
        let status = match status {
            Ok(status) if status.success() => return,
            Ok(status) if status.code() == Some(REFUSED) => {
                let failure =
                    format!("the coordinator has refused worker {name}: the worker's log says why");
                let _ = failures.send(failure).await;
                return;
            }
            Ok(status) if status.code() == Some(BAD_INPUT) => {
                let failure = format!(
                    "worker {name} does not accept its flags or settings: its log says why; \
                     --worker-binary must name a program that runs a worker"
                );
                let _ = failures.send(failure).await;
                return;
            }
            Ok(status) => status,
            Err(error) => {
                let _ = failures.send(format!("cannot wait for worker {name}: {error}")).await;
                return;
            }
        };
        tracing::warn!("worker {name} has crashed ({}); restarting it", describe(status));
        pause = next_pause(pause, process.started.elapsed());
        if !pause.is_zero() {
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut stop) => return,
            }
        }
        process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                let failure = format!("cannot restart worker {name}: {error}");
                let _ = failures.send(failure).await;
                return;
            }
        };
    }
    let failure = format!("worker {name} has crashed {RESTARTS} times: its log says why");
    let _ = failures.send(failure).await;
}

/// Copies a worker's output, whole lines at a time, until it ends.
async fn pass_on(mut stderr: impl AsyncRead + Unpin, write: fn(&[u8]) -> io::Result<()>) {
    let (mut text, mut room) = (Vec::new(), [0; RELAYED]);
    while let Ok(count @ 1..) = stderr.read(&mut room).await {
        text.extend_from_slice(&room[..count]);
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        // A longer line is cut.
        let end = if text.len() >= RELAYED { text.len() } else { end };
        // If standard error is closed, nobody reads the lines.
        let _ = write(&text[..end]);
        text.drain(..end);
    }
    let _ = write(&text);
}

/// Waits until `stop` is true or its sender is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The delay before the next start: none after a first crash, then doubled while the worker
/// keeps crashing early.
fn next_pause(last: Duration, lived: Duration) -> Duration {
    if lived >= EARLY { Duration::ZERO } else { (last * 2).clamp(PAUSE.0, PAUSE.1) }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repeated_early_crashes_wait() {
        let early = Duration::from_millis(5);
        assert_eq!(next_pause(Duration::ZERO, EARLY), Duration::ZERO);
        let mut pause = Duration::ZERO;
        for _ in 0..20 {
            pause = next_pause(pause, early);
        }
        assert_eq!(pause, PAUSE.1);
        assert_eq!(next_pause(pause, EARLY), Duration::ZERO);
    }
}
