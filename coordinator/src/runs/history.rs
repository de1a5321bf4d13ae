//! The history of a run: the results that it reported, stored with its final state.
//!
//! ```text
//! RunEvent … ── HistorySoFar::take ──▶ History ── JSON ──▶ metadata `samebit.history`
//!                    │  ▲
//!                 checkpoints
//! ```
//!
//! It has no times and no workers. Every checkpoint contains the history so far, so a
//! restored run continues with the matching history: equal runs have equal histories,
//! whatever was killed on the way.

use common::limits::{self, HISTORY_BYTES};
use common::results::CONFUSION;
use common::spec::Split;
use common::wire::message::RunEvent;
use serde::{Deserialize, Serialize};

/// Limit of rounds in a history, and of evaluations: longer runs keep every second one, every
/// fourth, and so on.
pub const HISTORY_POINTS: usize = 512;

/// The history of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Training rounds, thinned, in order, including the last one.
    pub rounds: Vec<RoundPoint>,
    /// Evaluations, thinned, in order, including the last one.
    pub evaluations: Vec<EvaluationPoint>,
    /// The last evaluation's confusion matrix, `[true class, found class]`, row
    /// by row; empty if the model reports none.
    pub confusion: Vec<u64>,
}

/// One training round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundPoint {
    /// The round, from 1.
    pub round: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Examples processed up to and with this round.
    pub examples: u64,
    /// Mean training loss of the round, if the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Training accuracy of the round, 0 to 1, if the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationPoint {
    /// Training rounds done before it.
    pub round: u64,
    /// Epochs trained before it.
    pub epochs: u64,
    /// The evaluated split.
    pub split: Split,
    /// Evaluated examples.
    pub examples: u64,
    /// Mean loss, if the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Accuracy, 0 to 1, if the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// Why a text is not a valid history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The text is too long.
    #[error("expected a history of at most {HISTORY_BYTES} bytes, found {0}")]
    Long(usize),
    /// The text is not the JSON of a history.
    #[error("expected the JSON of a history, found: {0}")]
    Json(#[from] serde_json::Error),
    /// A list has too many entries.
    #[error("expected at most {most} {what}, found {found}")]
    Many {
        /// The kind of entries.
        what: &'static str,
        /// The limit.
        most: usize,
        /// The number found.
        found: usize,
    },
    /// An entry is not after the one before it.
    #[error("expected {what} in ascending order, found {found} after {before}")]
    Order {
        /// The kind of entries.
        what: &'static str,
        /// The round before it.
        before: u64,
        /// Its round.
        found: u64,
    },
    /// An accuracy is not a share.
    #[error("expected an accuracy from 0 to 1, found {0}")]
    Accuracy(f64),
}

impl History {
    /// The history as JSON. Equal histories make equal texts.
    pub fn to_json(&self) -> String {
        // This cannot fail: there are no maps and no values of a caller.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the output of [`History::to_json`]. Unknown fields of later versions are
    /// ignored.
    pub fn from_json(text: &str) -> Result<Self, HistoryError> {
        if text.len() > HISTORY_BYTES {
            return Err(HistoryError::Long(text.len()));
        }
        let history: Self = serde_json::from_str(text)?;
        at_most(HISTORY_POINTS, "rounds", history.rounds.len())?;
        at_most(HISTORY_POINTS, "evaluations", history.evaluations.len())?;
        at_most(limits::RESULT_COUNTS, "counts", history.confusion.len())?;
        for pair in history.rounds.windows(2) {
            in_order("rounds", pair[0].round, pair[1].round, pair[0].round < pair[1].round)?;
        }
        for pair in history.evaluations.windows(2) {
            in_order("evaluations", pair[0].round, pair[1].round, pair[0].round <= pair[1].round)?;
        }
        let rounds = history.rounds.iter().filter_map(|point| point.accuracy);
        let evaluations = history.evaluations.iter().filter_map(|point| point.accuracy);
        match rounds.chain(evaluations).find(|accuracy| !(0.0..=1.0).contains(accuracy)) {
            Some(accuracy) => Err(HistoryError::Accuracy(accuracy)),
            None => Ok(history),
        }
    }
}

fn at_most(most: usize, what: &'static str, found: usize) -> Result<(), HistoryError> {
    if found <= most { Ok(()) } else { Err(HistoryError::Many { what, most, found }) }
}

fn in_order(what: &'static str, before: u64, found: u64, holds: bool) -> Result<(), HistoryError> {
    if holds { Ok(()) } else { Err(HistoryError::Order { what, before, found }) }
}

/// The [`History`] of an unfinished run, built from its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistorySoFar {
    rounds: Thinned<RoundPoint>,
    evaluations: Thinned<EvaluationPoint>,
    confusion: Vec<u64>,
    last_round: u64,
    /// Examples of all rounds.
    examples: u64,
}

impl HistorySoFar {
    /// Adds the next event.
    pub fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Round { round, epoch, examples, loss, accuracy, .. } => {
                self.last_round = *round;
                self.examples = self.examples.saturating_add(*examples);
                self.rounds.push(RoundPoint {
                    round: *round,
                    epoch: *epoch,
                    examples: self.examples,
                    loss: finite(*loss),
                    accuracy: finite(*accuracy),
                });
            }
            RunEvent::Evaluation { epochs, split, results, loss, accuracy, .. } => {
                self.confusion = results.counts.get(CONFUSION).cloned().unwrap_or_default();
                self.evaluations.push(EvaluationPoint {
                    round: self.last_round,
                    epochs: *epochs,
                    split: *split,
                    examples: results.examples,
                    loss: finite(*loss),
                    accuracy: finite(*accuracy),
                });
            }
            RunEvent::Queued { .. }
            | RunEvent::Started { .. }
            | RunEvent::Labelled { .. }
            | RunEvent::Predicted { .. }
            | RunEvent::Worker { .. }
            | RunEvent::Resumed { .. }
            | RunEvent::Checkpoint { .. }
            | RunEvent::CheckpointFailed { .. }
            | RunEvent::Shards { .. }
            | RunEvent::State { .. }
            | RunEvent::Finished { .. }
            | RunEvent::Failed { .. }
            | RunEvent::Cancelled { .. } => {}
            // Events may be added.
            _ => {}
        }
    }

    /// The history of the events so far.
    pub fn history(&self) -> History {
        let (rounds, evaluations) = (self.rounds.all(), self.evaluations.all());
        History { rounds, evaluations, confusion: self.confusion.clone() }
    }
}

/// Keeps finite numbers, as JSON has no others.
fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// Keeps every n-th pushed item and the last one; n is doubled whenever there are too many.
/// The kept items depend only on the number of pushed items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thinned<T> {
    every: u64,
    pushed: u64,
    kept: Vec<T>,
    last: Option<T>,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self { every: 1, pushed: 0, kept: Vec::new(), last: None }
    }
}

impl<T> Thinned<T> {
    fn push(&mut self, item: T) {
        // An item stays in `last` until the next one is pushed.
        let place = self.pushed.wrapping_sub(1);
        if let Some(before) = self.last.replace(item)
            && place.is_multiple_of(self.every)
        {
            self.keep(before, place);
        }
        self.pushed += 1;
    }

    fn keep(&mut self, item: T, place: u64) {
        // One entry is reserved for the last item.
        if self.kept.len() == HISTORY_POINTS - 1 {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
        if place.is_multiple_of(self.every) {
            self.kept.push(item);
        }
    }

    fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.kept.iter().chain(&self.last).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::RunId;
    use common::results::Results;
    use common::worker_event::WorkerEvent;

    /// A round as another cluster would report it at another time.
    fn round(round: u64, workers: u32) -> RunEvent {
        RunEvent::Round {
            run: RunId(u64::from(workers)),
            round,
            rounds: 9,
            epoch: 1 + round / 4,
            examples: 10,
            loss: Some(1.0 / round as f64),
            accuracy: (round != 2).then_some(0.5),
            metrics: Default::default(),
            partial_bytes: u64::from(workers),
            compute_ms: f64::from(workers),
            synchronisation_ms: 0.5,
            examples_per_second: 3.0,
            workers,
        }
    }

    fn evaluation(epochs: u64, correct: u64) -> RunEvent {
        let counts = [(CONFUSION.to_owned(), vec![correct, 1, 0, 3])].into();
        let results = Results { examples: 4 + correct, counts, ..Results::default() };
        let (run, split) = (RunId(1), Split::Test);
        RunEvent::Evaluation { run, epochs, split, results, loss: Some(0.25), accuracy: Some(0.75) }
    }

    fn taken(events: impl IntoIterator<Item = RunEvent>) -> HistorySoFar {
        let mut so_far = HistorySoFar::default();
        events.into_iter().for_each(|event| so_far.take(&event));
        so_far
    }

    fn history(events: impl IntoIterator<Item = RunEvent>) -> History {
        taken(events).history()
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let events = [round(1, 1), round(2, 1), evaluation(1, 5), round(3, 1), evaluation(2, 6)];
        let history = history(events);
        assert_eq!(History::from_json(&history.to_json()).unwrap(), history);
        let examples: Vec<u64> = history.rounds.iter().map(|point| point.examples).collect();
        assert_eq!(examples, [10, 20, 30]);
        assert_eq!(history.rounds[1].accuracy, None);
        let rounds: Vec<u64> = history.evaluations.iter().map(|point| point.round).collect();
        assert_eq!(rounds, [2, 3]);
        assert_eq!(history.confusion, [6, 1, 0, 3], "that of the last evaluation");
        let text = r#"{"round":2,"epoch":1,"examples":20,"loss":0.5}"#;
        assert!(history.to_json().contains(text), "{}", history.to_json());
    }

    #[test]
    fn equal_outcomes_have_equal_histories_on_any_cluster() {
        let joined = |name: &str| RunEvent::Worker {
            run: RunId(1),
            worker: name.into(),
            what: WorkerEvent::Joined,
            detail: String::new(),
        };
        let one = history([round(1, 1), evaluation(1, 5), round(2, 1)]);
        let other = history([joined("a"), round(1, 7), evaluation(1, 5), round(2, 64)]);
        assert_eq!(one.to_json(), other.to_json());
    }

    #[test]
    fn long_runs_are_thinned_evenly_and_keep_their_end() {
        for rounds in [1, 2, 511, 512, 513, 514, 1023, 1024, 1025, 5000, 100_000] {
            let history = history((1..=rounds).map(|number| round(number, 1)));
            let kept: Vec<u64> = history.rounds.iter().map(|point| point.round).collect();
            assert!(kept.len() <= HISTORY_POINTS, "{rounds}: {}", kept.len());
            assert!(kept.len() as u64 >= rounds.min(200), "{rounds}: {}", kept.len());
            assert_eq!((kept[0], *kept.last().unwrap()), (1, rounds));
            let step = |pair: &[u64]| pair[1] - pair[0];
            let steps: Vec<u64> = kept[..kept.len() - 1].windows(2).map(step).collect();
            assert!(steps.windows(2).all(|pair| pair[0] == pair[1]), "{rounds}: {steps:?}");
            assert_eq!(history.rounds.last().unwrap().examples, 10 * rounds);
            assert!(History::from_json(&history.to_json()).is_ok());
        }
    }

    #[test]
    fn a_run_that_goes_back_to_a_checkpoint_has_the_history_of_one_that_never_did() {
        let event = |place: u64| match place % 5 {
            4 => evaluation(place / 5 + 1, place % 7),
            _ => round(place - place / 5 + 1, 1),
        };
        for events in [3, 400, 1400] {
            let expected = history((0..events).map(event)).to_json();
            for kept in [0, 1, 4, 5, 513, 1025].into_iter().filter(|kept| *kept <= events) {
                let checkpoint = serde_json::to_string(&taken((0..kept).map(event))).unwrap();
                let mut so_far: HistorySoFar = serde_json::from_str(&checkpoint).unwrap();
                assert_eq!(so_far, taken((0..kept).map(event)));
                (kept..events).for_each(|place| so_far.take(&event(place)));
                assert_eq!(so_far.history().to_json(), expected, "{kept} of {events}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut event = round(1, 1);
        if let RunEvent::Round { loss, .. } = &mut event {
            *loss = Some(f64::NAN);
        }
        let history = history([event]);
        assert_eq!(history.rounds[0].loss, None);
        assert!(History::from_json(&history.to_json()).is_ok());
    }

    #[test]
    fn bounds_have_names() {
        let error = |text: &str| History::from_json(text).unwrap_err().to_string();
        assert!(error("[").contains("the JSON of a history"));
        assert!(error(&" ".repeat(HISTORY_BYTES + 1)).contains("at most 3145728 bytes"));
        let mut history = history((1..=3).map(|number| round(number, 1)));
        history.rounds[2].round = 2;
        assert!(error(&history.to_json()).contains("rounds in ascending order, found 2 after 2"));
        history.rounds[2].round = 3;
        history.rounds[2].accuracy = Some(1.5);
        assert!(error(&history.to_json()).contains("from 0 to 1, found 1.5"));
        history.rounds = vec![history.rounds[0].clone(); HISTORY_POINTS + 1];
        assert!(error(&history.to_json()).contains("at most 512 rounds, found 513"));
        history.rounds.clear();
        history.confusion = vec![0; limits::RESULT_COUNTS + 1];
        assert!(error(&history.to_json()).contains("counts"));
        history.confusion = vec![u64::MAX; limits::RESULT_COUNTS];
        assert!(History::from_json(&history.to_json()).is_ok(), "the largest one fits");
    }
}
