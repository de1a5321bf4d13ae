//! Fully connected layers under softmax and cross-entropy, or a squared error, trained by SGD: the
//! implementation of `softmax` (no hidden layer) and `mlp`.

mod initial;
mod loss;
mod replica;

use std::sync::Arc;

use ndarray::ArrayD;

use crate::limits;
use crate::merge::MergeRule;
use crate::model::kernel::{Kernel, NonZeros};
use crate::model::{Model, ModelError, Parameters, Replica};
use crate::state::{ElementType, Layout, NetworkState, Tensor, TensorData, TensorLayout};

use initial::Initial;
pub(super) use loss::Loss;
use replica::{CHUNK, NetworkReplica};

/// Name of the counter of examples that a network has learnt from.
pub const EXAMPLES: &str = "examples";

/// Where the velocity of SGD with momentum is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MomentumState {
    /// In the replica: zero at the start of every round.
    Local,
    /// In the state: merged like the weights.
    Merged,
}

/// The update rule of weights:
/// `v = momentum·v + (gradient + weight_decay·w)`, `w = w − learning_rate·v`.
/// Biases do not decay. Of `v` and `w`, magnitudes below 1e-20 become zero
/// ([`Kernel::step_with_momentum`]).
#[derive(Clone, Copy, Debug)]
pub(super) struct Optimiser {
    pub(super) learning_rate: f32,
    pub(super) momentum: f32,
    pub(super) momentum_state: MomentumState,
    pub(super) weight_decay: f32,
}

/// Reads how far weights follow a gradient.
pub(super) fn learning_rate(
    parameters: &mut Parameters<'_>,
    default: f64,
) -> Result<f32, ModelError> {
    let parameter = parameters.about("", "step size");
    Ok(parameter.number("learning_rate", default, 1e-9..=1e3)? as f32)
}

/// Reads by how much weights decay.
pub(super) fn weight_decay(parameters: &mut Parameters<'_>) -> Result<f32, ModelError> {
    let parameter = parameters.about("", "share of a weight that is added to its gradient");
    Ok(parameter.number("weight_decay", 0.0, 0.0..=1.0)? as f32)
}

impl Optimiser {
    fn has_velocity(&self) -> bool {
        self.momentum > 0.0
    }

    fn has_merged_velocity(&self) -> bool {
        self.has_velocity() && self.momentum_state == MomentumState::Merged
    }
}

/// One tensor that learns.
#[derive(Clone, Debug)]
struct Learnt {
    /// Its name in the state.
    name: String,
    /// Its velocity's name, if that is in the state.
    velocity: String,
    elements: usize,
}

impl Learnt {
    fn new(name: String, elements: usize) -> Self {
        Self { velocity: format!("{name}.velocity"), name, elements }
    }
}

/// One layer: `outputs = inputs · weights + bias`.
#[derive(Clone, Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    /// `[inputs, outputs]`.
    weights: Learnt,
    /// `[outputs]`.
    bias: Learnt,
}

/// The model: layers from the features to the last outputs, ReLU between them.
#[derive(Debug)]
pub(super) struct Network {
    design: Arc<Design>,
    initial: Initial,
    seed: u64,
    /// All of them, as they apply.
    parameters: toml::Table,
}

/// The design of a network, shared by its replicas.
#[derive(Debug)]
struct Design {
    layers: Vec<Layer>,
    loss: Loss,
    optimiser: Optimiser,
}

impl Network {
    /// Multinomial logistic regression, starting from zero weights. Its loss is convex.
    pub(super) fn without_hidden_layers(
        features: usize,
        classes: usize,
        optimiser: Optimiser,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let layers = vec![layer("", features, classes)];
        Self::new(layers, Loss::CrossEntropy, optimiser, Initial::Zero, seed)
    }

    /// Layers between these sizes, from the features to the last outputs.
    pub(super) fn with_hidden_layers(
        sizes: &[usize],
        loss: Loss,
        optimiser: Optimiser,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let layers = (1..)
            .zip(sizes.windows(2))
            .map(|(number, pair)| layer(&format!("layer{number}."), pair[0], pair[1]));
        Self::new(layers.collect(), loss, optimiser, Initial::Uniform, seed)
    }

    fn new(
        layers: Vec<Layer>,
        loss: Loss,
        optimiser: Optimiser,
        initial: Initial,
        seed: u64,
    ) -> Result<Self, ModelError> {
        if layers.iter().any(|layer| layer.inputs == 0 || layer.outputs == 0) {
            return Err(ModelError::Data {
                expected: "at least one feature, and one class or number to predict".into(),
                found: "none".into(),
            });
        }
        let count = |layer: &Layer| layer.weights.elements.saturating_add(layer.outputs) as u64;
        let elements = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(count(layer)));
        // A velocity may double it.
        let most = limits::STATE_ELEMENTS / 2 - 1;
        if elements > most {
            return Err(ModelError::Parameter {
                parameter: "hidden".into(),
                expected: format!("layers of at most {most} weights together"),
                found: elements.to_string(),
            });
        }
        let design = Arc::new(Design { layers, loss, optimiser });
        Ok(Self { design, initial, seed, parameters: toml::Table::new() })
    }

    /// The same, made from these parameters.
    pub(super) fn with(self, parameters: toml::Table) -> Self {
        Self { parameters, ..self }
    }
}

/// A layer whose tensors' names start with `prefix`.
fn layer(prefix: &str, inputs: usize, outputs: usize) -> Layer {
    Layer {
        inputs,
        outputs,
        weights: Learnt::new(format!("{prefix}weights"), inputs.saturating_mul(outputs)),
        bias: Learnt::new(format!("{prefix}bias"), outputs),
    }
}

impl Model for Network {
    fn layout(&self) -> Result<Layout, ModelError> {
        let mut tensors = vec![TensorLayout::new(EXAMPLES, ElementType::U64, &[1], MergeRule::Sum)];
        let mut add = |learnt: &Learnt, shape: &[usize]| {
            let tensor = |name| TensorLayout::new(name, ElementType::F32, shape, MergeRule::Mean);
            tensors.push(tensor(&learnt.name));
            if self.design.optimiser.has_merged_velocity() {
                tensors.push(tensor(&learnt.velocity));
            }
        };
        for layer in &self.design.layers {
            add(&layer.weights, &[layer.inputs, layer.outputs]);
            add(&layer.bias, &[layer.outputs]);
        }
        Ok(Layout::new(tensors)?)
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        let mut tensors = Vec::new();
        let mut add = |learnt: &Learnt, shape: &[usize], values: ArrayD<f32>| {
            let tensor = |values| Tensor { data: TensorData::F32(values), rule: MergeRule::Mean };
            tensors.push((learnt.name.clone(), tensor(values)));
            if self.design.optimiser.has_merged_velocity() {
                tensors.push((learnt.velocity.clone(), tensor(ArrayD::zeros(shape))));
            }
        };
        let last = self.design.layers.len() - 1;
        for (place, layer) in self.design.layers.iter().enumerate() {
            let shape = [layer.inputs, layer.outputs];
            let weights = initial::weights(self.initial, self.seed, place, shape, place == last);
            add(&layer.weights, &shape, weights);
            add(&layer.bias, &[layer.outputs], ArrayD::zeros([layer.outputs].as_slice()));
        }
        let counter = TensorData::U64(ArrayD::zeros([1].as_slice()));
        tensors.push((EXAMPLES.into(), Tensor { data: counter, rule: MergeRule::Sum }));
        Ok(NetworkState::new(tensors)?)
    }

    /// 2: magnitudes below 1e-20 become zero.
    fn version(&self) -> u32 {
        2
    }

    fn parameters(&self) -> toml::Table {
        self.parameters.clone()
    }

    fn has_finish_round(&self) -> bool {
        false
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(NetworkReplica::new(Arc::clone(&self.design))))
    }

    fn replica_bytes(&self) -> u64 {
        let optimiser = self.design.optimiser;
        // The weights and their gradients, and a velocity in the state or beside it.
        let copies = 2 + u64::from(optimiser.has_velocity());
        let learnt = |layer: &Layer| (layer.weights.elements + layer.bias.elements) as u64;
        // The outputs of a chunk of examples, and how the loss changes by them.
        let outputs = |layer: &Layer| (2 * CHUNK * layer.outputs) as u64;
        let values = |layer: &Layer| 4 * (copies * learnt(layer) + outputs(layer));
        let products = |layer: &Layer| {
            Kernel::bytes(layer.inputs, layer.outputs)
                .max(Kernel::bytes(layer.outputs, layer.inputs))
                .max(Kernel::bytes(CHUNK, layer.outputs))
        };
        let layers = &self.design.layers;
        layers.iter().map(values).sum::<u64>()
            + layers.iter().map(products).max().unwrap_or(0)
            + NonZeros::bytes(CHUNK, layers[0].inputs)
    }
}

#[cfg(test)]
mod tests;
