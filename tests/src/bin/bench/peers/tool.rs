//! The other tools, each a program that prints one figure per line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::binaries::workspace;

use crate::peers::samebit::{EPOCHS, Exchange};
use crate::peers::table::median;

/// What else exchanges states.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    /// `tests/peers/star.c`.
    Star,
    /// MPI's allreduce in shared memory.
    MpiMemory,
    /// MPI's allreduce over TCP.
    MpiTcp,
    /// Gloo's allreduce, which is over TCP.
    Gloo,
}

impl Tool {
    /// Its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::Star => "bare TCP star in C",
            Tool::MpiMemory => "MPI, shared memory",
            Tool::MpiTcp => "MPI, TCP",
            Tool::Gloo => "gloo, TCP",
        }
    }
}

/// The folder that `tests/peers.sh` builds the tools in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools<'a> {
    folder: &'a Path,
}

impl<'a> Tools<'a> {
    pub(crate) fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// Milliseconds of a round.
    pub(crate) fn exchange(self, tool: Tool, exchange: &Exchange) -> Result<f64, String> {
        let mut command = match tool {
            Tool::Star => Command::new(self.built("star")?),
            Tool::MpiMemory => self.mpi(&["--mca", "btl", "vader,self"], exchange.workers)?,
            Tool::MpiTcp => {
                let tcp = ["--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"];
                self.mpi(&tcp, exchange.workers)?
            }
            Tool::Gloo => self.python("allreduce_gloo.py")?,
        };
        if matches!(tool, Tool::Star | Tool::Gloo) {
            command.arg(exchange.workers.to_string());
        }
        command.args([exchange.bytes().to_string(), exchange.rounds().to_string()]);
        median(figures(&mut command)?.into_iter().skip(1))
    }

    /// Seconds of an epoch of MNIST, by one thread.
    pub(crate) fn numpy(self, mnist: &str) -> Result<f64, String> {
        let mut command = self.python("mnist_numpy.py")?;
        command.args([mnist, &EPOCHS.to_string()]);
        command.envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")]);
        median(figures(&mut command)?.into_iter().skip(1))
    }

    fn mpi(self, flags: &[&str], workers: u32) -> Result<Command, String> {
        let program = self.built("allreduce_mpi")?;
        let mut command = Command::new("mpirun");
        // Without them it refuses root, and more ranks than processors.
        command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
        command.args(["--mca", "pml", "ob1"]).args(flags);
        command.args(["-n", &workers.to_string()]).arg(program);
        Ok(command)
    }

    fn python(self, script: &str) -> Result<Command, String> {
        let mut command = Command::new(self.built("venv/bin/python")?);
        command.arg(workspace().join("tests/peers").join(script));
        Ok(command)
    }

    fn built(self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        let missing = |_| format!("`{name}` was not built");
        // The path of a link, not of its target: a virtual environment is found by it.
        path.metadata().and_then(|_| std::path::absolute(&path)).map_err(missing)
    }
}

/// The figures that a program prints, in order.
fn figures(command: &mut Command) -> Result<Vec<f64>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{program}` does not start: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| line.contains(char::is_alphanumeric));
        return Err(last.unwrap_or("it failed and gave no reason").trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |line: &str| {
        line.parse().map_err(|_| format!("expected a figure in each line, found {line:?}"))
    };
    text.lines().map(figure).collect()
}
