//! Formats the events of a run for people and programs. Pure.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::dataset::Schema;
use common::digest::Digest;
use common::spec::Split;
use common::wire::message::RunEvent;
use serde_json::json;

use super::visible;

/// Round lines come at most this often.
const ROUND_LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Between two pieces of a line, or two columns.
pub(super) const GAP: &str = "  ";

/// Losses from this value on are shown in scientific notation.
const LARGE_LOSS: f64 = 1e6;

/// Metrics that a line shows, the first ones by name.
const SHOWN_METRICS: usize = 3;

/// Lets through the first line and then at most one every
/// [`ROUND_LINE_INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Instant>,
}

impl Throttle {
    /// Whether a line may be printed now.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= ROUND_LINE_INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// Whether an event is always printed, even if lines are throttled: all events except
/// rounds, and parts of a prediction, before the last.
pub(super) fn is_always_told(event: &RunEvent) -> bool {
    match event {
        RunEvent::Round { round, rounds, .. } => round >= rounds,
        RunEvent::Predicted { examples, of, .. } => examples >= of,
        _ => true,
    }
}

/// An event as a line for people. `None` for the last event, which the summary or the
/// error shows, and for a queued run that does not wait.
pub(super) fn line(event: &RunEvent) -> Option<String> {
    Some(match event {
        RunEvent::Queued { ahead: 0, .. } => return missing_workers(event),
        RunEvent::Queued { run, ahead, .. } => format!("run {run} waits: {ahead} before it"),
        RunEvent::Started { run, model, rounds, state_bytes, workers } => format!(
            "run {run} has begun: {model}, {}, a state of {}, {}",
            plural(*rounds, "round"),
            bytes(*state_bytes),
            plural(u64::from(*workers), "worker")
        ),
        RunEvent::Round { round, rounds, .. } => {
            format!("round {round}/{rounds}{GAP}{}", round_pieces(event).join(GAP))
        }
        RunEvent::Labelled { epochs, examples, .. } => {
            format!("labelling after {}: {examples} examples", plural(*epochs, "epoch"))
        }
        RunEvent::Predicted { examples, of, .. } => {
            format!("predicted {examples} of {of} examples")
        }
        RunEvent::Evaluation { epochs, split, loss, accuracy, results, .. } => {
            let mut pieces = vec![split_name(*split).to_owned()];
            pieces.extend(quality(*loss, *accuracy));
            pieces.extend(metrics(&results.metrics()));
            format!("evaluation after {}: {}", plural(*epochs, "epoch"), pieces.join(GAP))
        }
        RunEvent::Worker { worker, what, detail, .. } if detail.is_empty() => {
            format!("worker {worker}: {what}")
        }
        RunEvent::Worker { worker, what, detail, .. } => {
            format!("worker {worker}: {what}, {detail}")
        }
        RunEvent::Resumed { run, round, rounds, passed_over } => {
            let passed_over = passed_over.as_ref();
            let warning =
                passed_over.map(|what| format!("; a damaged checkpoint was skipped: {what}"));
            let warning = warning.unwrap_or_default();
            format!("run {run} continues after round {round} of {rounds}{warning}")
        }
        RunEvent::CheckpointFailed { round, error, .. } => {
            format!("warning: the checkpoint of round {round} cannot be written: {error}")
        }
        RunEvent::Checkpoint { .. }
        | RunEvent::Shards { .. }
        | RunEvent::State { .. }
        | RunEvent::Finished { .. }
        | RunEvent::Failed { .. }
        | RunEvent::Cancelled { .. } => return None,
        // Events may be added.
        _ => return None,
    })
}

/// The line that a run waits for workers, if it does.
pub(super) fn missing_workers(event: &RunEvent) -> Option<String> {
    match event {
        RunEvent::Queued { run, ahead: 0, workers, min_workers } if workers < min_workers => {
            Some(format!("run {run} waits for workers: {workers} of {min_workers} connected"))
        }
        _ => None,
    }
}

/// The quantities of a round for a line and the progress bar, the most important first.
pub(super) fn round_pieces(event: &RunEvent) -> Vec<String> {
    let RunEvent::Round { loss, accuracy, metrics, examples_per_second, workers, .. } = event
    else {
        return Vec::new();
    };
    let mut pieces = quality(*loss, *accuracy);
    pieces.extend(self::metrics(metrics));
    pieces.push(format!("{examples_per_second:.0} examples/s"));
    pieces.push(plural(u64::from(*workers), "worker"));
    pieces
}

/// The first pieces that fit into `columns`, two spaces apart.
pub(super) fn fitting(pieces: &[String], columns: usize) -> String {
    let mut text = String::new();
    for piece in pieces {
        let gap = if text.is_empty() { "" } else { GAP };
        if text.chars().count() + gap.len() + piece.chars().count() > columns {
            break;
        }
        text = text + gap + piece;
    }
    text
}

/// An event as one line of JSON: the variant's name as `event`, its fields
/// beside it.
pub(super) fn json_line(event: &RunEvent) -> String {
    // An enum of struct variants is an object of one key, its variant's name.
    let tagged = serde_json::to_value(event).unwrap_or_default();
    let variant = tagged.as_object().and_then(|tagged| tagged.iter().next());
    let Some((name, fields)) = variant else { return json!({"event": null}).to_string() };
    let fields = fields.to_string();
    // Put in front by hand: objects here are in the order of their keys.
    format!(r#"{{"event":"{name}",{}"#, fields.trim_start_matches('{'))
}

/// The JSON line with the number of a run.
pub(super) fn json_submitted(run: u64) -> String {
    json!({"event": "submitted", "run": run}).to_string()
}

/// The JSON line that says what the data was taken for, with the examples of both splits.
pub(super) fn json_dataset(schema: &Schema, train: u64, test: u64) -> String {
    let Schema { understood, warnings, shape, targets, classes, .. } = schema;
    json!({
        "event": "dataset",
        "understood": understood,
        "warnings": warnings,
        "shape": shape,
        "targets": targets,
        "classes": classes,
        "train": train,
        "test": test,
    })
    .to_string()
}

/// The JSON line with the path of the final state.
pub(super) fn json_saved(run: u64, path: &str, digest: Digest) -> String {
    json!({"event": "saved", "run": run, "path": path, "digest": digest}).to_string()
}

/// Lines of cells in columns as wide as their widest cell; no spaces at the
/// ends of lines.
pub(super) fn table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    for cell in lines.iter_mut().flatten() {
        *cell = visible::line(cell).into_owned();
    }
    let widths = widths(&lines);
    lines.iter().map(|line| cells(line, &widths)).collect()
}

/// The width of the widest cell of each column.
pub(super) fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    (0..columns)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect()
}

/// A line of cells in columns of these widths, with its end.
pub(super) fn cells(line: &[String], widths: &[usize]) -> String {
    let mut row = String::new();
    for (cell, width) in line.iter().zip(widths) {
        let _ = write!(row, "{cell:<width$}  ");
    }
    row.trim_end().to_owned() + "\n"
}

/// The first metrics of a model.
pub(super) fn metrics<'a>(
    metrics: impl IntoIterator<Item = (&'a String, &'a f64)>,
) -> impl Iterator<Item = String> {
    let shown = metrics.into_iter().take(SHOWN_METRICS);
    shown.map(|(name, value)| format!("{name} {}", figure(*value)))
}

/// Names and descriptions, a line each.
pub(super) fn list<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let entries: Vec<_> = entries.collect();
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    entries.iter().fold(String::new(), |mut text, (name, about)| {
        let _ = writeln!(text, "{name:<width$}  {about}");
        text
    })
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = (count.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    if power == 0 {
        return format!("{count} {}", UNITS[0]);
    }
    format!("{:.1} {}", count as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize])
}

/// A quantity of any size, with a readable number of digits.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(0.001..1e6).contains(&size) => format!("{value:.2e}"),
        size if size < 1.0 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A loss with a readable number of digits: four decimals, unless that makes too many.
pub(super) fn loss_figure(loss: f64) -> String {
    if loss.abs() < LARGE_LOSS || loss.is_nan() {
        format!("{loss:.4}")
    } else {
        format!("{loss:.2e}")
    }
}

/// Loss and accuracy, as far as there are any.
pub(super) fn quality(loss: Option<f64>, accuracy: Option<f64>) -> Vec<String> {
    let loss = loss.map(|loss| format!("loss {}", loss_figure(loss)));
    let accuracy = accuracy.map(|share| format!("accuracy {:.2} %", share * 100.0));
    loss.into_iter().chain(accuracy).collect()
}

pub(super) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::RunId;
    use serde_json::Value;

    fn round(round: u64) -> RunEvent {
        RunEvent::Round {
            run: RunId(4),
            round,
            rounds: 9,
            epoch: 1,
            examples: 80,
            loss: Some(0.5),
            accuracy: Some(0.25),
            metrics: [("spikes".into(), 14.23)].into(),
            partial_bytes: 4096,
            compute_ms: 1.0,
            synchronisation_ms: 0.5,
            examples_per_second: 1234.5,
            workers: 1,
        }
    }

    #[test]
    fn json_lines_are_flat_objects_that_name_their_event() {
        let line = json_line(&round(2));
        assert!(line.starts_with(r#"{"event":"round","accuracy":0.25,"#), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "round");
        assert_eq!((&value["run"], &value["round"]), (&json!(4), &json!(2)));
        assert_eq!(value["examples_per_second"], 1234.5);
        assert_eq!(value["metrics"]["spikes"], 14.23);
        let objects = value.as_object().unwrap().iter().filter(|(_, field)| field.is_object());
        assert_eq!(objects.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["metrics"]);
        let finished = RunEvent::Finished {
            run: RunId(4),
            digest: Digest::of(b"abc"),
            rounds: 9,
            examples: 720,
            seconds: 0.1,
            loss: None,
            accuracy: None,
            synchronisation_share: 0.5,
            warnings: [("mute".into(), 3)].into(),
            offered: 0,
            audited: 7,
            unaudited: 1,
            unsaved: None,
        };
        let value: Value = serde_json::from_str(&json_line(&finished)).unwrap();
        assert_eq!(value["event"], "finished");
        assert_eq!(value["digest"], Digest::of(b"abc").to_string());
        assert_eq!(value["loss"], Value::Null);
        assert_eq!(value["warnings"], json!({"mute": 3}));
        assert_eq!((&value["audited"], &value["unaudited"]), (&json!(7), &json!(1)));
        assert_eq!(json_submitted(4), r#"{"event":"submitted","run":4}"#);
    }

    #[test]
    fn rounds_are_throttled_but_the_last_one_and_all_else_is_told() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let told: Vec<u64> = (0..25)
            .filter(|tenth| throttle.allows(start + Duration::from_millis(100 * tenth)))
            .collect();
        assert_eq!(told, [0, 10, 20]);
        assert!(!is_always_told(&round(8)));
        assert!(is_always_told(&round(9)));
        assert!(is_always_told(&RunEvent::Cancelled { run: RunId(1) }));
    }

    #[test]
    fn lines_say_what_happened() {
        let text =
            "round 2/9  loss 0.5000  accuracy 25.00 %  spikes 14.2  1234 examples/s  1 worker";
        assert_eq!(line(&round(2)).unwrap(), text);
        let waits = RunEvent::Queued { run: RunId(1), ahead: 0, workers: 1, min_workers: 3 };
        assert_eq!(line(&waits).unwrap(), "run 1 waits for workers: 1 of 3 connected");
        let starts = RunEvent::Queued { run: RunId(1), ahead: 0, workers: 3, min_workers: 3 };
        assert_eq!(line(&starts), None);
        assert_eq!(line(&RunEvent::Cancelled { run: RunId(1) }), None);
        let resumed = |passed_over| {
            line(&RunEvent::Resumed { run: RunId(1), round: 3, rounds: 9, passed_over })
        };
        assert_eq!(resumed(None).unwrap(), "run 1 continues after round 3 of 9");
        let text = "run 1 continues after round 3 of 9; a damaged checkpoint was skipped: bits";
        assert_eq!(resumed(Some("bits".into())).unwrap(), text);
        let labelled = RunEvent::Labelled { run: RunId(1), epochs: 1, examples: 60_000 };
        assert_eq!(line(&labelled).unwrap(), "labelling after 1 epoch: 60000 examples");
        let json = r#"{"event":"labelled","epochs":1,"examples":60000,"run":1}"#;
        assert_eq!(json_line(&labelled), json);
    }

    #[test]
    fn figures_have_the_digits_that_matter() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.2500"),
            (-3.456, "-3.46"),
            (14.23, "14.2"),
            (1234.5, "1234"),
            (1e-7, "1.00e-7"),
            (2.5e300, "2.50e300"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        let losses = [(0.25, "0.2500"), (12.5, "12.5000"), (-1e29, "-1.00e29"), (f64::NAN, "NaN")];
        for (loss, text) in losses {
            assert_eq!(loss_figure(loss), text);
        }
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
