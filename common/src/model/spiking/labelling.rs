//! Labels and votes: how neurons that learnt without classes classify examples.
//!
//! A neuron gets the class whose examples it answers with the most spikes on average; an example is
//! assigned to the class whose neurons spike most on average (Diehl & Cook 2015, section 2.6). All
//! counts are integers and are compared by cross-multiplication, so rounding has no influence.

use crate::model::ModelError;

/// The label of a neuron that answered no example.
pub(super) const NO_LABEL: u64 = u64::MAX;

/// The place of the largest of some fractions `counts[i] / totals[i]`, the first
/// one of equals; those of a total of 0, or a count of 0, do not take part.
fn largest(fractions: impl Iterator<Item = (u64, u64)>) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    for (place, (count, total)) in fractions.enumerate() {
        if count == 0 || total == 0 {
            continue;
        }
        let is_larger = best.is_none_or(|(_, best_count, best_total)| {
            u128::from(count) * u128::from(best_total) > u128::from(best_count) * u128::from(total)
        });
        if is_larger {
            best = Some((place, count, total));
        }
    }
    best.map(|(place, ..)| place)
}

/// Each neuron's label. `responses` `[neurons, classes]` are its spikes by the
/// class of the example, `shown` `[classes]` the numbers of examples.
pub(super) fn labels(responses: &[u64], shown: &[u64]) -> impl Iterator<Item = u64> {
    responses.chunks_exact(shown.len()).map(|responses| {
        let fractions = responses.iter().copied().zip(shown.iter().copied());
        largest(fractions).map_or(NO_LABEL, |class| class as u64)
    })
}

/// The neurons' labels, ready to vote.
#[derive(Clone, Debug, Default)]
pub(super) struct Electorate {
    labels: Vec<u64>,
    /// Neurons of each class.
    sizes: Vec<u64>,
    votes: Vec<u64>,
}

impl Electorate {
    /// Reads labels, each a class below `classes` or [`NO_LABEL`].
    pub(super) fn load(&mut self, labels: &[u64], classes: usize) -> Result<(), ModelError> {
        self.labels.clear();
        self.labels.extend_from_slice(labels);
        self.sizes.clear();
        self.sizes.resize(classes, 0);
        for (neuron, label) in labels.iter().enumerate() {
            if *label == NO_LABEL {
                continue;
            }
            let size = usize::try_from(*label).ok().and_then(|class| self.sizes.get_mut(class));
            *size.ok_or_else(|| ModelError::Data {
                expected: format!("labels below {classes}, or {NO_LABEL} for none"),
                found: format!("{label} for neuron {neuron}"),
            })? += 1;
        }
        Ok(())
    }

    /// Whether any neuron has a label.
    pub(super) fn can_vote(&self) -> bool {
        self.sizes.iter().any(|size| *size > 0)
    }

    /// The class that the neurons' spikes stand for; `None` where none with a
    /// label has spiked.
    pub(super) fn vote(&mut self, spikes: &[u32]) -> Option<usize> {
        self.count(spikes);
        largest(self.votes.iter().copied().zip(self.sizes.iter().copied()))
    }

    /// The mean spikes of each class's neurons; 0 for a class without any.
    pub(super) fn means(&mut self, spikes: &[u32]) -> impl Iterator<Item = f32> + '_ {
        self.count(spikes);
        let mean = |(votes, size): (&u64, &u64)| (*votes as f64 / (*size).max(1) as f64) as f32;
        self.votes.iter().zip(&self.sizes).map(mean)
    }

    fn count(&mut self, spikes: &[u32]) {
        self.votes.clear();
        self.votes.resize(self.sizes.len(), 0);
        for (label, spikes) in self.labels.iter().zip(spikes) {
            if *label != NO_LABEL {
                self.votes[*label as usize] += u64::from(*spikes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neuron_is_of_the_class_with_the_highest_mean_response() {
        // 3 spikes for 3 examples of class 0, 2 for one of class 1.
        let responses = [3, 2, 0, 0, 0, 0, 6, 2, 0];
        let found: Vec<u64> = labels(&responses, &[3, 1, 5]).collect();
        assert_eq!(found, [1, NO_LABEL, 0], "the first one of equals");
    }

    #[test]
    fn votes_are_means_over_the_neurons_of_a_class() {
        let mut electorate = Electorate::default();
        electorate.load(&[0, 0, 0, 1, NO_LABEL], 3).unwrap();
        assert!(electorate.can_vote());
        assert_eq!(electorate.vote(&[1, 1, 0, 1, 9]), Some(1));
        assert_eq!(electorate.vote(&[1, 1, 2, 1, 0]), Some(0));
        assert_eq!(electorate.vote(&[1, 1, 1, 1, 0]), Some(0), "the first one of equals");
        assert_eq!(electorate.vote(&[0, 0, 0, 0, 7]), None);
        assert_eq!(electorate.means(&[1, 1, 2, 1, 9]).collect::<Vec<_>>(), [4.0 / 3.0, 1.0, 0.0]);
        let error = electorate.load(&[3], 3).unwrap_err().to_string();
        assert!(error.contains("labels below 3") && error.contains("3 for neuron 0"), "{error}");
        electorate.load(&[NO_LABEL], 3).unwrap();
        assert!(!electorate.can_vote());
    }
}
