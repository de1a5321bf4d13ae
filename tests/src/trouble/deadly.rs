//! A model with one example that no process survives, as long as a file is there.

use std::path::PathBuf;

use common::merge::MergeRule;
use common::model::{Batch, DataShape, Model, ModelError, Parameters, Replica};
use common::results::Results;
use common::state::{ElementType, Layout, NetworkState, TensorLayout};

/// Makes the model. It learns the sum of the numbers of its examples. The parameter
/// `example` is the number of the deadly one, `file` the path.
pub(super) fn build(
    parameters: &toml::Table,
    _shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    let file = parameters.get("file").and_then(toml::Value::as_str).unwrap_or_default().into();
    let mut parameters = parameters.clone();
    parameters.remove("file");
    let mut parameters = Parameters::new(&parameters);
    let example = parameters.whole_number("example", 0, 0..=1 << 20)? as u64;
    parameters.finish()?;
    Ok(Box::new(Deadly { example, file }))
}

#[derive(Clone)]
struct Deadly {
    example: u64,
    file: PathBuf,
}

impl Model for Deadly {
    fn layout(&self) -> Result<Layout, ModelError> {
        let examples = TensorLayout::new("examples", ElementType::U64, &[1], MergeRule::Sum);
        Ok(Layout::new([examples])?)
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(NetworkState::zeros(&self.layout()?)?)
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(DeadlyReplica { deadly: self.clone(), state: self.initial_state()? }))
    }

    fn replica_bytes(&self) -> u64 {
        8
    }
}

struct DeadlyReplica {
    deadly: Deadly,
    state: NetworkState,
}

impl Replica for DeadlyReplica {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        if batch.examples.contains(&self.deadly.example) && self.deadly.file.exists() {
            std::process::abort();
        }
        let sum: u64 = batch.examples.iter().sum();
        self.state.u64_mut("examples")?[[0].as_slice()] += sum;
        self.evaluate_batch(batch)
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        Ok(Results { examples: batch.examples.len() as u64, ..Results::default() })
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}
