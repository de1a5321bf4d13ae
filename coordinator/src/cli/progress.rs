//! Shows the progress of a run: a bar on a terminal, plain lines into a pipe, JSON for
//! programs, or nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use common::dataset::Schema;
use common::digest::Digest;
use common::id::RunId;
use common::wire::message::RunEvent;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::exit::Failure;
use super::report::{self, Throttle};
use super::screen;
use super::splits::Splits;
use super::summary::Summary;
use super::visible;

/// Columns of the bar itself.
const BAR_COLUMNS: usize = 16;

/// Shows the progress of a run. An error in printing ends only the printing; the first
/// error is kept for the end.
#[derive(Debug)]
pub(super) struct Progress {
    way: Way,
    /// Whether lines go to standard error, because standard output takes the final state
    /// or its picture.
    beside: bool,
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Way {
    /// A bar once there are rounds, with lines for important events above it.
    Bar(Option<ProgressBar>),
    /// A line for each important event, and for a round now and then.
    Lines(Throttle),
    /// One JSON object per line, for every event.
    Json,
    /// Only the summary, and one line if the run waits for workers.
    Quiet {
        /// Whether that line was printed.
        said: bool,
    },
}

impl Progress {
    /// The format that fits the flags and the output. `beside`: standard output takes
    /// something else.
    pub(super) fn new(json: bool, quiet: bool, beside: bool) -> Self {
        let way = if json {
            Way::Json
        } else if quiet {
            Way::Quiet { said: false }
        } else if (beside || io::stdout().is_terminal()) && screen::is_live() {
            Way::Bar(None)
        } else {
            Way::Lines(Throttle::default())
        };
        Self { way, beside, failed: None }
    }

    /// The data is loaded. The line about it goes to standard error, as it is no result; what may be
    /// wrong is told even if only results are wanted.
    pub(super) fn understood(&mut self, schema: &Schema, splits: Splits) {
        match &self.way {
            Way::Json => self.print_line(&report::json_dataset(schema, splits.train, splits.test)),
            Way::Quiet { .. } => {}
            Way::Bar(_) | Way::Lines(_) => write_above(&schema.understood),
        }
        for warning in &schema.warnings {
            write_above(&format!("warning: {warning}"));
        }
    }

    /// The run has its number.
    pub(super) fn submitted(&mut self, run: RunId) {
        if self.is_json() {
            self.print_line(&report::json_submitted(run.0));
        }
    }

    /// Something happened.
    pub(super) fn show(&mut self, event: &RunEvent) {
        let line = match &mut self.way {
            Way::Json => Some(report::json_line(event)),
            Way::Quiet { said } => {
                if let Some(line) = report::missing_workers(event)
                    && !std::mem::replace(said, true)
                {
                    write_above(&line);
                }
                None
            }
            Way::Lines(throttle) => {
                let told = report::is_always_told(event) || throttle.allows(Instant::now());
                if told { report::line(event) } else { None }
            }
            Way::Bar(bar) => {
                if let RunEvent::Round { round, rounds, .. } = event {
                    set(bar.get_or_insert_with(|| start_bar(*rounds)), *round, *rounds, event);
                } else if let Some(line) = report::line(event) {
                    write_above(&line);
                }
                if let RunEvent::Started { rounds, .. } = event {
                    set(bar.get_or_insert_with(|| start_bar(*rounds)), 0, *rounds, event);
                }
                None
            }
        };
        if let Some(line) = line {
            self.print_line(&line);
        }
    }

    /// The run was asked to stop, which may take a moment.
    pub(super) fn cancelling(&mut self, run: RunId) {
        let notice = format!("cancelling run {run}; Ctrl-C again exits at once");
        write_above(&notice);
    }

    /// The final state is in a file.
    pub(super) fn saved(&mut self, run: RunId, path: &str, digest: Digest) {
        if self.is_json() {
            self.print_line(&report::json_saved(run.0, path, digest));
        }
    }

    /// Removes the bar.
    pub(super) fn close(&mut self) {
        if let Way::Bar(Some(bar)) = &self.way {
            screen::put_bar(None);
            bar.finish_and_clear();
        }
    }

    /// The summary of a run.
    pub(super) fn summary(&self, summary: &Summary) -> String {
        match self.way {
            Way::Quiet { .. } => summary.to_text(),
            Way::Bar(_) | Way::Lines(_) | Way::Json => summary.to_long_text(),
        }
    }

    /// Whether programs read the output, so that no summary is printed.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.way, Way::Json)
    }

    /// The error that ended the printing, if any.
    pub(super) fn failed(&self) -> Option<io::ErrorKind> {
        self.failed.as_ref().map(io::Error::kind)
    }

    /// Prints text for people.
    pub(super) fn print(&mut self, text: &str) {
        self.print_raw(&visible::lines(text));
    }

    /// Prints all of `text` at once, as it is, so that a reader never waits for the rest
    /// of a line.
    pub(super) fn print_raw(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let printed = if self.beside {
            write_to(io::stderr().lock(), text)
        } else {
            write_to(io::stdout().lock(), text)
        };
        self.failed = printed.err();
    }

    fn print_line(&mut self, line: &str) {
        // What is JSON is escaped already.
        let line = if self.is_json() { line.into() } else { visible::line(line) };
        self.print_raw(&format!("{line}\n"));
    }

    /// The error that ended the printing, if any. A reader that closes the output is not
    /// an error.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn write_to(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells people something on standard error, as it is no result.
pub(super) fn tell(lines: &[String]) {
    lines.iter().for_each(|line| write_above(line));
}

/// Writes a line to standard error.
fn write_above(line: &str) {
    // If standard error is closed, nobody reads the line.
    let _ = screen::write_above(format!("{}\n", visible::line(line)).as_bytes());
}

/// Puts a bar on the screen.
fn start_bar(rounds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:{BAR_COLUMNS}}} {{msg}}"));
    let bar = ProgressBar::new(rounds);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    screen::put_bar(Some(bar.clone()));
    bar
}

/// Advances the bar, and prints as many quantities beside it as fit.
fn set(bar: &ProgressBar, round: u64, rounds: u64, event: &RunEvent) {
    bar.set_length(rounds);
    bar.set_position(round);
    let mut pieces = vec![format!("round {round}/{rounds}")];
    if round > 0 && round < rounds {
        pieces.push(format!("{:#} left", HumanDuration(bar.eta())));
    }
    pieces.extend(report::round_pieces(event));
    let columns = screen::bar_columns().saturating_sub(BAR_COLUMNS + 1);
    bar.set_message(visible::line(&report::fitting(&pieces, columns)).into_owned());
}
