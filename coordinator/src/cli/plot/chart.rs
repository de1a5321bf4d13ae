//! Turns a history into the lines of a chart.

use super::draw::{Chart, Color, Panel, Series};
use crate::cli::report::split_name;
use crate::client::History;

/// Many points, in the background.
const TRAINING: Color = [122, 162, 196];
/// Few, important points.
const EVALUATION: Color = [214, 93, 14];

/// Accuracy and loss, of training and evaluations, over rounds and epochs.
pub(super) fn of_history(model: &str, history: &History) -> Chart {
    let (rounds, evaluations) = (&history.rounds, &history.evaluations);
    let percent = |share: Option<f64>| share.map(|share| share * 100.0);
    let split = evaluations.last().map_or("test", |last| split_name(last.split));
    let evaluated = format!("evaluation, {split} split");
    let accuracy = vec![
        line("training", false, rounds.iter().map(|at| (at.round, percent(at.accuracy)))),
        line(&evaluated, true, evaluations.iter().map(|at| (at.round, percent(at.accuracy)))),
    ];
    let loss = vec![
        line("training", false, rounds.iter().map(|at| (at.round, at.loss))),
        line(&evaluated, true, evaluations.iter().map(|at| (at.round, at.loss))),
    ];
    let (round, examples) = rounds.last().map_or((0, 0), |last| (last.round, last.examples));
    Chart {
        title: format!("{model}: {round} rounds, {examples} examples"),
        across: "round",
        above: ("epochs done", epochs(history)),
        panels: vec![
            Panel { name: "accuracy (%)", series: accuracy },
            Panel { name: "loss", series: loss },
        ],
    }
}

/// The reported values by round.
fn line(name: &str, marked: bool, values: impl Iterator<Item = (u64, Option<f64>)>) -> Series {
    let points = values.filter_map(|(round, value)| Some((round as f64, value?))).collect();
    let color = if marked { EVALUATION } else { TRAINING };
    Series { name: name.to_owned(), color, marked, points }
}

/// The rounds after which each epoch ended, as far as evaluations report them.
fn epochs(history: &History) -> Vec<(f64, u64)> {
    let evaluations = history.evaluations.iter().filter(|evaluation| evaluation.epochs > 0);
    let mut marks: Vec<(f64, u64)> =
        evaluations.map(|evaluation| (evaluation.round as f64, evaluation.epochs)).collect();
    marks.dedup_by_key(|mark| mark.1);
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{EvaluationPoint, RoundPoint};
    use common::spec::Split;

    #[test]
    fn only_what_was_reported_becomes_a_line() {
        let round = |round, accuracy| RoundPoint {
            round,
            epoch: 1,
            examples: round * 8,
            loss: None,
            accuracy,
        };
        let evaluation = |round, epochs| {
            let (split, loss, accuracy) = (Split::Train, Some(0.5), Some(0.75));
            EvaluationPoint { round, epochs, split, examples: 4, loss, accuracy }
        };
        let history = History {
            rounds: vec![round(1, Some(0.25)), round(2, None), round(3, Some(0.5))],
            evaluations: vec![evaluation(0, 0), evaluation(2, 1), evaluation(3, 1)],
            confusion: vec![],
        };
        let chart = of_history("mlp", &history);
        assert_eq!(chart.title, "mlp: 3 rounds, 24 examples");
        let [accuracy, loss] = &chart.panels[..] else { panic!("{chart:?}") };
        assert_eq!(accuracy.series[0].points, [(1.0, 25.0), (3.0, 50.0)]);
        assert_eq!(accuracy.series[1].points, [(0.0, 75.0), (2.0, 75.0), (3.0, 75.0)]);
        assert_eq!(accuracy.series[1].name, "evaluation, train split");
        assert_eq!(loss.series[0].points, []);
        assert_eq!(chart.above.1, [(2.0, 1)]);
        assert!(of_history("mlp", &History::default()).draw().is_err());
    }
}
