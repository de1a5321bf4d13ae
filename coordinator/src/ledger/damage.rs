//! Finds damaged histories and renames them, so that nothing is lost and a new history can be
//! started.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::error::{LedgerError, damaged};
use super::file::{DAMAGED_FILES, LOG, LOG_INDEX, with_end};

/// Largest file that is checked completely when it is opened. A larger file would take too
/// long; damage in it is found when a write reaches it.
const CHECKED_BYTES: u64 = 64 << 20;

/// Suffixes of the files of a history.
const ENDS: [&str; 3] = ["", LOG, LOG_INDEX];

/// Checks a file completely, unless it is too large.
pub(super) fn read_through(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let large = |about: fs::Metadata| about.len() > CHECKED_BYTES;
    if fs::metadata(path).is_ok_and(large) {
        return Ok(());
    }
    let found: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|error| LedgerError::of(path, error))?;
    if found == "ok" { Ok(()) } else { Err(damaged(path, found.trim())) }
}

/// Renames the file and its log, and returns the new name. The file must not be open.
pub(super) fn put_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let failed = |error| LedgerError::Rename { path: path.to_owned(), error };
    if count(path).map_err(failed)? >= DAMAGED_FILES {
        return Err(LedgerError::DamagedAgain { path: path.to_owned() });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // There are few such files, so one of the next seconds is free.
    let mut names = (now..).map(|second| with_end(path, &format!(".damaged-{second}")));
    let Some(kept) = names.find(|name| !name.exists()) else {
        return Err(LedgerError::DamagedAgain { path: path.to_owned() });
    };
    for end in ENDS {
        let from = with_end(path, end);
        if from.exists() {
            fs::rename(&from, with_end(&kept, end)).map_err(failed)?;
        }
    }
    Ok(kept)
}

/// Number of damaged histories beside the file.
fn count(path: &Path) -> std::io::Result<usize> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(0) };
    let begin = format!("{}.damaged-", name.to_string_lossy());
    let is_one = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .and_then(|name| name.strip_prefix(&begin))
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = fs::read_dir(folder)?;
    Ok(entries.filter_map(Result::ok).filter(is_one).take(DAMAGED_FILES).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_with_their_logs_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.sqlite");
        for time in 0..DAMAGED_FILES {
            fs::write(&path, [time as u8]).unwrap();
            fs::write(with_end(&path, "-wal"), b"log").unwrap();
            let kept = put_aside(&path).unwrap();
            assert!(!path.exists() && !with_end(&path, "-wal").exists());
            assert_eq!(fs::read(&kept).unwrap(), [time as u8], "each has a name of its own");
            assert_eq!(fs::read(with_end(&kept, "-wal")).unwrap(), b"log");
        }
        fs::write(&path, b"x").unwrap();
        let error = put_aside(&path).unwrap_err().to_string();
        assert!(error.contains("8 damaged histories") && path.exists(), "{error}");
    }
}
