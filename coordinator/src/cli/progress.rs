//! Shows a run as it goes: a bar on a terminal, plain lines into a pipe, JSON
//! for programs, or nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use common::digest::Digest;
use common::id::RunId;
use common::wire::message::RunEvent;
use indicatif::{ProgressBar, ProgressStyle};

use super::report::{self, Throttle};
use super::summary::Summary;

/// How a run is shown.
#[derive(Debug)]
pub(super) enum Progress {
    /// A bar, with lines for what matters above it.
    Bar(ProgressBar),
    /// A line for what matters, and now and then one for a round.
    Lines(Throttle),
    /// One JSON object a line, for every event.
    Json,
    /// Nothing but the summary.
    Quiet,
}

impl Progress {
    /// What suits the flags and where the output goes.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        if json {
            Self::Json
        } else if quiet {
            Self::Quiet
        } else if io::stdout().is_terminal() && io::stderr().is_terminal() {
            Self::Bar(bar())
        } else {
            Self::Lines(Throttle::default())
        }
    }

    /// The run has its number.
    pub(super) fn submitted(&mut self, run: RunId) -> io::Result<()> {
        match self {
            Self::Json => write_line(&report::json_submitted(run.0)),
            Self::Bar(_) | Self::Lines(_) | Self::Quiet => Ok(()),
        }
    }

    /// Something happened.
    pub(super) fn show(&mut self, event: &RunEvent) -> io::Result<()> {
        match self {
            Self::Json => write_line(&report::json_line(event)),
            Self::Quiet => Ok(()),
            Self::Lines(throttle) => {
                if !report::is_always_told(event) && !throttle.allows(Instant::now()) {
                    return Ok(());
                }
                report::line(event).map_or(Ok(()), |line| write_line(&line))
            }
            Self::Bar(bar) => {
                if let RunEvent::Round { round, rounds, .. } = event {
                    bar.set_length(*rounds);
                    bar.set_position(*round);
                    bar.set_message(report::round_text(event));
                } else if let Some(line) = report::line(event) {
                    bar.println(line);
                }
                Ok(())
            }
        }
    }

    /// The run was asked to stop, which may take a moment.
    pub(super) fn cancelling(&mut self, run: RunId) {
        let notice = format!("cancelling run {run}; Ctrl-C again leaves at once");
        match self {
            Self::Bar(bar) => bar.println(notice),
            // Whoever closed standard error does not want to know.
            _ => drop(writeln!(io::stderr(), "{notice}")),
        }
    }

    /// The final state is in a file.
    pub(super) fn saved(&mut self, run: RunId, path: &str, digest: Digest) -> io::Result<()> {
        match self {
            Self::Json => write_line(&report::json_saved(run.0, path, digest)),
            Self::Bar(_) | Self::Lines(_) | Self::Quiet => Ok(()),
        }
    }

    /// Takes the bar away; what is printed next stands alone.
    pub(super) fn close(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }

    /// How a run went, as long as it was asked for.
    pub(super) fn summary(&self, summary: &Summary) -> String {
        match self {
            Self::Quiet => summary.to_text(),
            Self::Bar(_) | Self::Lines(_) | Self::Json => summary.to_long_text(),
        }
    }

    /// Whether programs read this, and no summary for people is wanted.
    pub(super) fn is_json(&self) -> bool {
        matches!(self, Self::Json)
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:16} round {pos}/{len}  {eta} left  {wide_msg}");
    let bar = ProgressBar::new(0);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A whole line at once, so that a reader never waits for the rest of it.
fn write_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}
