//! Control groups that limit memory, as containers and batch systems do.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a version of control groups has what.
#[derive(Debug)]
struct Version {
    mount: &'static str,
    limit: &'static str,
    /// Where swap is limited, and whether by a sum with memory.
    swap: (&'static str, bool),
    kills: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        mount: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        swap: ("memory.memsw.limit_in_bytes", true),
        kills: "memory.oom_control",
    },
    Version {
        mount: "/sys/fs/cgroup",
        limit: "memory.max",
        swap: ("memory.swap.max", false),
        kills: "memory.events",
    },
];

/// A control group with a limit of memory. It is removed when it is dropped;
/// what ran in it must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: &'static Version,
}

/// Where both versions say what memory a group has.
const USED: &str = "memory.stat";

impl MemoryGroup {
    /// Makes one of so many bytes. `name` tells it from others of this process.
    /// Fails where the system has no such groups, or lets others make them only.
    pub fn new(name: &str, bytes: u64) -> io::Result<Self> {
        let is_there = |version: &&'static Version| Path::new(version.mount).is_dir();
        let version = VERSIONS.iter().find(is_there).ok_or(io::ErrorKind::NotFound)?;
        let name = format!("samebit-{}-{name}", std::process::id());
        let folder = Path::new(version.mount).join(name);
        std::fs::create_dir(&folder)?;
        let group = Self { folder, version };
        group.set(version.limit, bytes)?;
        let (swap, is_sum) = version.swap;
        // A kernel without swap has no such file.
        if group.folder.join(swap).exists() {
            group.set(swap, if is_sum { bytes } else { 0 })?;
        }
        Ok(group)
    }

    /// Changes its limit to more bytes.
    pub fn grow(&self, bytes: u64) -> io::Result<()> {
        let (swap, is_sum) = self.version.swap;
        // A sum may not be less than its part.
        if is_sum && self.folder.join(swap).exists() {
            self.set(swap, bytes)?;
        }
        self.set(self.version.limit, bytes)
    }

    fn set(&self, file: &str, value: u64) -> io::Result<()> {
        // Not created: where there is no such file, there is no such limit.
        let mut file = File::options().write(true).open(self.folder.join(file))?;
        file.write_all(value.to_string().as_bytes())
    }

    /// A command that runs a program in the group, under one process id.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// Bytes of memory that are shared by processes, and that a process of the group was the first
    /// to use.
    pub fn shared(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(USED)).expect("the group is there");
        let bytes = text.lines().find_map(|line| line.strip_prefix("shmem "));
        bytes.expect("a line `shmem N`").parse().expect("a number")
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn kills(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(self.version.kills))
            .expect("the group is there");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("a line `oom_kill N`").parse().expect("a number")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Where something still runs in it, the test has failed already.
        let _ = std::fs::remove_dir(&self.folder);
    }
}
