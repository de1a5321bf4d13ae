//! Memory: the limit, the memory in use, and the number of shards that fit.

use std::path::{Path, PathBuf};

/// Assumed if the system does not report its memory.
const UNKNOWN_MEMORY: u64 = 2 << 30;

/// Number of shards that may run at the same time within `limit` bytes, from 1 to `slots`.
///
/// The cache of examples and two states are subtracted first: the base of the current step, and the
/// next base while it arrives. Each running shard then needs its instance (`replica_bytes`, as
/// declared by the model) and, at its end, a contribution as large as the state.
///
/// At least one shard runs, even if it does not fit: otherwise the run could never finish, and the
/// limit is an estimate. The number of parallel shards never changes a batch, so the bits do not
/// depend on it.
pub(super) fn parallel_shards(
    limit: u64,
    cache: u64,
    state_bytes: u64,
    replica_bytes: u64,
    slots: u32,
) -> u32 {
    let free = limit.saturating_sub(cache).saturating_sub(state_bytes.saturating_mul(2));
    let fit = free / replica_bytes.saturating_add(state_bytes).max(1);
    u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, slots.max(1))
}

/// Resident memory of this process without what it shares with the coordinator, in bytes; 0 if the
/// system does not report it.
pub(super) fn unshared() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kibibytes(&status, "VmRSS:").unwrap_or(0);
    resident.saturating_sub(kibibytes(&status, "RssShmem:").unwrap_or(0))
}

/// Memory that this process may use by default, in bytes: the limit of its control group or 80 % of
/// the machine's memory, whichever is less.
pub(crate) fn default_limit() -> u64 {
    let share = machine().unwrap_or(UNKNOWN_MEMORY) / 5 * 4;
    group().map_or(share, |limit| limit.min(share))
}

/// Memory at which the system would kill this process, in bytes, if the system reports it.
pub(crate) fn hard_limit() -> u64 {
    [machine(), group()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Memory of this machine, in bytes.
fn machine() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The limit of this process's control groups, in bytes.
fn group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    group_limit(Path::new("/sys/fs/cgroup"), &groups)
}

/// The value of `field` in a file like `/proc/meminfo`, in bytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number = rest.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit of the process's control groups, of either version, and their parent groups.
/// `groups` is the text of `/proc/self/cgroup`, with a line `id:controllers:path` for each; inside
/// a container the group's own directory may be the mount's root.
fn group_limit(mount: &Path, groups: &str) -> Option<u64> {
    let read = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limit = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (mount, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups.filter_map(|group| read(mount.join(group).join(file))).min()
    };
    groups.lines().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_caps_how_many_run_at_once() {
        // 1000 − 100 of cache − 2 × 50 of state leaves 800, with 150 per shard.
        assert_eq!(parallel_shards(1000 * MIB, 100 * MIB, 50 * MIB, 100 * MIB, 64), 5);
        assert_eq!(parallel_shards(1000 * MIB, 100 * MIB, 50 * MIB, 100 * MIB, 4), 4);
        assert_eq!(parallel_shards(MIB, 100 * MIB, 50 * MIB, 100 * MIB, 4), 1);
        assert_eq!(parallel_shards(MIB, 0, 0, 0, 0), 1);
        assert_eq!(parallel_shards(u64::MAX, 0, 0, 0, 3), 3);
        assert_eq!(parallel_shards(u64::MAX, 0, u64::MAX, u64::MAX, 3), 1);
    }

    #[test]
    fn fields_are_read_in_kibibytes() {
        assert_eq!(
            kibibytes("MemFree: 1 kB\nMemTotal:   24105 kB\n", "MemTotal:"),
            Some(24105 << 10)
        );
        assert_eq!(kibibytes("MemTotal: lots", "MemTotal:"), None);
        assert!(default_limit() > 0 && default_limit() <= hard_limit());
        if cfg!(target_os = "linux") {
            assert!(unshared() > 0);
        }
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let root = std::env::temp_dir().join(format!("samebit-groups-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("memory/c")).unwrap();
        std::fs::write(root.join("memory/memory.limit_in_bytes"), "9000\n").unwrap();
        std::fs::write(root.join("memory/c/memory.limit_in_bytes"), "4000\n").unwrap();
        std::fs::write(root.join("a/memory.max"), "5000\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(&root, "0::/a/b\n"), Some(5000));
        assert_eq!(group_limit(&root, "0::/\n"), None);
        assert_eq!(group_limit(&root, "3:cpuset:/\n4:cpu,memory:/c\n0::/a\n"), Some(4000));
        assert_eq!(group_limit(&root, "4:memory:/gone\n0::/\n"), Some(9000));
        std::fs::remove_dir_all(root).unwrap();
    }
}
