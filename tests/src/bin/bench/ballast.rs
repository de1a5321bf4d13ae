//! A model with a state of a given size that computes nothing.

use common::merge::MergeRule;
use common::model::{Batch, DataShape, Model, ModelError, Registry, Replica};
use common::results::Results;
use common::state::{ElementType, Layout, NetworkState, Tensor, TensorData, TensorLayout};
use ndarray::ArrayD;

/// Largest state, in f32 elements (4 GiB).
const MOST_ELEMENTS: i64 = 1 << 30;

/// The standard models, and `ballast`.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::standard();
    registry.register("ballast", "a state of `elements` f32 values", Ballast::build);
    registry
}

struct Ballast {
    elements: usize,
}

impl Ballast {
    fn build(
        parameters: &toml::Table,
        _shape: DataShape,
        _seed: u64,
    ) -> Result<Box<dyn Model>, ModelError> {
        let elements = parameters.get("elements").and_then(toml::Value::as_integer);
        let elements = elements.filter(|elements| (1..=MOST_ELEMENTS).contains(elements));
        let elements = elements.ok_or_else(|| ModelError::Parameter {
            parameter: "elements".into(),
            expected: format!("an integer from 1 to {MOST_ELEMENTS}"),
            found: format!("{:?}", parameters.get("elements")),
        })?;
        Ok(Box::new(Self { elements: elements as usize }))
    }
}

impl Model for Ballast {
    fn layout(&self) -> Result<Layout, ModelError> {
        let shape = [self.elements];
        let values = TensorLayout::new("values", ElementType::F32, &shape, MergeRule::Mean);
        Ok(Layout::new([values])?)
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        let values = (0..self.elements).map(|at| (at % 1000) as f32).collect::<Vec<_>>();
        let data = TensorData::F32(ArrayD::from_shape_vec(vec![self.elements], values).map_err(
            |error| ModelError::Other(format!("a vector has the shape of its length: {error}")),
        )?);
        let tensor = Tensor { data, rule: MergeRule::Mean };
        Ok(NetworkState::new([("values".to_owned(), tensor)])?)
    }

    fn has_finish_round(&self) -> bool {
        false
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(Instance { state: NetworkState::default() }))
    }

    fn replica_bytes(&self) -> u64 {
        self.elements as u64 * 4
    }
}

struct Instance {
    state: NetworkState,
}

impl Replica for Instance {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        if self.state.tensors().is_empty() {
            self.state = base.clone();
        } else {
            self.state.copy_from(base)?;
        }
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.state.f32_mut("values")?[[0]] += 1.0;
        self.evaluate_batch(batch)
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        Ok(Results { examples: batch.examples.len() as u64, ..Results::default() })
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }

    fn state_to_take(&mut self) -> Option<&mut NetworkState> {
        Some(&mut self.state)
    }
}
