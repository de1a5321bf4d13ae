//! The file of a history: its name, the names of the files beside it, and its limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the folder of runs.
pub const FILE: &str = "history.sqlite";

/// Suffix of a history's log.
pub(super) const LOG: &str = "-wal";

/// Suffix of SQLite's index of the log.
pub(super) const LOG_INDEX: &str = "-shm";

/// Largest history, in bytes: some hundreds of millions of shards.
pub(super) const FILE_BYTES: u64 = 16 << 30;

/// Limit of damaged histories in a folder: more of them mean a failing disk, and would fill
/// it.
pub(super) const DAMAGED_FILES: usize = 8;

/// Longest wait for another process that has locked the file.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The path with `end` appended to its name.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The path in a form that SQLite does not take for a URI, which begins with `file:`.
pub(super) fn plain(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}
