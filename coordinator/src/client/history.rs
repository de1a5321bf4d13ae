//! What a run reported on its way: kept beside its final state, for whoever
//! looks at the state later.
//!
//! ```text
//! RunEvent … ── Recorder::take ──▶ History ── JSON ──▶ metadata `samebit.history`
//! ```
//!
//! Only what belongs to the outcome is kept, never a time or a worker: equal
//! runs have equal histories.

use common::limits;
use common::results::CONFUSION;
use common::spec::Split;
use common::wire::message::RunEvent;
use serde::{Deserialize, Serialize};

/// Most rounds of a history, and most evaluations: runs of more keep every
/// second one, every fourth, and so on.
pub const HISTORY_POINTS: usize = 512;

/// Longest history that is read, in bytes of JSON: above what
/// [`HISTORY_POINTS`] and the largest confusion matrix need.
const HISTORY_BYTES: usize = 3 << 20;

/// What a run reported on its way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Training rounds, thinned, in their order; the last one is there.
    pub rounds: Vec<RoundPoint>,
    /// Evaluations, thinned, in their order; the last one is there.
    pub evaluations: Vec<EvaluationPoint>,
    /// The last evaluation's confusion matrix, `[true class, found class]`, row
    /// by row; empty where the model reports none.
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
    /// Mean training loss of the round, where the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Training accuracy of the round, 0 to 1, where the model reports one.
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
    /// The split that it judged by.
    pub split: Split,
    /// Examples that it judged by.
    pub examples: u64,
    /// Mean loss, where the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Accuracy, 0 to 1, where the model reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// Why a text is not a history.
#[derive(Debug, thiserror::Error)]
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
        /// What there is too much of.
        what: &'static str,
        /// Most that there may be.
        most: usize,
        /// What there was.
        found: usize,
    },
    /// An entry is not after the one before it.
    #[error("expected {what} in their order, found {found} after {before}")]
    Order {
        /// What is out of order.
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
        // Nothing here can fail to be JSON: no map, no value of the caller's.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`History::to_json`] wrote. Fields that a later version may
    /// add are passed over.
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

/// Makes a [`History`] of a run's events.
#[derive(Debug, Default)]
pub struct Recorder {
    rounds: Thinned<RoundPoint>,
    evaluations: Thinned<EvaluationPoint>,
    confusion: Vec<u64>,
    first_round: Option<u64>,
    last_round: u64,
    /// Of the rounds that were heard of.
    examples: u64,
    /// Of the run, as its end says.
    all_examples: Option<u64>,
}

impl Recorder {
    /// Takes in the next event.
    pub fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Round { round, epoch, examples, loss, accuracy, .. } => {
                self.first_round.get_or_insert(*round);
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
            RunEvent::Finished { examples, .. } => self.all_examples = Some(*examples),
            RunEvent::Queued { .. }
            | RunEvent::Started { .. }
            | RunEvent::Labelled { .. }
            | RunEvent::Worker { .. }
            | RunEvent::Resumed { .. }
            | RunEvent::Checkpoint { .. }
            | RunEvent::CheckpointFailed { .. }
            | RunEvent::Shards { .. }
            | RunEvent::State { .. }
            | RunEvent::Failed { .. }
            | RunEvent::Cancelled { .. } => {}
        }
    }

    /// The history of what was taken in. Of a very long run only the last
    /// events may have been heard: its counts of examples are right all the
    /// same, and evaluations whose round nobody knows are left out.
    pub fn finish(self) -> History {
        let unheard = self.all_examples.unwrap_or(self.examples).saturating_sub(self.examples);
        let mut rounds = self.rounds.finish();
        for point in &mut rounds {
            point.examples = point.examples.saturating_add(unheard);
        }
        let mut evaluations = self.evaluations.finish();
        if self.first_round.is_some_and(|first| first > 1) {
            evaluations.retain(|point| point.round > 0);
        }
        History { rounds, evaluations, confusion: self.confusion }
    }
}

/// JSON has no other numbers.
fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// Keeps every n-th of what is pushed, n doubled whenever there are too many,
/// and the last one. What is kept depends on how many came, and on nothing else.
#[derive(Debug)]
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
        // An item waits in `last` until the next one comes.
        let place = self.pushed.wrapping_sub(1);
        if let Some(before) = self.last.replace(item)
            && place.is_multiple_of(self.every)
        {
            self.keep(before, place);
        }
        self.pushed += 1;
    }

    fn keep(&mut self, item: T, place: u64) {
        // One place is for the last one.
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

    fn finish(mut self) -> Vec<T> {
        self.kept.extend(self.last);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::digest::Digest;
    use common::id::RunId;
    use common::results::Results;

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

    fn finished(examples: u64) -> RunEvent {
        let (run, digest) = (RunId(1), Digest::of(b"abc"));
        let (loss, accuracy) = (None, None);
        RunEvent::Finished {
            run,
            digest,
            rounds: 9,
            examples,
            seconds: 1.0,
            loss,
            accuracy,
            synchronisation_share: 0.5,
            warnings: Default::default(),
            offered: 0,
            audited: 0,
            unaudited: 0,
            unsaved: None,
        }
    }

    fn history(events: impl IntoIterator<Item = RunEvent>) -> History {
        let mut recorder = Recorder::default();
        events.into_iter().for_each(|event| recorder.take(&event));
        recorder.finish()
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let events = [round(1, 1), round(2, 1), evaluation(1, 5), round(3, 1), evaluation(2, 6)];
        let history = history(events.into_iter().chain([finished(30)]));
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
            what: "joined".into(),
            detail: String::new(),
        };
        let one = history([round(1, 1), evaluation(1, 5), round(2, 1), finished(20)]);
        let other =
            history([joined("a"), round(1, 7), evaluation(1, 5), round(2, 64), finished(20)]);
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
    fn a_run_whose_beginning_was_not_heard_counts_its_examples_from_the_start() {
        let history = history([evaluation(5, 1), round(8, 1), round(9, 1), finished(90)]);
        let examples: Vec<u64> = history.rounds.iter().map(|point| point.examples).collect();
        assert_eq!(examples, [80, 90]);
        assert_eq!(history.evaluations, [], "its round is not known");
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
        assert!(error(&history.to_json()).contains("rounds in their order, found 2 after 2"));
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
