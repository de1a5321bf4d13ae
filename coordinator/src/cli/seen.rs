//! What was shown of a run: a coordinator that comes back tells it from the
//! beginning, and does some of it again, to the same bits. Pure.

use common::wire::message::RunEvent;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Seen {
    is_started: bool,
    round: u64,
    /// Epochs before the last labelling, and before the last evaluation.
    labelled: Option<u64>,
    evaluated: Option<u64>,
}

impl Seen {
    /// Whether an event says something new.
    pub(super) fn is_news(&mut self, event: &RunEvent) -> bool {
        match event {
            RunEvent::Started { .. } => !std::mem::replace(&mut self.is_started, true),
            RunEvent::Round { round, .. } => {
                let is_news = *round > self.round;
                self.round = self.round.max(*round);
                is_news
            }
            RunEvent::Labelled { epochs, .. } => self.labelled.replace(*epochs) < Some(*epochs),
            RunEvent::Evaluation { epochs, .. } => self.evaluated.replace(*epochs) < Some(*epochs),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::RunId;

    use super::*;

    #[test]
    fn what_was_told_before_is_no_news() {
        let run = RunId(1);
        let mut seen = Seen::default();
        let labelled = |epochs| RunEvent::Labelled { run, epochs, examples: 1 };
        assert!(seen.is_news(&labelled(0)) && seen.is_news(&labelled(1)));
        assert!(!seen.is_news(&labelled(0)) && !seen.is_news(&labelled(0)));
        let resumed = RunEvent::Resumed { run, round: 1, rounds: 2, passed_over: None };
        assert!(seen.is_news(&resumed) && seen.is_news(&resumed));
    }
}
