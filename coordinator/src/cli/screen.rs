//! The terminal: how wide it is, and how a bar and the lines of logs share it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::settings::{LogFormat, start_logging_to};
use indicatif::ProgressBar;

use super::exit::Failure;

/// Columns assumed if the terminal does not report its width.
const USUAL_COLUMNS: usize = 80;

/// The bar that is on the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Installs the bar, replacing an earlier one, so that output to standard error appears
/// above it.
pub(super) fn put_bar(bar: Option<ProgressBar>) {
    *shown() = bar;
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    // The slot always holds a complete bar, or none.
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard error, above the bar if there is one.
pub(crate) fn write_above(text: &[u8]) -> io::Result<()> {
    let write = || io::stderr().write_all(text);
    // The lock is held, as a bar that appears in between would be overwritten.
    match &*shown() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Logs to standard error, above a bar.
pub(super) fn start_logging(filter: &str) -> Result<(), Failure> {
    start_logging_to(LogFormat::Text, filter, || Log).map_err(Failure::bad_input)
}

/// Standard error, above a bar.
struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write_above(text)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a bar can be shown: standard error is a terminal that can move its cursor.
pub(super) fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The width of standard output, in columns; `None` if it is not a terminal.
pub(super) fn columns() -> Option<usize> {
    io::stdout().is_terminal().then(|| columns_of(io::stdout()))
}

/// The width of standard error, in columns.
pub(super) fn bar_columns() -> usize {
    columns_of(io::stderr())
}

/// The columns of a terminal, or the default if it does not report them.
fn columns_of(terminal: impl AsFd) -> usize {
    let size = terminal_size::terminal_size_of(terminal);
    size.map_or(USUAL_COLUMNS, |(terminal_size::Width(columns), _)| usize::from(columns))
}
