//! A model that declares next to no memory, and takes a lot: what the kernel kills
//! a worker for where memory is limited.

use std::time::Duration;

use common::merge::MergeRule;
use common::model::{Batch, DataShape, Model, ModelError, Parameters, Replica};
use common::results::Results;
use common::state::{ElementType, Layout, NetworkState, TensorLayout};

/// What the first batch of a shard takes, in bytes.
const AT_ONCE: usize = 190 << 20;

/// What every batch takes.
const BY_BATCH: usize = 1 << 20;

/// Makes the model. With the parameter `pause_ms` each batch takes so long, so that
/// heartbeats tell of the memory on its way up.
pub(super) fn build(
    parameters: &toml::Table,
    _shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    let mut parameters = Parameters::new(parameters);
    let pause_ms = parameters.whole_number("pause_ms", 0, 0..=1000)? as u64;
    parameters.finish()?;
    Ok(Box::new(Greedy { pause: Duration::from_millis(pause_ms) }))
}

struct Greedy {
    pause: Duration,
}

impl Model for Greedy {
    fn layout(&self) -> Result<Layout, ModelError> {
        let labels = TensorLayout::new("labels", ElementType::U64, &[1], MergeRule::Sum);
        Ok(Layout::new([labels])?)
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(NetworkState::zeros(&self.layout()?)?)
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        let (pause, state) = (self.pause, self.initial_state()?);
        Ok(Box::new(GreedyReplica { pause, state, hoard: Vec::new() }))
    }

    fn replica_bytes(&self) -> u64 {
        8
    }
}

struct GreedyReplica {
    pause: Duration,
    state: NetworkState,
    hoard: Vec<Vec<u8>>,
}

impl Replica for GreedyReplica {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        self.hoard = vec![vec![1; AT_ONCE]];
        Ok(self.state.copy_from(base)?)
    }

    /// Adds up the labels.
    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.hoard.push(vec![1; BY_BATCH]);
        std::thread::sleep(self.pause);
        let sum: u64 = batch.classes()?.iter().map(|label| u64::from(*label)).sum();
        self.state.u64_mut("labels")?[[0].as_slice()] += sum;
        self.evaluate_batch(batch)
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        Ok(Results { examples: batch.examples.len() as u64, ..Results::default() })
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}
