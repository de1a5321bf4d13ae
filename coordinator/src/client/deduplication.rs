//! De-duplicates the events of a run. After a reconnect a coordinator sends them from the
//! beginning, and a restarted coordinator repeats some steps, to the same bits. Pure.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::wire::message::RunEvent;

/// Limit of events that are remembered one by one: a coordinator resends no more of a run.
const TOLD: usize = 16 << 10;

/// The events of a run that a client has received.
#[derive(Debug, Default)]
pub struct Deduplication {
    is_started: bool,
    round: u64,
    /// Epochs before the last labelling, and before the last evaluation.
    labelled: Option<u64>,
    evaluated: Option<u64>,
    /// Examples that were predicted.
    predicted: Option<u64>,
    /// The round of the last checkpoint.
    checkpoint: Option<u64>,
    /// How often each other event was received: before, and on this connection.
    told: BTreeMap<Digest, u64>,
    retold: BTreeMap<Digest, u64>,
}

impl Deduplication {
    /// The next events start at the run's beginning.
    pub fn reconnected(&mut self) {
        self.retold.clear();
    }

    /// Whether an event is new.
    pub fn is_news(&mut self, event: &RunEvent) -> bool {
        match event {
            RunEvent::Started { .. } => !std::mem::replace(&mut self.is_started, true),
            RunEvent::Round { round, .. } => {
                let is_news = *round > self.round;
                self.round = self.round.max(*round);
                is_news
            }
            RunEvent::Labelled { epochs, .. } => is_later(&mut self.labelled, *epochs),
            RunEvent::Predicted { examples, .. } => is_later(&mut self.predicted, *examples),
            RunEvent::Evaluation { epochs, .. } => is_later(&mut self.evaluated, *epochs),
            RunEvent::Checkpoint { round, .. } => is_later(&mut self.checkpoint, *round),
            event if event.is_last() => true,
            event => self.is_told_more_often(event),
        }
    }

    /// Whether an event was received more often on this connection than on any before.
    fn is_told_more_often(&mut self, event: &RunEvent) -> bool {
        if self.told.len() >= TOLD {
            self.told.clear();
            self.retold.clear();
        }
        // Encoding an event as JSON cannot fail; if it did, the event would be shown.
        let Ok(text) = serde_json::to_vec(event) else { return true };
        let event = Digest::of(&text);
        let retold = self.retold.entry(event).or_default();
        *retold += 1;
        let told = self.told.entry(event).or_default();
        let is_news = *retold > *told;
        *told = (*told).max(*retold);
        is_news
    }
}

/// Whether a place is after the last one; if so, it becomes the last one.
fn is_later(last: &mut Option<u64>, place: u64) -> bool {
    let is_later = *last < Some(place);
    *last = (*last).max(Some(place));
    is_later
}

#[cfg(test)]
mod tests {
    use common::id::RunId;
    use common::results::Results;
    use common::spec::Split;
    use common::worker_event::WorkerEvent;

    use super::*;

    #[test]
    fn what_was_told_before_is_no_news() {
        let run = RunId(1);
        let mut seen = Deduplication::default();
        let labelled = |epochs| RunEvent::Labelled { run, epochs, examples: 1 };
        assert!(seen.is_news(&labelled(0)) && seen.is_news(&labelled(1)));
        assert!(!seen.is_news(&labelled(0)) && !seen.is_news(&labelled(0)));
        assert!(!seen.is_news(&labelled(1)), "the last one is remembered");
        let resumed = RunEvent::Resumed { run, round: 1, rounds: 2, passed_over: None };
        assert!(seen.is_news(&resumed) && seen.is_news(&resumed));
        seen.reconnected();
        assert!(!seen.is_news(&resumed) && !seen.is_news(&resumed), "told again");
        assert!(seen.is_news(&resumed), "once more than before");
        let end = RunEvent::Cancelled { run };
        assert!(seen.is_news(&end) && seen.is_news(&end));
    }

    #[test]
    fn a_run_that_is_told_again_and_again_is_shown_once() {
        let run = RunId(1);
        let told: Vec<RunEvent> = (1..=20)
            .flat_map(|epochs| {
                let (split, results) = (Split::Test, Results::default());
                let (loss, accuracy, worker) = (None, None, format!("worker-{}", epochs % 3));
                let (what, detail) = (WorkerEvent::Lost, String::new());
                let digest = Digest::of(b"state");
                [
                    RunEvent::Evaluation { run, epochs, split, results, loss, accuracy },
                    RunEvent::Worker { run, worker, what, detail },
                    RunEvent::Checkpoint { run, round: epochs, digest, bytes: 1, ms: 0.5 },
                ]
            })
            .collect();
        let mut seen = Deduplication::default();
        let mut shown = Vec::new();
        for heard in [7, 20, 41, 60] {
            seen.reconnected();
            shown.extend(told[..heard].iter().filter(|event| seen.is_news(event)));
        }
        assert_eq!(shown, told.iter().collect::<Vec<_>>());
    }
}
