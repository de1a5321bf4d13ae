//! `spiking`: the network of Diehl & Cook 2015, "Unsupervised learning of digit
//! recognition using spike-timing-dependent plasticity".
//!
//! One layer of neurons, each connected to all inputs, learns without labels what the examples look
//! like. The neuron that spikes first inhibits all others and moves its weights towards the example;
//! its threshold rises, so that other neurons respond to later examples. Labels are assigned
//! afterwards, if the examples have classes.
//!
//! | tensor | shape | type | rule | |
//! |---|---|---|---|---|
//! | `weights` | `[inputs, neurons]` | f32 | `fold` | a neuron's column adds up to `weight_sum` |
//! | `theta` | `[neurons]` | f32 | `fold` | adaptive thresholds (mV) |
//! | `labels` | `[neurons]` | u64 | `keep` | classes; 2⁶⁴ − 1 for none |
//! | `examples`, `presentations`, `spikes` | `[1]` | u64 | `sum` | counters |
//!
//! `encoding` generates the input spikes, `presentation` simulates an example with the loops of
//! `kernel`, `plasticity` updates weights, `normalisation` rescales changed columns, `labelling`
//! assigns classes, and `replica` computes the contribution of a shard. docs/SPIKING.md lists the
//! differences from the published script and their effects.

mod counts;
mod encoding;
mod events;
mod inhibition;
mod kernel;
mod labelling;
mod lanes;
mod normalisation;
mod parameters;
mod plasticity;
mod presentation;
mod replica;
#[cfg(test)]
mod tests;
mod weights;

use std::sync::Arc;

use ndarray::{Array2, ArrayD, ArrayView2, Ix2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::merge::MergeRule;
use crate::model::kernel::Isa;
use crate::model::{DataShape, Model, ModelError, Replica};
use crate::results::Results;
use crate::state::{
    ElementType, Layout, NetworkState, StateError, Tensor, TensorData, TensorLayout,
};

use encoding::Encoder;
use parameters::{Dynamics, Settings};
use replica::SpikingReplica;
use weights::Weights;

/// One line for `coordinator models`.
pub const ABOUT: &str = "spiking neurons that learn by STDP, without labels (Diehl & Cook 2015)";

/// Name of the weights.
pub const WEIGHTS: &str = "weights";
/// Name of the adaptive thresholds.
pub const THETA: &str = "theta";
/// Name of the neurons' classes.
pub const LABELS: &str = "labels";
/// Name of the counter of examples learnt from.
const EXAMPLES: &str = crate::model::EXAMPLES;
/// Name of the counter of presentations: examples may need several.
const PRESENTATIONS: &str = "presentations";
/// Name of the counter of spikes.
const SPIKES: &str = "spikes";
/// Name of the count of spikes by neuron and class of the example.
const RESPONSES: &str = "responses";
/// Name of the count of examples by class.
const SHOWN: &str = "shown";

/// Default limit of examples that all replicas together process in a round: up to this number,
/// merging costs no accuracy.
const ROUND_EXAMPLES: i64 = 256;

/// Default number of replicas.
const MAX_REPLICAS: i64 = 16;

/// The purpose of the random stream, which is keyed by it and the seed.
const PURPOSE: [u8; 24] = *b"spiking initial weights\0";

/// The model.
#[derive(Debug)]
pub struct Spiking {
    design: Arc<Design>,
    seed: u64,
    isa: Isa,
}

/// The design of a network, shared by its replicas.
#[derive(Debug)]
struct Design {
    settings: Settings,
    dynamics: Dynamics,
    encoder: Encoder,
    /// The decay factor of thresholds for one presentation, at a theta step of 1.
    decay: f32,
}

impl Design {
    /// Checks that a state has the tensors of the network.
    fn check_state(&self, state: &NetworkState) -> Result<(), StateError> {
        let Settings { inputs, neurons, .. } = self.settings;
        let expect = |name: &str, found: &[usize], expected: &[usize]| {
            if found == expected {
                return Ok(());
            }
            Err(StateError::Shape {
                tensor: name.into(),
                expected: format!("shape {expected:?}"),
                found: found.iter().map(|axis| *axis as u64).collect(),
            })
        };
        expect(WEIGHTS, state.f32(WEIGHTS)?.shape(), &[inputs, neurons])?;
        expect(THETA, state.f32(THETA)?.shape(), &[neurons])?;
        expect(LABELS, state.u64(LABELS)?.shape(), &[neurons])?;
        for name in [EXAMPLES, PRESENTATIONS, SPIKES] {
            expect(name, state.u64(name)?.shape(), &[1])?;
        }
        Ok(())
    }
}

impl Spiking {
    /// Builds the model from its parameters (docs/SPIKING.md lists them).
    pub fn build(
        parameters: &toml::Table,
        shape: DataShape,
        seed: u64,
    ) -> Result<Box<dyn Model>, ModelError> {
        Ok(Box::new(Self::new(parameters, shape, seed)?))
    }

    /// [`Spiking::build`] with the concrete type.
    pub fn new(parameters: &toml::Table, shape: DataShape, seed: u64) -> Result<Self, ModelError> {
        let settings = Settings::read(parameters, shape)?;
        let dynamics = Dynamics::new(&settings);
        let encoder = Encoder::new(seed, settings.steps(), settings.probabilities());
        let decay = settings.theta_decay(1.0);
        let design = Design { settings, dynamics, encoder, decay };
        Ok(Self { design: Arc::new(design), seed, isa: Isa::best() })
    }

    /// Adds this model's defaults to a spec.
    pub fn complete(spec: &mut toml::Table) {
        let whole = |spec: &toml::Table, key: &str, default: i64| {
            spec.get(key).and_then(toml::Value::as_integer).unwrap_or(default).max(1)
        };
        let (replicas, batch) =
            (whole(spec, "replicas", MAX_REPLICAS), whole(spec, "batch_size", 1));
        let interval = ROUND_EXAMPLES / replicas.saturating_mul(batch).max(1);
        spec.entry("replicas").or_insert(replicas.into());
        spec.entry("batch_size").or_insert(batch.into());
        spec.entry("update_interval").or_insert(interval.max(1).into());
        if !spec.contains_key("rounds") {
            spec.entry("epochs").or_insert(1.into());
        }
        let folds =
            |merge: &toml::Value| merge.get(THETA).is_none_or(|rule| rule.as_str() == Some("fold"));
        let step = if spec.get("merge").is_none_or(folds) { replicas.min(2) } else { 1 };
        let table = || toml::Value::Table(toml::Table::new());
        if let toml::Value::Table(parameters) = spec.entry("parameters").or_insert_with(table) {
            parameters.entry("theta_step").or_insert(step.into());
        }
        let targets = spec.get("dataset").and_then(|dataset| dataset.get("targets"));
        let has_classes = targets.is_none_or(|targets| targets.as_str() == Some("class"));
        if let toml::Value::Table(evaluation) = spec.entry("evaluation").or_insert_with(table) {
            evaluation.entry("labelling").or_insert(has_classes.into());
        }
    }

    /// The same with replicas that use `isa`, for comparisons; `None` if the CPU lacks it. Results
    /// have the same bits with every instruction set.
    pub fn with_isa(self, isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self { isa, ..self })
    }

    /// Random weights, `initial_weight · (U[0, 1) + 0.01)`, rescaled.
    fn initial_weights(&self) -> Array2<f32> {
        let settings = &self.design.settings;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..].copy_from_slice(&PURPOSE);
        let mut random = ChaCha8Rng::from_seed(key);
        // 24 bits are exact in an f32.
        let mut uniform = || (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let initial = settings.initial_weight as f32;
        let shape = (settings.inputs, settings.neurons);
        let mut weights = Array2::from_shape_simple_fn(shape, || initial * (uniform() + 0.01));
        normalisation::rescale_all(weights.view_mut(), settings.weight_sum as f32);
        weights
    }
}

impl Model for Spiking {
    fn layout(&self) -> Result<Layout, ModelError> {
        let Settings { inputs, neurons, .. } = self.design.settings;
        let (f32s, u64s) = (ElementType::F32, ElementType::U64);
        let count = |name| TensorLayout::new(name, u64s, &[1], MergeRule::Sum);
        Ok(Layout::new([
            TensorLayout::new(WEIGHTS, f32s, &[inputs, neurons], MergeRule::Fold),
            TensorLayout::new(THETA, f32s, &[neurons], MergeRule::Fold),
            TensorLayout::new(LABELS, u64s, &[neurons], MergeRule::Keep),
            count(EXAMPLES),
            count(PRESENTATIONS),
            count(SPIKES),
        ])?)
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        let settings = &self.design.settings;
        let f32s = |values| Tensor { data: TensorData::F32(values), rule: MergeRule::Fold };
        let u64s = |values, rule| Tensor { data: TensorData::U64(values), rule };
        let neurons = [settings.neurons];
        let theta = ArrayD::from_elem(neurons.as_slice(), settings.theta_start as f32);
        let labels = ArrayD::from_elem(neurons.as_slice(), labelling::NO_LABEL);
        let mut tensors = vec![
            (WEIGHTS.to_owned(), f32s(self.initial_weights().into_dyn())),
            (THETA.to_owned(), f32s(theta)),
            (LABELS.to_owned(), u64s(labels, MergeRule::Keep)),
        ];
        for name in [EXAMPLES, PRESENTATIONS, SPIKES] {
            let zero = ArrayD::zeros([1].as_slice());
            tensors.push((name.to_owned(), u64s(zero, MergeRule::Sum)));
        }
        Ok(NetworkState::new(tensors)?)
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(SpikingReplica::new(Arc::clone(&self.design), self.isa)))
    }

    fn parameters(&self) -> toml::Table {
        self.design.settings.parameters.clone()
    }

    fn replica_bytes(&self) -> u64 {
        let settings = &self.design.settings;
        let state = 4 * (settings.inputs * settings.neurons) as u64;
        let variables = 4 * 16 * settings.neurons as u64;
        let spikes = 8 * settings.expected_spikes();
        state + Weights::bytes(settings.inputs, settings.neurons) + variables + spikes
    }

    fn finish_round(
        &self,
        base: &NetworkState,
        state: &mut NetworkState,
    ) -> Result<(), ModelError> {
        let settings = &self.design.settings;
        self.design.check_state(state)?;
        let before: ArrayView2<'_, f32> = base
            .f32(WEIGHTS)?
            .view()
            .into_dimensionality::<Ix2>()
            .expect("the base has the state's shapes");
        let merged =
            state.f32_mut(WEIGHTS)?.into_dimensionality::<Ix2>().expect("the shape was checked");
        let limits = (settings.weight_max as f32, settings.weight_sum as f32);
        normalisation::rescale_changed(before, merged, limits.0, limits.1);
        Ok(())
    }

    fn finish_labelling(
        &self,
        state: &mut NetworkState,
        results: &Results,
    ) -> Result<(), ModelError> {
        let Settings { neurons, classes, .. } = self.design.settings;
        if classes == 0 {
            return Err(ModelError::NoLabels);
        }
        let counts = |name: &str, length: usize| {
            let found = results.counts.get(name).map_or(0, Vec::len);
            results.counts.get(name).filter(|counts| counts.len() == length).ok_or_else(|| {
                ModelError::Data {
                    expected: format!("{length} counts of `{name}`"),
                    found: format!("{found}"),
                }
            })
        };
        let responses = counts(RESPONSES, neurons * classes)?;
        let shown = counts(SHOWN, classes)?;
        let mut labels = state.u64_mut(LABELS)?;
        for (label, found) in labels.iter_mut().zip(labelling::labels(responses, shown)) {
            *label = found;
        }
        Ok(())
    }
}
