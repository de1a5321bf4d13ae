//! `softmax`: multinomial logistic regression. Its tensors are `weights`
//! `[features, classes]`, `bias` `[classes]`, and the counter `examples`.

use crate::model::network::{MomentumState, Network, Optimiser, learning_rate, weight_decay};
use crate::model::{DataShape, Model, ModelError, Parameters};

/// One line for `coordinator models`.
pub const ABOUT: &str = "multinomial logistic regression, SGD";

/// The model.
#[derive(Debug)]
pub struct Softmax {}

impl Softmax {
    /// Builds the model from its parameters: `learning_rate` (0.5) and
    /// `weight_decay` (0).
    pub fn build(
        parameters: &toml::Table,
        shape: DataShape,
        seed: u64,
    ) -> Result<Box<dyn Model>, ModelError> {
        let mut parameters = Parameters::new(parameters);
        let optimiser = Optimiser {
            learning_rate: learning_rate(&mut parameters, 0.5)?,
            momentum: 0.0,
            momentum_state: MomentumState::Local,
            weight_decay: weight_decay(&mut parameters)?,
        };
        let parameters = parameters.finish()?;
        let classes = shape.classes()?;
        let network = Network::without_hidden_layers(shape.features, classes, optimiser, seed)?;
        Ok(Box::new(network.with(parameters)))
    }
}
