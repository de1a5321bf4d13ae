//! Writes records, one transaction at a time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::batch::Batch;
use super::damage::{put_aside, read_through};
use super::error::LedgerError;
use super::event::Columns;
use super::file::{BUSY_TIMEOUT, FILE, FILE_BYTES, LOG, LOG_INDEX, plain, with_end};
use super::record::Record;
use super::schema::migrate;
use super::thin::{HISTORY_BYTES, thin, was_thinned};

/// Size to which the log is truncated, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// Size of the cache of statements: more than there are.
const STATEMENTS: usize = 32;

/// The writer of a history; one for each runs folder.
///
/// Records are on disk when [`record`](Self::record) returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// `None` before the file is opened, and after an error that may require to open it
    /// again, which the next record does.
    connection: Option<Connection>,
    /// The identity of that file and of its log.
    file: Option<Identity>,
    log: Option<Identity>,
    /// The message that a new file was started, until that file is open.
    notice: Option<String>,
    /// Longest wait for another process that has locked the file.
    patience: Duration,
    /// Size from which it is thinned, in bytes.
    bound: u64,
    is_thinned: bool,
}

impl Ledger {
    /// Opens the history of a folder, or creates one. The folder must exist.
    ///
    /// A damaged file (not a database, malformed, with other tables) is renamed to
    /// `history.sqlite.damaged-` and the seconds since 1970, together with its log, and a new
    /// one is started; the returned sentence says so. A file of more than 64 MiB is not
    /// checked completely: see [`LedgerError::Replaced`].
    pub fn open(folder: &Path) -> Result<(Self, Option<String>), LedgerError> {
        let mut ledger = Self::closed(folder);
        let notice = ledger.begin()?;
        Ok((ledger, notice))
    }

    /// The history of a folder. It is opened by the first record or by
    /// [`begin`](Self::begin).
    pub fn closed(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
            connection: None,
            file: None,
            log: None,
            notice: None,
            patience: BUSY_TIMEOUT,
            bound: HISTORY_BYTES,
            is_thinned: false,
        }
    }

    /// Sets the longest wait for another process that has locked the file. The default is
    /// [`BUSY_TIMEOUT`].
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        if let Some(connection) = &self.connection
            && connection.busy_timeout(patience).is_err()
        {
            self.connection = None;
        }
    }

    /// Sets the number of used bytes from which rows are dropped. The default is
    /// [`HISTORY_BYTES`]. A file does not shrink; its free space is used again.
    pub fn set_bound(&mut self, bytes: u64) {
        self.bound = bytes;
    }

    /// Whether rows were dropped in the open file.
    pub fn is_thinned(&self) -> bool {
        self.is_thinned
    }

    /// Writes the records in order, all of them or none.
    ///
    /// Costs one fsync. After [`LedgerError::Replaced`] the history is empty, and has no run
    /// until its [`Record::Run`] is written again; steps and events of an unknown run are
    /// still recorded.
    pub fn record(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(notice) = self.begin()? {
            return Err(LedgerError::Replaced { notice });
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match write(&self.path, connection, records, self.bound) {
            Err(LedgerError::Damaged { cause, .. }) => {
                self.put_aside(&cause)?;
                let notice = self.connect()?.unwrap_or_default();
                Err(LedgerError::Replaced { notice })
            }
            Err(error @ LedgerError::Sqlite { .. }) => {
                self.connection = None;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(has_thinned) => {
                self.is_thinned |= has_thinned;
                Ok(())
            }
        }
    }

    /// Opens the file unless it is open; returns a sentence if a new one was started, as
    /// [`open`](Self::open) does. If the file was removed or replaced, it is closed, and the
    /// file that is at the path now is used.
    pub fn begin(&mut self) -> Result<Option<String>, LedgerError> {
        let is_the_same = self.file == identity(&self.path);
        if self.connection.is_some() && is_the_same {
            return Ok(None);
        }
        if self.file.is_some() && !is_the_same {
            self.let_go();
        }
        self.connect()
    }

    /// Closes a file that was removed or moved, leaving it complete: the content of its log is
    /// written to it, and the log is removed, so that it is not taken for the log of the file
    /// that is there now.
    fn let_go(&mut self) {
        let log = with_end(&self.path, LOG);
        let has_our_log = self.log.is_some() && self.log == identity(&log);
        if let Some(connection) = self.connection.take() {
            // Without waiting for other processes; for a removed file this may fail.
            let _ = connection.busy_timeout(Duration::ZERO);
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        if has_our_log {
            let _ = fs::remove_file(&log);
            let _ = fs::remove_file(with_end(&self.path, LOG_INDEX));
        }
        (self.file, self.log) = (None, None);
        self.notice = Some(format!(
            "{}: the history of runs was removed or replaced: further records go to the file that \
             is there now",
            self.path.display()
        ));
    }

    /// Opens the existing file, or creates one. Returns the message about the previous file
    /// that an earlier, failed attempt has not returned.
    fn connect(&mut self) -> Result<Option<String>, LedgerError> {
        let connection = match connect(&self.path, self.patience) {
            Err(LedgerError::Damaged { cause, .. }) => {
                self.put_aside(&cause)?;
                connect(&self.path, self.patience)?
            }
            connected => connected?,
        };
        self.file = identity(&self.path);
        self.log = identity(&with_end(&self.path, LOG));
        let is_thinned = was_thinned(&connection);
        self.is_thinned = is_thinned.map_err(|error| LedgerError::of(&self.path, error))?;
        self.connection = Some(connection);
        Ok(self.notice.take())
    }

    /// Renames a damaged file.
    fn put_aside(&mut self, cause: &str) -> Result<(), LedgerError> {
        // Closed before it is renamed: SQLite finds its log by name.
        self.connection = None;
        let kept = put_aside(&self.path)?;
        (self.file, self.log) = (None, None);
        self.notice = Some(format!(
            "{}: the history of runs was damaged ({cause}): it was renamed to {}, and a new history \
             was started; the runs themselves are not affected",
            self.path.display(),
            kept.display()
        ));
        Ok(())
    }
}

fn connect(path: &Path, patience: Duration) -> Result<Connection, LedgerError> {
    let of = |error| LedgerError::of(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(plain(path), flags).map_err(of)?;
    connection.busy_timeout(patience).map_err(of)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let pragma = |name, value: &dyn rusqlite::ToSql| {
        connection.pragma_update_and_check(None, name, value, |row| row.get::<_, String>(0))
    };
    let found = pragma("journal_mode", &"wal").map_err(of)?;
    if found != "wal" {
        return Err(LedgerError::Journal { path: path.to_owned(), found });
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(of)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES as i64).map_err(of)?;
    let page: u64 =
        connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(of)?;
    let pages = (FILE_BYTES / page.max(1)) as i64;
    connection.pragma_update(None, "max_page_count", pages).map_err(of)?;
    migrate(path, &mut connection)?;
    read_through(path, &connection)?;
    Ok(connection)
}

/// A file's device and inode.
type Identity = (u64, u64);

/// The identity of the file at a path.
fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// Writes records; returns whether other rows were dropped for them.
fn write(
    path: &Path,
    connection: &mut Connection,
    records: &[Record],
    bound: u64,
) -> Result<bool, LedgerError> {
    let of = |error| LedgerError::of(path, error);
    let behavior = TransactionBehavior::Immediate;
    let transaction = connection.transaction_with_behavior(behavior).map_err(of)?;
    let mut batch = Batch::new(&transaction);
    for record in records {
        match record {
            Record::Run(row) => batch.run(row),
            Record::Rewind { run, step } => batch.rewind(*run, *step),
            Record::Step(row) => batch.step(row, &Columns::of(row.step, &row.event)?),
            Record::Event(row) => batch.event(row),
            Record::Checkpoint(row) => batch.checkpoint(row),
            Record::Ended(row) => batch.ended(row),
        }
        .map_err(of)?;
    }
    let brought = records.iter().map(|record| match record {
        Record::Step(row) => 1 + row.shards.len() as u64,
        _ => 1,
    });
    let has_thinned = thin(&transaction, bound, brought.sum()).map_err(of)?;
    transaction.commit().map_err(of)?;
    Ok(has_thinned)
}

#[cfg(test)]
impl Ledger {
    /// Prevents the file from growing, as a full disk would.
    pub(super) fn limit_to_its_size(&self) {
        let connection = self.connection.as_ref().unwrap();
        connection.pragma_update(None, "max_page_count", 1).unwrap();
    }
}
