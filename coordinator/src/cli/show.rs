//! `coordinator show`.

use std::fmt::Write as _;

use clap::Args;

use super::exit::Failure;
use super::listing::{Listing, loss, number, on_one_line, optional, percent, short, utc};
use super::report::{bytes, plural};
use super::run_number;
use super::runs::HistoryFlags;
use super::screen;
use super::table::{cut, goes, stays, table, wraps};
use crate::ledger::{CheckpointRow, EventRow, StepName, StoredRun, StoredShard, StoredStep};

/// Steps that are shown after the summary.
const LAST_STEPS: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads the history of runs from its file, whether or not a coordinator is running.
Without a flag: a summary, and the last steps.

Examples:
  coordinator show 3
  coordinator show 3 --rounds
  coordinator show 3 --shards --json | jq 'select(.attempt > 1)'
  coordinator show 3 --events --runs /srv/samebit/runs")]
pub(super) struct ShowFlags {
    /// The run's number, as `runs` prints it
    #[arg(value_parser = run_number)]
    run: u64,
    #[command(flatten)]
    history: HistoryFlags,
    #[command(flatten)]
    what: What,
    /// Print one JSON object per line (docs/CLI.md lists their fields)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct What {
    /// Every step: rounds, labellings, evaluations
    #[arg(long)]
    rounds: bool,
    /// Every shard whose result counted: its worker, and its digest
    #[arg(long)]
    shards: bool,
    /// The events of the run: workers that joined, left or were lost, errors
    #[arg(long)]
    events: bool,
    /// All checkpoints, including those whose files are gone
    #[arg(long)]
    checkpoints: bool,
}

/// Prints a run.
pub(super) fn show(flags: &ShowFlags) -> Result<(), Failure> {
    let (reader, run) = flags.history.find(flags.run)?;
    let (id, json) = (run.run, flags.json);
    match flags.what {
        What { rounds: true, .. } => STEPS.print(reader.steps(id), json),
        What { shards: true, .. } => SHARDS.print(reader.shards(id, 0..u64::MAX), json),
        What { events: true, .. } => EVENTS.print(reader.events(id), json),
        What { checkpoints: true, .. } => CHECKPOINTS.print(reader.checkpoints(id), json),
        _ if json => {
            let text = serde_json::to_string(&run).map_err(Failure::failed)?;
            super::print_raw(&format!("{text}\n"))
        }
        _ => {
            let last = reader.last_steps(id, LAST_STEPS)?;
            super::print(&overview(&run, &last, screen::columns()))
        }
    }
}

/// One quantity per line, then the last steps.
fn overview(run: &StoredRun, last: &[StoredStep], room: Option<usize>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    line("run", run.run.to_string());
    if let (Some(from), Some(round)) = (run.forked_from, run.forked_round) {
        line("forked", format!("from run {from} after round {round}"));
    }
    line("model", on_one_line(&run.model));
    line("state", run.state_name().into());
    if let Some(reason) = &run.reason {
        line("reason", on_one_line(reason));
    }
    line("rounds", format!("{} of {}", run.round, run.rounds));
    if run.missing > 0 {
        let gaps = "are missing: the history could not be written, or was replaced";
        line("gaps", format!("{} {gaps}", plural(run.missing, "step")));
    }
    if run.thinned > 0 {
        let gone =
            "have no shards: the history dropped them to make room (--history-size of serve)";
        line("thinned", format!("{} {gone}", plural(run.thinned, "step")));
    }
    let of = run.judged_by.map(|kind| format!(" (of the last {})", kind.place()));
    let of = of.unwrap_or_default();
    line("loss", loss(run.loss) + &of);
    line("accuracy", percent(run.accuracy) + &of);
    line("checkpoint", run.checkpoint.map_or("–".into(), |round| format!("round {round}")));
    line("queued", format!("{} UTC", utc(run.at_ms)));
    if let Some(ended) = run.ended_ms {
        line("ended", format!("{} UTC", utc(ended)));
    }
    line("dataset", run.dataset.to_string());
    line("digest", optional(run.digest));
    if !last.is_empty() {
        text = text + "\n" + &table(STEPS.columns, last.iter().map(STEPS.cells), room);
    }
    text
}

const STEPS: Listing<StoredStep> = Listing {
    columns: &[
        goes("step", 3),
        stays("what"),
        stays("epoch"),
        goes("examples", 4),
        stays("loss"),
        stays("accuracy"),
        stays("compute ms"),
        stays("sync ms"),
        goes("merged", 1),
        goes("workers", 2),
        cut("digest", 8),
    ],
    cells: |step| {
        let what = match (step.kind, step.round) {
            (StepName::Train, Some(round)) => format!("round {round}"),
            (kind, _) => kind.name().into(),
        };
        vec![
            step.step.to_string(),
            what,
            step.epoch.to_string(),
            step.examples.to_string(),
            loss(step.loss),
            percent(step.accuracy),
            number(step.compute_ms, 1),
            number(step.synchronisation_ms, 1),
            optional(step.bytes.map(bytes)),
            optional(step.workers),
            short(step.digest),
        ]
    },
    none: "no steps",
};

const SHARDS: Listing<StoredShard> = Listing {
    columns: &[
        stays("step"),
        stays("round"),
        stays("replica"),
        cut("worker", 12),
        goes("attempt", 1),
        stays("ms"),
        cut("digest", 8),
    ],
    cells: |StoredShard { step, round, shard, .. }| {
        vec![
            step.to_string(),
            optional(*round),
            shard.replica.to_string(),
            on_one_line(&shard.worker),
            shard.attempt.to_string(),
            format!("{:.1}", shard.compute_us as f64 / 1e3),
            short(shard.digest),
        ]
    },
    none: "no shards",
};

const EVENTS: Listing<EventRow> = Listing {
    columns: &[
        stays("when (UTC)"),
        goes("step", 1),
        stays("what"),
        stays("worker"),
        wraps("detail", 20),
    ],
    cells: |event| {
        vec![
            utc(event.at_ms),
            optional(event.step),
            event.kind.name().replace('_', " "),
            optional(event.worker.as_deref().map(on_one_line)),
            on_one_line(&event.detail),
        ]
    },
    none: "no events",
};

const CHECKPOINTS: Listing<CheckpointRow> = Listing {
    columns: &[
        stays("round"),
        goes("next step", 1),
        stays("when (UTC)"),
        stays("size"),
        goes("ms", 2),
        cut("digest", 8),
    ],
    cells: |row| {
        vec![
            row.round.to_string(),
            row.step.to_string(),
            utc(row.at_ms),
            bytes(row.bytes),
            number(Some(row.ms).filter(|ms| ms.is_finite()), 1),
            short(row.digest),
        ]
    },
    none: "no checkpoints",
};

#[cfg(test)]
mod tests {
    use super::super::runs::tests::run;
    use super::*;
    use crate::ledger::{EventKind, ShardRow};
    use common::digest::Digest;
    use common::id::RunId;

    fn step(kind: StepName, round: Option<u64>) -> StoredStep {
        StoredStep {
            run: RunId(3),
            step: 7,
            kind,
            round,
            epoch: 2,
            examples: 800,
            loss: Some(0.5),
            accuracy: None,
            metrics: [("spikes".to_owned(), 1.5)].into(),
            compute_ms: round.map(|_| 12.34),
            synchronisation_ms: round.map(|_| 1.0),
            bytes: round.map(|_| 2048),
            workers: round.map(|_| 2),
            digest: Digest::of(b"abc"),
            at_ms: 0,
        }
    }

    #[test]
    fn the_overview_has_a_line_for_each_quantity_and_the_last_steps() {
        let failed = StoredRun {
            state: Some(common::run_state::RunEnd::Failed),
            reason: Some("replica 5 failed 2 times:\nloss is NaN".into()),
            forked_from: Some(RunId(1)),
            forked_round: Some(20),
            digest: None,
            ..run()
        };
        let steps = [step(StepName::Train, Some(7)), step(StepName::Evaluate, None)];
        let text = overview(&failed, &steps, None);
        for line in [
            "run         3",
            "forked      from run 1 after round 20",
            "state       failed",
            "reason      replica 5 failed 2 times: loss is NaN",
            "rounds      120 of 120",
            "accuracy    91.25 % (of the last evaluation)",
            "checkpoint  round 118",
            "ended       2000-02-29 00:00:10 UTC",
            "digest      –",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let mut rows = text.lines().skip_while(|line| !line.starts_with("step "));
        assert!(rows.next().is_some_and(|header| header.ends_with("digest")), "{text}");
        let round = rows.next().unwrap();
        assert!(round.starts_with("7     round 7   2      800       0.5000  –"), "{round}");
        assert!(round.ends_with("12.3        1.0      2.0 KiB  2        ba7816bf8f01"), "{round}");
        assert!(rows.next().unwrap().contains("evaluate"));
        let text = overview(&run(), &[], None);
        assert!(text.ends_with(&format!("digest      {}\n", Digest::of(b"abc"))), "{text}");
        assert!(!text.contains("thinned") && !text.contains("gaps"), "{text}");
        let text = overview(&StoredRun { thinned: 12, missing: 1, ..run() }, &[], None);
        assert!(text.contains("\nthinned     12 steps have no shards"), "{text}");
        assert!(text.contains("\ngaps        1 step are missing"), "{text}");
    }

    #[test]
    fn lists_have_a_cell_for_each_column() {
        let shard = ShardRow {
            replica: 4,
            worker: "one".into(),
            attempt: 2,
            digest: Digest::of(b"abc"),
            compute_us: 12_340,
        };
        let shard = StoredShard { run: RunId(3), step: 7, round: None, shard };
        let cells = (SHARDS.cells)(&shard);
        assert_eq!(cells, ["7", "–", "4", "one", "2", "12.3", "ba7816bf8f01"]);
        assert_eq!(cells.len(), SHARDS.columns.len());
        let event = EventRow {
            run: RunId(3),
            at_ms: 0,
            step: None,
            kind: EventKind::CheckpointFailed,
            worker: None,
            detail: "disk\tfull".into(),
        };
        let cells = (EVENTS.cells)(&event);
        assert_eq!(cells, ["1970-01-01 00:00:00", "–", "checkpoint failed", "–", "disk full"]);
        assert_eq!(cells.len(), EVENTS.columns.len());
        let row = CheckpointRow {
            run: RunId(3),
            at_ms: 0,
            round: 6,
            step: 7,
            digest: Digest::of(b"abc"),
            bytes: 2048,
            ms: f64::NAN,
        };
        let cells = (CHECKPOINTS.cells)(&row);
        assert_eq!(cells, ["6", "7", "1970-01-01 00:00:00", "2.0 KiB", "–", "ba7816bf8f01"]);
        assert_eq!(cells.len(), CHECKPOINTS.columns.len());
    }
}
