//! Warnings of a run's model.

use std::collections::{BTreeMap, BTreeSet};

use common::limits;
use common::plan::StepKind;
use common::results::Results;

use crate::runs::Progress;

/// Warnings of a run so far: number of examples, by warning.
#[derive(Debug, Default)]
pub(in crate::server) struct Warnings {
    /// Of all training rounds.
    training: BTreeMap<String, u64>,
    /// Of the last labelling.
    labelling: BTreeMap<String, u64>,
    /// Of the last evaluation.
    evaluation: BTreeMap<String, u64>,
    /// Warnings that were logged: each once, as most are repeated every round.
    logged: BTreeSet<String>,
}

impl Warnings {
    /// Adds the warnings of a step, and returns the new ones. Beyond [`limits::RESULT_NAMES`]
    /// different warnings, further ones are dropped.
    pub(in crate::server) fn take(
        &mut self,
        kind: StepKind,
        results: &Results,
    ) -> Vec<(String, u64)> {
        let of_kind = match kind {
            StepKind::Train { .. } => &mut self.training,
            StepKind::Label { .. } => &mut self.labelling,
            StepKind::Evaluate { .. } | StepKind::Predict { .. } => &mut self.evaluation,
        };
        if !matches!(kind, StepKind::Train { .. }) {
            of_kind.clear();
        }
        let mut new = Vec::new();
        for (name, count) in results.warnings() {
            if !self.logged.contains(name) {
                if self.logged.len() == limits::RESULT_NAMES {
                    continue;
                }
                self.logged.insert(name.to_owned());
                new.push((name.to_owned(), count));
            }
            add(of_kind, name, count);
        }
        new
    }

    /// The warnings of training rounds, of the last labelling, and of the last evaluation.
    pub(in crate::server) fn parts(&self) -> [&BTreeMap<String, u64>; 3] {
        [&self.training, &self.labelling, &self.evaluation]
    }

    /// The warnings of a run that continues: its [`Warnings::parts`].
    pub(in crate::server) fn of_progress(progress: &Progress) -> Self {
        let Progress { training_warnings, labelling_warnings, evaluation_warnings, .. } = progress;
        let (training, labelling) = (training_warnings.clone(), labelling_warnings.clone());
        let evaluation = evaluation_warnings.clone();
        let logged = training.keys().chain(labelling.keys()).chain(evaluation.keys());
        Self { logged: logged.cloned().collect(), training, labelling, evaluation }
    }

    /// All warnings, added up.
    pub(in crate::server) fn total(&self) -> BTreeMap<String, u64> {
        let mut total = self.training.clone();
        for (name, count) in self.labelling.iter().chain(&self.evaluation) {
            add(&mut total, name, *count);
        }
        total
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    let sum = counts.entry(name.to_owned()).or_default();
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use common::spec::Split;

    use super::*;

    fn results(warnings: &[(&str, u64)]) -> Results {
        let named = warnings.iter().map(|(name, count)| (format!("warning.{name}"), vec![*count]));
        Results { counts: named.collect(), ..Results::default() }
    }

    fn owned(warnings: &[(&str, u64)]) -> Vec<(String, u64)> {
        warnings.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn rounds_add_up_and_of_other_steps_the_last_counts() {
        let round = StepKind::Train { round: 0, epoch: 0, first: 0 };
        let evaluation = StepKind::Evaluate { split: Split::Test, epochs: 1 };
        let label = StepKind::Label { epochs: 1 };
        let mut warnings = Warnings::default();
        assert_eq!(warnings.take(round, &results(&[("mute", 3)])), owned(&[("mute", 3)]));
        assert_eq!(warnings.take(round, &results(&[("mute", 2)])), []);
        assert_eq!(warnings.take(evaluation, &results(&[("odd", 50)])), owned(&[("odd", 50)]));
        warnings.take(label, &results(&[("mute", 1)]));
        warnings.take(evaluation, &results(&[("mute", 10)]));
        assert_eq!(warnings.total(), owned(&[("mute", 16)]).into_iter().collect());
    }

    #[test]
    fn names_are_bounded() {
        let mut warnings = Warnings::default();
        for at in 0..100u64 {
            let round = StepKind::Train { round: at, epoch: 0, first: 0 };
            warnings.take(round, &results(&[(&at.to_string(), 1)]));
        }
        assert_eq!(warnings.total().len(), limits::RESULT_NAMES);
    }
}
