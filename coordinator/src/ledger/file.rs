//! The file of a history: its name and those of what lies beside it, and the bounds
//! that it is held to.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the folder of runs.
pub const FILE: &str = "history.sqlite";

/// The log of a history, by the end of its name.
pub(super) const LOG: &str = "-wal";

/// What SQLite finds its way in the log by.
pub(super) const LOG_INDEX: &str = "-shm";

/// Largest history, in bytes: some hundreds of millions of shards.
pub(super) const FILE_BYTES: u64 = 16 << 30;

/// Most damaged histories that may lie in a folder: more of them come of a
/// disk that fails, and would fill it.
pub(super) const DAMAGED_FILES: usize = 8;

/// Longest wait for another process that holds the file.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A path whose name goes on with `end`.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The path, never to be taken for a URI: SQLite knows one by `file:` at its
/// beginning.
pub(super) fn plain(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}
