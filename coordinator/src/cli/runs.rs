//! `coordinator runs`, and code shared by the commands that read the history.

use std::path::{Path, PathBuf};

use clap::Args;
use common::id::RunId;

use super::exit::Failure;
use super::listing::{Listing, loss, minute, on_one_line, optional, percent, short};
use super::table::{cut, goes, stays};
use crate::ledger::{LedgerError, LedgerReader, StepName, StoredRun};

/// Number of known runs (the last ones) that the error for an unknown run names.
const NAMED_RUNS: usize = 16;

/// The default runs folder.
const DEFAULT: &str = "runs";

/// The place of the history. It is read from its file, whether or not a coordinator is
/// running.
#[derive(Clone, Debug, Args)]
pub(super) struct HistoryFlags {
    /// Folder of the coordinator's runs
    #[arg(long, value_name = "DIR", env = "SAMEBIT_RUNS", default_value = DEFAULT)]
    runs: PathBuf,
}

impl HistoryFlags {
    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.runs
    }

    /// The flag that another command needs to find the same folder, with a space before
    /// it; empty for the default folder.
    pub(super) fn flag(&self) -> String {
        match self.runs.to_str() {
            Some(DEFAULT) => String::new(),
            Some(plain) if !plain.is_empty() && plain.chars().all(is_plain) => {
                format!(" --runs {plain}")
            }
            _ => format!(" --runs '{}'", self.runs.display().to_string().replace('\'', r"'\''")),
        }
    }

    /// Opens the history in it.
    pub(super) fn open(&self) -> Result<LedgerReader, Failure> {
        Ok(LedgerReader::open(&self.runs)?)
    }

    /// Opens the history, and finds a run in it.
    pub(super) fn find(&self, run: u64) -> Result<(LedgerReader, StoredRun), Failure> {
        let reader = self.open()?;
        if let Some(found) = reader.run(RunId(run))? {
            return Ok((reader, found));
        }
        let known = reader.runs().map(|run| Ok(run?.run.0));
        let known = known.collect::<Result<Vec<u64>, LedgerError>>()?;
        let folder = self.runs.display();
        Err(Failure::bad_input(format!("run {run} is unknown in {folder}: {}", named(&known))))
    }
}

/// Whether a character has no special meaning for a shell, at any place of a path.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-".contains(c)
}

/// Names the known runs.
fn named(known: &[u64]) -> String {
    let last = &known[known.len().saturating_sub(NAMED_RUNS)..];
    let names = last.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    match known.len() {
        0 => "it has no runs".into(),
        count if count > last.len() => {
            format!("of its {count} runs, the last ones are {names}")
        }
        _ => format!("its runs are {names}"),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads the history of runs from its file, whether or not a coordinator is running.

Examples:
  coordinator runs
  coordinator runs --runs /srv/samebit/runs
  coordinator runs --json | jq 'select(.state == \"failed\") | .reason'")]
pub(super) struct RunsFlags {
    #[command(flatten)]
    history: HistoryFlags,
    /// Print one JSON object per line (docs/CLI.md lists their fields)
    #[arg(long)]
    json: bool,
}

/// Prints all runs.
pub(super) fn runs(flags: &RunsFlags) -> Result<(), Failure> {
    RUNS.print(flags.history.open()?.runs(), flags.json)
}

const RUNS: Listing<StoredRun> = Listing {
    columns: &[
        stays("run"),
        stays("model"),
        stays("state"),
        stays("rounds"),
        stays("loss"),
        stays("accuracy"),
        goes("of the last", 1),
        goes("checkpoint", 2),
        cut("digest", 8),
        goes("queued (UTC)", 3),
    ],
    cells: row,
    none: "no runs",
};

fn row(run: &StoredRun) -> Vec<String> {
    vec![
        run.run.to_string(),
        on_one_line(&run.model),
        run.state_name().into(),
        format!("{}/{}{}", run.round, run.rounds, if run.missing > 0 { " (GAPS)" } else { "" }),
        loss(run.loss),
        percent(run.accuracy),
        optional(run.judged_by.map(StepName::place)),
        optional(run.checkpoint),
        optional(run.digest.map(short)),
        minute(run.at_ms),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use common::digest::Digest;
    use common::run_state::RunEnd;

    /// A run that has finished.
    pub(in crate::cli) fn run() -> StoredRun {
        StoredRun {
            run: RunId(3),
            model: "mlp".into(),
            state: Some(RunEnd::Finished),
            round: 120,
            rounds: 120,
            steps: 125,
            missing: 0,
            thinned: 0,
            loss: Some(0.25),
            accuracy: Some(0.9125),
            judged_by: Some(StepName::Evaluate),
            checkpoint: Some(118),
            digest: Some(Digest::of(b"abc")),
            reason: None,
            at_ms: 951_782_400_000,
            ended_ms: Some(951_782_410_000),
            forked_from: None,
            forked_round: None,
            dataset: Digest::of(b"data"),
            spec: None,
        }
    }

    #[test]
    fn a_run_is_a_line() {
        let cells = [
            "3",
            "mlp",
            "finished",
            "120/120",
            "0.2500",
            "91.25 %",
            "evaluation",
            "118",
            "ba7816bf8f01",
            "2000-02-29 00:00",
        ];
        assert_eq!(row(&run()), cells);
        assert_eq!(RUNS.columns.len(), cells.len());
        let begun = StoredRun {
            state: None,
            round: 0,
            loss: None,
            accuracy: None,
            judged_by: None,
            checkpoint: None,
            digest: None,
            ..run()
        };
        assert_eq!(row(&begun)[2..9], ["unfinished", "0/120", "–", "–", "–", "–", "–"]);
        assert_eq!(row(&StoredRun { missing: 1, ..run() })[3], "120/120 (GAPS)");
    }

    #[test]
    fn a_command_names_the_folder_where_it_is_not_the_usual_one() {
        let flag = |runs: &str| HistoryFlags { runs: runs.into() }.flag();
        assert_eq!(flag("runs"), "");
        assert_eq!(flag("/srv/samebit/runs"), " --runs /srv/samebit/runs");
        assert_eq!(flag("my runs"), " --runs 'my runs'");
        assert_eq!(flag("Ann's"), r" --runs 'Ann'\''s'");
    }

    #[test]
    fn an_unknown_run_names_the_known_ones() {
        assert_eq!(named(&[]), "it has no runs");
        assert_eq!(named(&[1, 5]), "its runs are 1, 5");
        let many: Vec<u64> = (1..=100).collect();
        let text = named(&many);
        assert!(text.starts_with("of its 100 runs") && text.contains("are 85, 86"), "{text}");
    }
}
