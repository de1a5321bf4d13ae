//! `mlp`: fully connected layers with ReLU between them. The tensors of layer
//! n, from 1, are `layerN.weights` `[inputs, outputs]` and `layerN.bias`
//! `[outputs]`, with merged momentum also `layerN.weights.velocity` and
//! `layerN.bias.velocity`; beside them is the counter `examples`.
//!
//! The last layer has an output for each class, under softmax and cross-entropy; or, where targets
//! are vectors, one for each number, under the mean squared error.

use crate::model::network::{Loss, MomentumState, Network, Optimiser, learning_rate, weight_decay};
use crate::model::{DataShape, Model, ModelError, Parameters, TargetType};

/// One line for `coordinator models`.
pub const ABOUT: &str = "fully connected layers, ReLU, SGD with momentum";

/// Most units of a hidden layer.
const UNITS: usize = 1 << 16;

/// Most hidden layers.
const HIDDEN_LAYERS: usize = 32;

/// The model.
#[derive(Debug)]
pub struct Mlp {}

impl Mlp {
    /// Makes the model from its parameters: `hidden` (`[32]`), the sizes of
    /// the hidden layers; `learning_rate` (0.1); `momentum` (0.9);
    /// `momentum_state`, `"merged"` (velocities are part of the state) or
    /// `"local"` (each round starts with velocity zero, which has little effect if
    /// rounds are short); `weight_decay` (0).
    pub fn build(
        parameters: &toml::Table,
        shape: DataShape,
        seed: u64,
    ) -> Result<Box<dyn Model>, ModelError> {
        let mut parameters = Parameters::new(parameters);
        let read = &mut parameters;
        let hidden = read.about("", "units of each hidden layer").whole_numbers(
            "hidden",
            &[32],
            1..=UNITS,
            HIDDEN_LAYERS,
        )?;
        let optimiser =
            Optimiser {
                learning_rate: learning_rate(read, 0.1)?,
                momentum: read
                    .about("", "share of the velocity that is left after a batch")
                    .number("momentum", 0.9, 0.0..=0.9999)? as f32,
                momentum_state: match read
                    .about("", "whether velocities are merged, or zero at the start of each round")
                    .choice("momentum_state", &["merged", "local"])?
                {
                    "local" => MomentumState::Local,
                    _ => MomentumState::Merged,
                },
                weight_decay: weight_decay(read)?,
            };
        let parameters = parameters.finish()?;
        let (outputs, loss) = match shape.targets {
            TargetType::Vector(width) => (width as usize, Loss::SquaredError),
            _ => (shape.classes()?, Loss::CrossEntropy),
        };
        let sizes = [&[shape.features], &hidden[..], &[outputs]].concat();
        let network = Network::with_hidden_layers(&sizes, loss, optimiser, seed)?;
        Ok(Box::new(network.with(parameters)))
    }
}
