//! Events of a run as columns of a step, and as JSON that keeps every bit: a client must get
//! the same event, whether it follows the run live or later.

use common::wire::message::RunEvent;
use serde_json::Value;

use super::error::LedgerError;
use super::rows::StepName;

/// Most steps whose events [`run_events`](super::LedgerReader::run_events) gives: of
/// longer runs the last ones.
pub const RUN_EVENTS: usize = 16 << 10;

/// The event of a merged step, by column.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) kind: StepName,
    /// The round, from 1; `None` for other steps.
    pub(super) round: Option<u64>,
    /// The epoch of a round, from 1; epochs trained before anything else.
    pub(super) epoch: u64,
    pub(super) examples: u64,
    pub(super) loss: Option<f64>,
    pub(super) accuracy: Option<f64>,
    /// As JSON.
    pub(super) metrics: Option<String>,
    pub(super) compute_ms: Option<f64>,
    pub(super) synchronisation_ms: Option<f64>,
    pub(super) bytes: Option<u64>,
    pub(super) workers: Option<u32>,
}

impl Columns {
    /// The columns of the event of a step.
    pub(super) fn of(step: u64, event: &RunEvent) -> Result<Self, LedgerError> {
        let nothing = Self {
            kind: StepName::Train,
            round: None,
            epoch: 0,
            examples: 0,
            loss: None,
            accuracy: None,
            metrics: None,
            compute_ms: None,
            synchronisation_ms: None,
            bytes: None,
            workers: None,
        };
        Ok(match event {
            RunEvent::Round {
                round,
                epoch,
                examples,
                loss,
                accuracy,
                metrics,
                partial_bytes,
                compute_ms,
                synchronisation_ms,
                workers,
                ..
            } => Self {
                round: Some(*round),
                epoch: *epoch,
                examples: *examples,
                loss: *loss,
                accuracy: *accuracy,
                metrics: (!metrics.is_empty()).then(|| text(metrics)),
                compute_ms: Some(*compute_ms),
                synchronisation_ms: Some(*synchronisation_ms),
                bytes: Some(*partial_bytes),
                workers: Some(*workers),
                ..nothing
            },
            RunEvent::Labelled { epochs, examples, .. } => {
                Self { kind: StepName::Label, epoch: *epochs, examples: *examples, ..nothing }
            }
            RunEvent::Predicted { examples, .. } => {
                Self { kind: StepName::Predict, examples: *examples, ..nothing }
            }
            RunEvent::Evaluation { epochs, results, loss, accuracy, .. } => Self {
                kind: StepName::Evaluate,
                epoch: *epochs,
                examples: results.examples,
                loss: *loss,
                accuracy: *accuracy,
                ..nothing
            },
            other => {
                let found = text(other).chars().take(80).collect();
                return Err(LedgerError::NotAStep { step, found });
            }
        }
        .finite())
    }

    /// SQLite has no NaN, and JSON no values that are not finite: both become `None`, as in
    /// the events that clients print.
    fn finite(mut self) -> Self {
        let columns = [
            &mut self.loss,
            &mut self.accuracy,
            &mut self.compute_ms,
            &mut self.synchronisation_ms,
        ];
        for column in columns {
            *column = column.filter(|value| value.is_finite());
        }
        self
    }
}

/// A value as JSON; numbers that are not finite become `null`.
pub(super) fn text(value: &impl serde::Serialize) -> String {
    // This only fails for maps whose keys are not text; ours are.
    serde_json::to_string(value).unwrap_or_default()
}

/// The event whose JSON was stored.
pub(super) fn from_json(json: &str) -> serde_json::Result<RunEvent> {
    serde_json::from_str(json).or_else(|_| {
        let mut value = serde_json::from_str(json)?;
        let lost = mend(&mut value);
        let mut event = serde_json::from_value(value)?;
        if let RunEvent::Evaluation { results, .. } = &mut event {
            results.sums.extend(lost.into_iter().map(|name| (name, f64::NAN)));
        }
        Ok(event)
    })
}

/// Replaces `null` where a number is required: times become 0. Returns the names of sums,
/// which become NaN again.
fn mend(event: &mut Value) -> Vec<String> {
    let mut lost = Vec::new();
    for map in ["/round/metrics", "/evaluation/results/sums"] {
        let Some(map) = event.pointer_mut(map).and_then(Value::as_object_mut) else { continue };
        lost.extend(map.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()));
        map.retain(|_, value| !value.is_null());
    }
    for time in [
        "/round/compute_ms",
        "/round/synchronisation_ms",
        "/round/examples_per_second",
        "/finished/seconds",
        "/finished/synchronisation_share",
    ] {
        if let Some(value) = event.pointer_mut(time).filter(|value| value.is_null()) {
            *value = 0.0.into();
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::RunId;
    use common::results::Results;
    use common::spec::Split;
    use proptest::prelude::*;

    fn evaluation(sum: f64, loss: Option<f64>) -> RunEvent {
        let results = Results {
            examples: 3,
            sums: [("loss".to_owned(), sum), ("spikes".to_owned(), 0.1)].into(),
            counts: [("correct".to_owned(), vec![u64::MAX, 1])].into(),
            ..Results::default()
        };
        let (run, split) = (RunId(1), Split::Test);
        RunEvent::Evaluation { run, epochs: 2, split, results, loss, accuracy: None }
    }

    fn round(figure: f64) -> RunEvent {
        RunEvent::Round {
            run: RunId(1),
            round: 1,
            rounds: 1,
            epoch: 1,
            examples: 1,
            loss: Some(figure),
            accuracy: Some(figure),
            metrics: [("spikes".to_owned(), figure)].into(),
            partial_bytes: 1,
            compute_ms: figure,
            synchronisation_ms: figure,
            examples_per_second: figure,
            workers: 1,
        }
    }

    proptest! {
        /// Equal runs write equal files, also where an event came from here.
        #[test]
        fn every_bit_comes_back(sum in any::<f64>(), loss in any::<f64>()) {
            let event = evaluation(sum, Some(loss).filter(|loss| loss.is_finite()));
            let back = from_json(&text(&event)).unwrap();
            if sum.is_finite() {
                prop_assert_eq!(back, event);
            } else {
                let RunEvent::Evaluation { results, .. } = back else { panic!("{back:?}") };
                prop_assert!(results.sums["loss"].is_nan() && results.sums["spikes"] == 0.1);
            }
        }
    }

    #[test]
    fn what_is_not_finite_breaks_nothing() {
        for figure in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let back = from_json(&text(&round(figure))).unwrap();
            let RunEvent::Round { loss, accuracy, metrics, compute_ms, .. } = back else {
                panic!("{back:?}")
            };
            assert_eq!((loss, accuracy, compute_ms), (None, None, 0.0));
            assert!(metrics.is_empty());
            let columns = Columns::of(0, &round(figure)).unwrap();
            assert_eq!((columns.loss, columns.compute_ms), (None, None));
        }
        assert_eq!(from_json(&text(&round(0.25))).unwrap(), round(0.25));
        assert!(from_json("{}").is_err() && from_json("").is_err());
    }

    #[test]
    fn only_steps_have_columns() {
        let error = Columns::of(7, &RunEvent::Cancelled { run: RunId(1) }).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("step 7") && error.contains("cancelled"), "{error}");
    }
}
