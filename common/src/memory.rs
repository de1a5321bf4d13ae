//! Memory of this process, as the system reports it.

mod allocator;

use std::path::{Path, PathBuf};

pub use allocator::return_large_buffers;

/// The largest resident memory that this process has had, in bytes; 0 if the system does not report
/// it.
pub fn peak() -> u64 {
    kibibytes(&status(), "VmHWM:").unwrap_or(0)
}

/// Resident memory of this process without what it shares with others, in bytes; 0 if the system
/// does not report it.
pub fn unshared() -> u64 {
    let status = status();
    let bytes = |field| kibibytes(&status, field).unwrap_or(0);
    bytes("VmRSS:").saturating_sub(bytes("RssShmem:"))
}

fn status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Memory at which the system would kill this process, in bytes, if the system reports it.
pub fn hard_limit() -> u64 {
    [machine(), group()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Memory of this machine, in bytes.
pub fn machine() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The limit of this process's control groups, in bytes.
pub fn group() -> Option<u64> {
    limit_of(Path::new(GROUPS), &groups()?)
}

/// This process's control group, and how many of its processes the system has killed for memory.
pub fn kills() -> Option<(String, u64)> {
    let groups = groups()?;
    let kills = kills_of(Path::new(GROUPS), &groups)?;
    Some((groups, kills))
}

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

fn groups() -> Option<String> {
    std::fs::read_to_string("/proc/self/cgroup").ok()
}

/// The value of `field` in a file like `/proc/meminfo`, in bytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number = rest.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where a version of control groups keeps a group's memory.
struct Controller<'a> {
    mount: PathBuf,
    group: &'a Path,
    /// Names of the files with its limit, and with the number of kills.
    limit: &'static str,
    kills: &'static str,
}

/// The groups that limit the process's memory, of either version. `groups` is the text of
/// `/proc/self/cgroup`, with a line `id:controllers:path` for each; inside a container the group's
/// own directory may be the mount's root.
fn controllers<'a>(mount: &Path, groups: &'a str) -> impl Iterator<Item = Controller<'a>> {
    groups.lines().filter_map(move |line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let group = Path::new(path.trim_start_matches('/'));
        match controllers {
            "" => {
                let (limit, kills) = ("memory.max", "memory.events");
                Some(Controller { mount: mount.to_owned(), group, limit, kills })
            }
            _ if controllers.split(',').any(|it| it == "memory") => {
                let (limit, kills) = ("memory.limit_in_bytes", "memory.oom_control");
                Some(Controller { mount: mount.join("memory"), group, limit, kills })
            }
            _ => None,
        }
    })
}

/// The smallest limit of the process's control groups and their parent groups.
fn limit_of(mount: &Path, groups: &str) -> Option<u64> {
    let read = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limit = |it: Controller<'_>| {
        it.group.ancestors().filter_map(|group| read(it.mount.join(group).join(it.limit))).min()
    };
    controllers(mount, groups).filter_map(limit).min()
}

/// The kills in the process's control group. If the group's directory is not there, as in a
/// container, they are those of the mount's root.
fn kills_of(mount: &Path, groups: &str) -> Option<u64> {
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    };
    controllers(mount, groups).find_map(|it| {
        it.group.ancestors().find_map(|group| read(it.mount.join(group).join(it.kills)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_kibibytes() {
        assert_eq!(
            kibibytes("MemFree: 1 kB\nMemTotal:   24105 kB\n", "MemTotal:"),
            Some(24105 << 10)
        );
        assert_eq!(kibibytes("MemTotal: lots", "MemTotal:"), None);
        assert!(hard_limit() > 0);
        if cfg!(target_os = "linux") {
            assert!(unshared() > 0 && unshared() <= peak());
        }
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("memory/c")).unwrap();
        let write = |file: &str, text: &str| std::fs::write(root.join(file), text).unwrap();
        write("memory/memory.limit_in_bytes", "9000\n");
        write("memory/c/memory.limit_in_bytes", "4000\n");
        write("a/memory.max", "5000\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(limit_of(root, "0::/a/b\n"), Some(5000));
        assert_eq!(limit_of(root, "0::/\n"), None);
        assert_eq!(limit_of(root, "3:cpuset:/\n4:cpu,memory:/c\n0::/a\n"), Some(4000));
        assert_eq!(limit_of(root, "4:memory:/gone\n0::/\n"), Some(9000));
        write("a/b/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 0\n");
        write("memory/c/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
        assert_eq!(kills_of(root, "0::/a/b\n"), Some(3));
        assert_eq!(kills_of(root, "4:memory:/c\n0::/\n"), Some(7));
        assert_eq!(kills_of(root, "0::/\n"), None);
    }
}
