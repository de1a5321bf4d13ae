//! Shows a run as it goes: a bar on a terminal, plain lines into a pipe, JSON
//! for programs, or nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use common::digest::Digest;
use common::id::RunId;
use common::wire::message::RunEvent;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::exit::Failure;
use super::report::{self, Throttle};
use super::screen;
use super::summary::Summary;

/// Columns of the bar itself.
const BAR_COLUMNS: usize = 16;

/// How a run is shown. What cannot be printed ends the printing, and nothing
/// else: the first error is kept for the end.
#[derive(Debug)]
pub(super) struct Progress {
    way: Way,
    /// Whether lines go to standard error, as standard output is for the
    /// final state or its picture.
    beside: bool,
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Way {
    /// A bar once there are rounds, with lines for what matters above it.
    Bar(Option<ProgressBar>),
    /// A line for what matters, and now and then one for a round.
    Lines(Throttle),
    /// One JSON object a line, for every event.
    Json,
    /// Nothing but the summary, and once what has to come before anything else can.
    Quiet {
        /// Whether it was said that the run waits for workers.
        said: bool,
    },
}

impl Progress {
    /// What suits the flags and where the output goes; `beside` standard output,
    /// where something else goes there.
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
        let notice = format!("cancelling run {run}; Ctrl-C again leaves at once");
        write_above(&notice);
    }

    /// The final state is in a file.
    pub(super) fn saved(&mut self, run: RunId, path: &str, digest: Digest) {
        if self.is_json() {
            self.print_line(&report::json_saved(run.0, path, digest));
        }
    }

    /// Takes the bar away; what is printed next stands alone.
    pub(super) fn close(&mut self) {
        if let Way::Bar(Some(bar)) = &self.way {
            screen::put_bar(None);
            bar.finish_and_clear();
        }
    }

    /// How a run went, as long as it was asked for.
    pub(super) fn summary(&self, summary: &Summary) -> String {
        match self.way {
            Way::Quiet { .. } => summary.to_text(),
            Way::Bar(_) | Way::Lines(_) | Way::Json => summary.to_long_text(),
        }
    }

    /// Whether programs read this, and no summary for people is wanted.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.way, Way::Json)
    }

    /// What ended the printing, if anything did.
    pub(super) fn failed(&self) -> Option<io::ErrorKind> {
        self.failed.as_ref().map(io::Error::kind)
    }

    /// Prints all of `text` at once, so that a reader never waits for the rest
    /// of a line.
    pub(super) fn print(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let printed = match self.beside {
            true => write_to(io::stderr().lock(), text),
            false => write_to(io::stdout().lock(), text),
        };
        self.failed = printed.err();
    }

    fn print_line(&mut self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    /// The error that ended the printing, if it was one: a reader that has seen
    /// enough is none.
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

/// Writes a line to standard error.
fn write_above(line: &str) {
    // Whoever closed standard error does not want to know.
    let _ = screen::write_above(format!("{line}\n").as_bytes());
}

/// Puts a bar on the screen.
fn start_bar(rounds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:{BAR_COLUMNS}}} {{msg}}"));
    let bar = ProgressBar::new(rounds);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    screen::put_bar(Some(bar.clone()));
    bar
}

/// Moves the bar, and says beside it what there is room for.
fn set(bar: &ProgressBar, round: u64, rounds: u64, event: &RunEvent) {
    bar.set_length(rounds);
    bar.set_position(round);
    let mut pieces = vec![format!("round {round}/{rounds}")];
    if round > 0 && round < rounds {
        pieces.push(format!("{:#} left", HumanDuration(bar.eta())));
    }
    pieces.extend(report::round_pieces(event));
    bar.set_message(report::fitting(
        &pieces,
        screen::bar_columns().saturating_sub(BAR_COLUMNS + 1),
    ));
}
