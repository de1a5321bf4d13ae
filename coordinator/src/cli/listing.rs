//! Prints rows as they are read, since they may not fit into memory: as a table or as JSON.

use serde::Serialize;

use super::exit::Failure;
use super::report::loss_figure;
use super::screen;
use super::table::{Column, Table};
use crate::ledger::LedgerError;

/// Text is printed in pieces of about this size, in bytes.
const PIECE: usize = 64 << 10;

/// The format of one kind of rows.
#[derive(Debug)]
pub(super) struct Listing<Row> {
    /// The columns.
    pub(super) columns: &'static [Column],
    /// The cells of a row.
    pub(super) cells: fn(&Row) -> Vec<String>,
    /// The text if there is no row.
    pub(super) none: &'static str,
}

impl<Row: Serialize> Listing<Row> {
    /// Prints rows: a table, or one JSON object a line.
    pub(super) fn print(
        &self,
        rows: impl Iterator<Item = Result<Row, LedgerError>>,
        json: bool,
    ) -> Result<(), Failure> {
        let print = if json { super::print_raw } else { super::print };
        let (mut table, mut text) = (Table::new(self.columns, screen::columns()), String::new());
        for row in rows {
            let row = row?;
            if json {
                text += &serde_json::to_string(&row).map_err(Failure::failed)?;
                text.push('\n');
            } else {
                table.push((self.cells)(&row), &mut text);
            }
            if text.len() >= PIECE {
                print(&text)?;
                text.clear();
            }
        }
        if !json && !table.finish(&mut text) {
            text = format!("{}\n", self.none);
        }
        print(&text)
    }
}

/// A quantity with this number of decimals; a dash for `None`.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    optional(value.map(|value| format!("{value:.digits$}")))
}

/// A loss; a dash for `None`.
pub(super) fn loss(value: Option<f64>) -> String {
    optional(value.map(loss_figure))
}

/// A share as a percentage; a dash for `None`.
pub(super) fn percent(value: Option<f64>) -> String {
    optional(value.map(|share| format!("{:.2} %", share * 100.0)))
}

/// A value; a dash for `None`.
pub(super) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// The first digits of a digest, enough for people to distinguish a few.
pub(super) fn short(digest: common::digest::Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

/// A text of a peer on one line, without control characters for the terminal.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A time in ms since 1970 as date and time of day, UTC, to the minute.
pub(super) fn minute(ms: u64) -> String {
    let text = utc(ms);
    text.rsplit_once(':').map_or(text.clone(), |(minute, _)| minute.to_owned())
}

/// A time in ms since 1970 as date and time of day, UTC, to the second.
pub(super) fn utc(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Howard Hinnant's civil_from_days: years begin in March, so that the leap
    // day is the last one of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS` has them.
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (951_868_800_000, "2000-03-01 00:00:00"),
            (1_735_689_599_000, "2024-12-31 23:59:59"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ];
        for (ms, text) in cases {
            assert_eq!(utc(ms), text);
        }
        assert!(!utc(u64::MAX).is_empty());
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        assert_eq!((number(None, 4), percent(Some(0.9125))), ("–".into(), "91.25 %".into()));
        assert_eq!((loss(None), loss(Some(0.25))), ("–".into(), "0.2500".into()));
        assert_eq!(on_one_line("a\nb\x1b[2J"), "a b [2J");
    }
}
