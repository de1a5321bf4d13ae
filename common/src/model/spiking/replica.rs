//! One replica of the network, and its contribution to a merge.
//!
//! A replica keeps, for every neuron that spikes in a shard, the product of the
//! factors its column was rescaled by. The shard's effect on column `j` is then
//! the affine map `x → f·x + (w − f·w0)`, with `w0` the column before and `w`
//! after; neurons that did not spike contribute nothing. Composed in the order
//! of the replicas, the maps are what the shards would have done one after
//! another.
//!
//! Thresholds rise by `theta_plus · s` and decay by `d^s` in a replica, `s` the
//! *theta step*: the other replicas present examples meanwhile, and a neuron
//! that wins here should not win again at once. The contribution takes `s` out
//! again: `x → d^m · x + (theta − theta0 · d^(s·m)) / s` after `m` presentations.

use std::sync::Arc;

use ndarray::ArrayView1;

use super::Design;
use super::counts::{TOO_FEW_SPIKES, UNDECIDED, named, presented};
use super::encoding::Purpose;
use super::events::Events;
use super::labelling::Electorate;
use super::lanes::GROUP;
use super::normalisation::rescale_group;
use super::presentation::{Network, Presenter, Task};
use super::weights::Weights;
use super::{EXAMPLES, LABELS, PRESENTATIONS, RESPONSES, SHOWN, SPIKES, THETA, WEIGHTS};
use crate::merge::{UnitCounts, UnitMaps};
use crate::model::kernel::Isa;
use crate::model::{Batch, ModelError, Replica};
use crate::results::{CONFUSION, CORRECT, Results};
use crate::state::{NetworkState, Revision, StateError};

/// See [`super::Spiking`]. All memory is allocated once.
#[derive(Debug)]
pub(super) struct SpikingReplica {
    design: Arc<Design>,
    isa: Isa,
    presenter: Presenter,
    events: Events,
    /// Brightness of the example's inputs.
    levels: Vec<u8>,
    weights: Weights,
    /// The state that the weights were loaded from.
    loaded: Option<Revision>,
    theta: Vec<f32>,
    /// Counters, labels and theta are up to date; the weights are when asked
    /// for.
    state: NetworkState,
    electorate: Electorate,
    learnt: Learnt,
}

/// What the replica did since `begin`.
#[derive(Debug, Default)]
struct Learnt {
    /// Thresholds before.
    theta: Vec<f32>,
    /// Product of the factors that each neuron's column was rescaled by.
    factors: Vec<f32>,
    /// Spikes of each neuron.
    spikes: Vec<u64>,
    /// Presentations.
    presentations: u64,
}

impl SpikingReplica {
    /// An instance that uses `isa`.
    pub(super) fn new(design: Arc<Design>, isa: Isa) -> Self {
        let (inputs, neurons) = (design.settings.inputs, design.settings.neurons);
        Self {
            isa,
            presenter: Presenter::new(isa, inputs, neurons),
            events: Events::new(inputs, (design.settings.steps(), design.settings.rest_steps())),
            levels: vec![0; inputs],
            weights: Weights::new(inputs, neurons),
            loaded: None,
            theta: vec![0.0; neurons],
            state: NetworkState::default(),
            electorate: Electorate::default(),
            learnt: Learnt::default(),
            design,
        }
    }

    /// Reads the brightness of an example's inputs.
    fn load_levels(&mut self, batch: &Batch<'_>, row: usize) -> Result<(), ModelError> {
        let features: ArrayView1<'_, f32> = batch.features.row(row);
        if features.len() != self.levels.len() {
            return Err(ModelError::Data {
                expected: format!("{} features", self.levels.len()),
                found: format!("{} features", features.len()),
            });
        }
        // Without a way out in the middle, this is done with vectors.
        let mut all_right = true;
        for (level, feature) in self.levels.iter_mut().zip(features) {
            all_right &= (0.0..=1.0).contains(feature);
            *level = (feature * 255.0 + 0.5) as u8;
        }
        if !all_right {
            let mut features = features.iter().enumerate();
            let wrong = features.find(|(_, feature)| !(0.0..=1.0).contains(*feature));
            let (place, feature) = wrong.expect("one is wrong");
            return Err(ModelError::Data {
                expected: "features from 0 to 1 (`dataset.scale` divides them)".into(),
                found: format!("{feature}, feature {place} of example {}", batch.examples[row]),
            });
        }
        Ok(())
    }

    /// Presents an example until it makes enough spikes, brighter each time.
    /// `after` is called after each presentation with its number of spikes.
    /// Returns whether it made enough, and the number of presentations.
    fn present(
        &mut self,
        (purpose, epoch, example): (Purpose, u64, u64),
        mut after: impl FnMut(&mut Self, u32),
    ) -> (bool, u64) {
        let design = Arc::clone(&self.design);
        for attempt in 0..design.encoder.attempts() {
            let key = (purpose, epoch, example, attempt);
            design.encoder.encode(&self.levels, key, &mut self.events);
            let mut network = Network { weights: &mut self.weights, theta: &mut self.theta };
            let task = Task {
                events: &self.events,
                dynamics: &design.dynamics,
                learns: purpose == Purpose::Train,
                // What is counted must not depend on how examples are split.
                carries: purpose == Purpose::Train && !design.settings.clean_start,
            };
            let spikes = self.presenter.present(&mut network, &task);
            after(self, spikes);
            if spikes >= design.settings.least_spikes {
                return (true, u64::from(attempt) + 1);
            }
        }
        (false, u64::from(design.encoder.attempts()))
    }

    /// After a presentation that was learnt from: columns of neurons that
    /// spiked are rescaled, thresholds decay.
    fn end_presentation(&mut self) {
        let design = Arc::clone(&self.design);
        let spikes = self.presenter.spikes();
        for group in self.presenter.active() {
            let first = group * GROUP;
            let mut changed = [false; GROUP];
            for (changed, spikes) in changed.iter_mut().zip(&spikes[first..]) {
                *changed = *spikes > 0;
            }
            if changed == [false; GROUP] {
                continue;
            }
            let sum = design.settings.weight_sum as f32;
            let factors = rescale_group(self.isa, &mut self.weights, *group, changed, sum);
            for (product, factor) in self.learnt.factors[first..].iter_mut().zip(factors.0) {
                *product *= factor;
            }
        }
        for theta in &mut self.theta {
            *theta *= design.dynamics.theta_decay;
        }
        for (all, spikes) in self.learnt.spikes.iter_mut().zip(spikes) {
            *all += u64::from(*spikes);
        }
        self.learnt.presentations += 1;
    }

    /// Checks labels, and that there are as many as examples, if there are classes.
    fn check_labels(&self, batch: &Batch<'_>) -> Result<(), ModelError> {
        let classes = self.design.settings.classes;
        if classes == 0 {
            return Ok(());
        }
        let labels = batch.classes()?;
        let count = (labels.len(), batch.examples.len());
        if count != (batch.features.nrows(), batch.features.nrows()) {
            return Err(ModelError::Data {
                expected: format!("a label and a number for {} examples", batch.features.nrows()),
                found: format!("{} labels, {} numbers", count.0, count.1),
            });
        }
        match labels.iter().find(|label| **label as usize >= classes) {
            None => Ok(()),
            Some(label) => Err(ModelError::Data {
                expected: format!("labels below {classes}"),
                found: format!("the label {label}"),
            }),
        }
    }

    fn check_labelled(&self) -> Result<(), ModelError> {
        if self.electorate.can_vote() {
            return Ok(());
        }
        Err(ModelError::Other(self.why_no_labels()?))
    }

    /// Why no neuron has a label, as far as the state tells, and what to do.
    fn why_no_labels(&self) -> Result<String, ModelError> {
        let counter = |name: &str| Ok::<u64, StateError>(self.state.u64(name)?[[0]]);
        let (examples, spikes) = (counter(EXAMPLES)?, counter(SPIKES)?);
        let settings = &self.design.settings;
        let advice = format!(
            "features have to reach from 0 to 1: set `dataset.normalise` to \"minmax\", or \
             `dataset.scale` to the largest feature; or raise `parameters.rate_hz` (now {}) or \
             `parameters.intensity_limit` (now {})",
            settings.rate, settings.intensity_limit
        );
        Ok(if examples > 0 && spikes == 0 {
            format!(
                "no neuron has a label, as none of the {examples} examples that it was trained on \
                 made a neuron spike, even at the highest intensity: {advice}"
            )
        } else {
            format!(
                "no neuron has a label: set `evaluation.labelling` to true, and give a training \
                 split; if that is so, no example of that split made a neuron spike: {advice}"
            )
        })
    }

    /// Presents a batch without asking for its classes. `after` is called after each presentation.
    fn show(
        &mut self,
        batch: &Batch<'_>,
        (purpose, epoch): (Purpose, u64),
        after: fn(&mut Self),
    ) -> Result<[(&'static str, u64); 3], ModelError> {
        let (mut spikes, mut presentations, mut too_few) = (0, 0, 0);
        for (row, example) in batch.examples.iter().enumerate() {
            self.load_levels(batch, row)?;
            let (enough, count) = self.present((purpose, epoch, *example), |replica, more| {
                spikes += u64::from(more);
                after(replica);
            });
            presentations += count;
            too_few += u64::from(!enough);
        }
        Ok([(PRESENTATIONS, presentations), (SPIKES, spikes), (TOO_FEW_SPIKES, too_few)])
    }

    /// Neurons that have spiked since `begin`, ascending.
    fn touched(&self) -> impl Iterator<Item = usize> + '_ {
        let spikes = self.learnt.spikes.iter().enumerate();
        spikes.filter(|(_, spikes)| **spikes > 0).map(|(neuron, _)| neuron)
    }

    fn weight_maps(&self) -> UnitMaps {
        let units: Vec<u32> = self.touched().map(|neuron| neuron as u32).collect();
        let a: Vec<f32> = self.touched().map(|neuron| self.learnt.factors[neuron]).collect();
        let mut b = Vec::with_capacity(units.len() * self.weights.inputs());
        for (factor, column) in a.iter().zip(self.weights.changes(self.touched())) {
            b.extend(column.map(|(before, now)| now - factor * before));
        }
        UnitMaps { units, a, b }
    }

    fn theta_maps(&self) -> UnitMaps {
        let Learnt { theta: before, spikes, presentations, .. } = &self.learnt;
        // As the replica and as the merged network multiply: step by step.
        let power = |decay: f32| (0..*presentations).fold(1.0_f32, |power, _| power * decay);
        let (own, merged) = (power(self.design.dynamics.theta_decay), power(self.design.decay));
        let step = self.design.settings.theta_step as f32;
        let rise = |neuron: usize| {
            if spikes[neuron] == 0 { 0.0 } else { self.theta[neuron] - before[neuron] * own }
        };
        let neurons = self.theta.len();
        UnitMaps {
            units: (0..neurons as u32).collect(),
            a: vec![merged; neurons],
            b: (0..neurons).map(|neuron| rise(neuron) / step).collect(),
        }
    }

    fn count(&mut self, name: &str, more: u64) -> Result<(), ModelError> {
        let mut counter = self.state.u64_mut(name)?;
        counter[[0]] = counter[[0]].wrapping_add(more);
        Ok(())
    }
}

impl Replica for SpikingReplica {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        if self.state.check_same_tensors(base).is_err() {
            self.design.check_state(base)?;
            self.state = base.clone();
        }
        for name in [EXAMPLES, PRESENTATIONS, SPIKES, LABELS] {
            self.state.u64_mut(name)?.assign(base.u64(name)?);
        }
        self.presenter.rest(&self.design.dynamics);
        let weights = slice(base, WEIGHTS)?;
        if self.loaded.replace(base.revision()) == Some(base.revision()) {
            self.weights.reload(weights);
        } else {
            self.weights.load(weights);
        }
        self.theta.copy_from_slice(slice(base, THETA)?);
        let labels = base.u64(LABELS)?.as_slice().expect("tensors are in standard layout");
        let classes = self.design.settings.classes;
        // Without classes, labels from elsewhere stay as they are.
        self.electorate.load(if classes == 0 { &[] } else { labels }, classes)?;
        let neurons = self.theta.len();
        self.learnt.theta.clone_from(&self.theta);
        self.learnt.factors.clear();
        self.learnt.factors.resize(neurons, 1.0);
        self.learnt.spikes.clear();
        self.learnt.spikes.resize(neurons, 0);
        self.learnt.presentations = 0;
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_labels(batch)?;
        let key = (Purpose::Train, batch.epoch);
        let counts = self.show(batch, key, Self::end_presentation)?;
        let [(_, presentations), (_, spikes), _] = counts;
        self.count(EXAMPLES, batch.examples.len() as u64)?;
        self.count(PRESENTATIONS, presentations)?;
        self.count(SPIKES, spikes)?;
        Ok(presented(batch, named(counts)))
    }

    fn label_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_labels(batch)?;
        let classes = self.design.settings.classes;
        if classes == 0 {
            return Err(ModelError::NoLabels);
        }
        let mut responses = vec![0; self.theta.len() * classes];
        let mut shown = vec![0; classes];
        let mut too_few = 0;
        for (row, (example, class)) in batch.examples.iter().zip(batch.classes()?).enumerate() {
            self.load_levels(batch, row)?;
            let (enough, _) = self.present((Purpose::Label, 0, *example), |_, _| ());
            too_few += u64::from(!enough);
            let class = *class as usize;
            shown[class] += 1;
            let spikes = self.presenter.spikes();
            for (responses, spikes) in responses.chunks_exact_mut(classes).zip(spikes) {
                responses[class] += u64::from(*spikes);
            }
        }
        let mut counts = named([(TOO_FEW_SPIKES, too_few)]);
        counts.extend([(RESPONSES.to_owned(), responses), (SHOWN.to_owned(), shown)]);
        Ok(presented(batch, counts))
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_labels(batch)?;
        if self.design.settings.classes == 0 {
            let counts = self.show(batch, (Purpose::Evaluate, 0), |_| ())?;
            return Ok(presented(batch, named(counts)));
        }
        self.check_labelled()?;
        let classes = self.design.settings.classes;
        let mut confusion = vec![0; classes * classes];
        let (mut correct, mut too_few, mut undecided) = (0, 0, 0);
        for (row, (example, class)) in batch.examples.iter().zip(batch.classes()?).enumerate() {
            self.load_levels(batch, row)?;
            let (enough, _) = self.present((Purpose::Evaluate, 0, *example), |_, _| ());
            too_few += u64::from(!enough);
            match self.electorate.vote(self.presenter.spikes()) {
                Some(found) => {
                    confusion[*class as usize * classes + found] += 1;
                    correct += u64::from(found == *class as usize);
                }
                None => undecided += 1,
            }
        }
        let mut counts =
            named([(CORRECT, correct), (TOO_FEW_SPIKES, too_few), (UNDECIDED, undecided)]);
        counts.insert(CONFUSION.into(), confusion);
        Ok(presented(batch, counts))
    }

    fn predict_batch(
        &mut self,
        batch: &Batch<'_>,
        scores: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        self.check_labelled()?;
        for (row, example) in batch.examples.iter().enumerate() {
            self.load_levels(batch, row)?;
            self.present((Purpose::Evaluate, 0, *example), |_, _| ());
            scores.extend(self.electorate.means(self.presenter.spikes()));
        }
        Ok(())
    }

    fn refresh(&mut self, tensor: &str) {
        // Before `begin` there is no tensor of that name.
        let Ok(mut view) = self.state.f32_mut(tensor) else { return };
        let values = view.as_slice_mut().expect("tensors are in standard layout");
        match tensor {
            WEIGHTS => self.weights.store(values),
            _ => values.copy_from_slice(&self.theta),
        }
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }

    fn unit_counts(&self, tensor: &str) -> Option<UnitCounts> {
        [WEIGHTS, THETA].contains(&tensor).then(|| UnitCounts {
            units: self.touched().map(|neuron| neuron as u32).collect(),
            counts: self.touched().map(|neuron| self.learnt.spikes[neuron]).collect(),
        })
    }

    fn unit_maps(&self, tensor: &str) -> Option<UnitMaps> {
        match tensor {
            WEIGHTS => Some(self.weight_maps()),
            THETA => Some(self.theta_maps()),
            _ => None,
        }
    }
}

fn slice<'a>(state: &'a NetworkState, name: &str) -> Result<&'a [f32], StateError> {
    Ok(state.f32(name)?.as_slice().expect("tensors are in standard layout"))
}
