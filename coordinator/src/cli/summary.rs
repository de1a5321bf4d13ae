//! The summary of a run for people. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use common::dataset::Schema;
use common::digest::Digest;
use common::results::{CONFUSION, Results};
use common::spec::Split;

use super::report::{GAP, metrics, plural, quality, split_name, table};
use super::splits::Splits;
use super::visible;

/// Largest confusion matrix that is printed, in classes.
const PRINTED_CLASSES: usize = 32;

/// The summary of a run.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) model: String,
    pub(super) rounds: u64,
    pub(super) examples: u64,
    pub(super) seconds: f64,
    pub(super) loss: Option<f64>,
    pub(super) accuracy: Option<f64>,
    /// Loss, accuracy and other metrics of the last training round.
    pub(super) last_round: (Option<f64>, Option<f64>, BTreeMap<String, f64>),
    pub(super) synchronisation_share: f64,
    pub(super) digest: Digest,
    /// Examples that the model warns about, by warning.
    pub(super) warnings: BTreeMap<String, u64>,
    /// Shards to audit that two workers computed, and those that only one computed.
    pub(super) audits: (u64, u64),
    /// Why the final state could not be written to the runs folder.
    pub(super) unsaved: Option<String>,
    /// The last evaluation, if there was one.
    pub(super) evaluation: Option<(Split, Results)>,
    /// What the data means, and its examples, if that is known here.
    pub(super) data: Option<(Schema, Splits)>,
    pub(super) output: Option<PathBuf>,
}

impl Summary {
    /// One quantity per line. The line of the digest is easy to find with grep.
    pub(super) fn to_text(&self) -> String {
        let speed = self.examples as f64 / self.seconds.max(1e-9);
        let mut text = self.data();
        text += &format!(
            "model   {}\nrounds  {}, {} examples\ntime    {:.2} s, {speed:.0} examples/s, \
             {:.0} % of it synchronisation\n",
            self.model,
            self.rounds,
            self.examples,
            self.seconds,
            self.synchronisation_share * 100.0
        );
        self.push_quality(&mut text);
        match self.audits {
            (0, 0) => {}
            (audited, 0) => drop(writeln!(text, "audited {}", plural(audited, "shard"))),
            (audited, unaudited) => {
                let shards = plural(audited, "shard");
                let _ = writeln!(text, "audited {shards}; {unaudited} more could not be audited");
            }
        }
        let _ = writeln!(text, "digest  {}", self.digest);
        if let Some(output) = &self.output {
            let _ = writeln!(text, "output  {}", visible::line(&output.to_string_lossy()));
        }
        self.push_warnings(&mut text);
        text
    }

    /// The same, with the confusion matrix of the last evaluation.
    pub(super) fn to_long_text(&self) -> String {
        self.to_text() + &self.confusion()
    }

    /// The same for a run without training.
    pub(super) fn to_evaluation_text(&self) -> String {
        let mut text = self.data() + &format!("model   {}\n", self.model);
        if let Some((split, results)) = &self.evaluation {
            let _ = writeln!(text, "split   {}, {} examples", split_name(*split), results.examples);
        }
        self.push_quality(&mut text);
        let _ = writeln!(text, "digest  {}", self.digest);
        self.push_warnings(&mut text);
        text + &self.confusion()
    }

    /// The same for a prediction of a split.
    pub(super) fn to_prediction_text(&self, split: Split) -> String {
        let mut text = self.data();
        if let Some((_, splits)) = &self.data {
            text += &splits.predicted(split);
        }
        let _ = writeln!(text, "model   {}\ndigest  {}", self.model, self.digest);
        self.push_warnings(&mut text);
        text
    }

    fn schema(&self) -> Option<&Schema> {
        self.data.as_ref().map(|(schema, _)| schema)
    }

    /// What the data was taken for.
    fn data(&self) -> String {
        let schema = self.schema().filter(|schema| !schema.understood.is_empty());
        schema
            .map(|schema| format!("data    {}\n", visible::line(&schema.understood)))
            .unwrap_or_default()
    }

    fn confusion(&self) -> String {
        let results = self.evaluation.as_ref().map(|(_, results)| results);
        let matrix = results.and_then(|results| results.counts.get(CONFUSION));
        let name = |class: usize| match self.schema() {
            Some(schema) => schema.class(class as u32),
            None => class.to_string(),
        };
        matrix.map(|matrix| confusion(matrix, name)).unwrap_or_default()
    }

    fn push_warnings(&self, text: &mut String) {
        if let Some(error) = &self.unsaved {
            let _ = writeln!(text, "warning the final state is not in the runs folder: {error}");
        }
        self.push_advice(text);
        for (warning, count) in &self.warnings {
            let _ =
                writeln!(text, "warning {}: {}", visible::line(warning), plural(*count, "example"));
        }
    }

    /// Warnings that help beginners to read the figures.
    fn push_advice(&self, text: &mut String) {
        let results = self.evaluation.as_ref().map(|(_, results)| results);
        if let Some(matrix) = results.and_then(|results| results.counts.get(CONFUSION))
            && let Some((right, of, most)) = guessing(matrix)
        {
            let _ = writeln!(
                text,
                "warning no better than guessing: {right} of {of} are right, and {most} belong to \
                 one class; train longer, or try another learning rate"
            );
        }
    }

    fn push_quality(&self, text: &mut String) {
        let evaluated = self.evaluation.as_ref().map(|(_, results)| results.metrics());
        let mut pieces = quality(self.loss, self.accuracy);
        pieces.extend(metrics(evaluated.iter().flatten()));
        if !pieces.is_empty() {
            let _ = writeln!(text, "result  {}", pieces.join(GAP));
        } else if self.evaluation.is_none() {
            let (loss, accuracy, others) = &self.last_round;
            let mut pieces = quality(*loss, *accuracy);
            pieces.extend(metrics(others));
            pieces.push(if pieces.is_empty() {
                "none: nothing was evaluated".into()
            } else {
                "(of the last round: nothing was evaluated)".into()
            });
            let _ = writeln!(text, "result  {}", pieces.join(GAP));
        }
    }
}

/// For a matrix that is no better than always naming the most frequent class: the right
/// examples, all examples, and the examples of that class.
fn guessing(matrix: &[u64]) -> Option<(u64, u64, u64)> {
    let classes = matrix.len().isqrt();
    if classes < 2 || classes * classes != matrix.len() {
        return None;
    }
    let right = matrix.iter().step_by(classes + 1).sum();
    let all = matrix.iter().sum();
    let most = matrix.chunks(classes).map(|row| row.iter().sum()).max().unwrap_or(0);
    (all > 0 && most < all && right <= most).then_some((right, all, most))
}

/// `[true class, found class]` as a table, if it is small enough to read.
fn confusion(matrix: &[u64], name: impl Fn(usize) -> String) -> String {
    let classes = matrix.len().isqrt();
    if classes == 0 || classes > PRINTED_CLASSES || classes * classes != matrix.len() {
        return String::new();
    }
    let header =
        std::iter::once("true \\ found".to_owned()).chain((0..classes).map(&name)).collect();
    let rows = matrix.chunks(classes).enumerate().map(|(class, row)| {
        std::iter::once(name(class)).chain(row.iter().map(u64::to_string)).collect()
    });
    table(header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::results::LOSS;

    fn summary() -> Summary {
        let results = Results {
            examples: 12,
            counts: [(CONFUSION.into(), vec![5, 1, 0, 6])].into(),
            ..Results::default()
        };
        Summary {
            model: "mlp".into(),
            rounds: 9,
            examples: 720,
            seconds: 0.5,
            loss: Some(0.1),
            accuracy: Some(0.99),
            last_round: (None, None, BTreeMap::new()),
            synchronisation_share: 0.125,
            digest: Digest::of(b"abc"),
            warnings: BTreeMap::new(),
            audits: (0, 0),
            unsaved: None,
            evaluation: Some((Split::Test, results)),
            data: None,
            output: Some("out.safetensors".into()),
        }
    }

    fn number(class: usize) -> String {
        class.to_string()
    }

    const MATRIX: &str = "true \\ found  0  1\n0             5  1\n1             0  6\n";

    #[test]
    fn the_summary_has_a_digest_line_of_its_own() {
        let text = summary().to_text();
        let digest = format!("\ndigest  {}\n", Digest::of(b"abc"));
        assert!(text.contains(&digest), "{text}");
        assert!(text.contains("time    0.50 s, 1440 examples/s"), "{text}");
        assert!(text.contains("result  loss 0.1000  accuracy 99.00 %\n"), "{text}");
        assert!(text.ends_with("output  out.safetensors\n"), "{text}");
    }

    #[test]
    fn audits_are_told_where_there_were_any() {
        let text = |audits| Summary { audits, ..summary() }.to_text();
        assert!(!text((0, 0)).contains("audited"));
        assert!(text((1, 0)).contains("\naudited 1 shard\ndigest  "), "{}", text((1, 0)));
        assert!(text((7, 2)).contains("\naudited 7 shards; 2 more could not be audited\n"));
        assert!(text((0, 2)).contains("\naudited 0 shards; 2 more could not be audited\n"));
    }

    #[test]
    fn warnings_and_the_matrix_come_last() {
        let mut summary = summary();
        summary.warnings = [("late".into(), 1), ("mute".into(), 3)].into();
        let warnings = "warning late: 1 example\nwarning mute: 3 examples\n";
        assert!(summary.to_text().ends_with(&format!("out.safetensors\n{warnings}")));
        assert!(summary.to_long_text().ends_with(&format!("{warnings}{MATRIX}")));
        let text = summary.to_evaluation_text();
        assert!(text.contains("split   test, 12 examples\n"), "{text}");
        assert!(text.ends_with(&format!("{warnings}{MATRIX}")), "{text}");
        summary.evaluation = None;
        assert_eq!(summary.to_long_text(), summary.to_text());
    }

    #[test]
    fn a_network_that_only_guesses_is_named() {
        assert_eq!(guessing(&[3, 0, 2, 1]), None, "4 of 6 are right, and 3 belong to one class");
        assert_eq!(guessing(&[3, 0, 3, 0]), Some((3, 6, 3)));
        assert_eq!(guessing(&[6, 0, 0, 0]), None, "nothing can be said of one class");
        assert_eq!((guessing(&[]), guessing(&[1, 2, 3])), (None, None));
        let mut summary = summary();
        let evaluation = summary.evaluation.as_mut().expect("one");
        evaluation.1.counts.insert(CONFUSION.into(), vec![3, 0, 3, 0]);
        let text = summary.to_text();
        assert!(text.contains("\nwarning no better than guessing: 3 of 6 are right, "), "{text}");
    }

    #[test]
    fn a_run_without_an_evaluation_has_a_result_all_the_same() {
        let (loss, accuracy) = (None, None);
        let last_round = (Some(0.5), Some(0.75), BTreeMap::new());
        let text = Summary { loss, accuracy, evaluation: None, last_round, ..summary() }.to_text();
        let line = "\nresult  loss 0.5000  accuracy 75.00 %  (of the last round: nothing was \
                    evaluated)\n";
        assert!(text.contains(line), "{text}");
        let last_round = (None, None, [("spikes".to_owned(), 21.5)].into());
        let text = Summary { loss, accuracy, evaluation: None, last_round, ..summary() }.to_text();
        assert!(text.contains("\nresult  spikes 21.5  (of the last round: "), "{text}");
    }

    #[test]
    fn what_a_model_measures_stands_in_place_of_an_accuracy() {
        let sums = [(LOSS, 6.0), ("absolute_error", 3.0)];
        let results = Results {
            examples: 12,
            sums: sums.map(|(name, sum)| (name.to_owned(), sum)).into(),
            ..Results::default()
        };
        let summary = Summary {
            loss: Some(0.5),
            accuracy: None,
            evaluation: Some((Split::Test, results)),
            ..summary()
        };
        let text = summary.to_long_text();
        assert!(text.contains("\nresult  loss 0.5000  absolute_error 0.2500\n"), "{text}");
        assert!(!text.contains("accuracy") && !text.contains("true"), "{text}");
    }

    #[test]
    fn names_of_classes_cannot_write_on_the_terminal() {
        let json = r#"{"understood":"x.csv: \u001b[31mred","shape":[2],"scale":1.0,
            "targets":{"classes":2},"classes":["\u001b[31mred","a\nb"]}"#;
        let splits = Splits { train: 1, test: 0 };
        let data = Some((Schema::from_json(json).unwrap(), splits));
        let text = Summary { data, ..summary() }.to_long_text();
        assert!(text.starts_with("data    x.csv: \\u{1b}[31mred\n"), "{text}");
        assert!(text.contains("\n\\u{1b}[31mred  5 ") && text.contains("\na\\nb "), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn matrices_are_square() {
        assert_eq!(confusion(&[5, 1, 0, 6], number), MATRIX);
        assert_eq!(confusion(&[1, 2, 3], number), "");
        assert_eq!(confusion(&[], number), "");
    }
}
