//! A user's own model, as a tutorial: a classifier that knows the mean image
//! (the centroid) of each class, and finds the class whose centroid is nearest.
//!
//! ```text
//! cargo build --release -p custom_model
//! target/release/custom_model run --local 3 --model centroids --epochs 1
//! ```
//!
//! A model takes four steps: describe its state, process a batch, report results, register it by
//! name. It has no code for sockets, retries or merging.

use std::process::ExitCode;

use samebit::merge::MergeRule;
use samebit::model::{Batch, DataShape, Model, ModelError, Parameters, Registry, Replica};
use samebit::ndarray::{ArrayView1, Ix2};
use samebit::results::{CORRECT, Results};
use samebit::state::{ElementType, Layout, NetworkState, TensorLayout};
use samebit::toml;

/// The whole program: `serve`, `worker`, `run` and all other commands.
fn main() -> ExitCode {
    samebit::main(registry())
}

/// Step 4, register: the standard models and this one.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::standard();
    registry.register("centroids", "nearest class mean, one pass", build);
    registry
}

/// Builds the model from its parameters (it has none, and refuses any), the shape of the data,
/// which must have classes, and the seed (nothing here is random).
fn build(
    parameters: &toml::Table,
    shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    Parameters::new(parameters).finish()?;
    Ok(Box::new(Centroids { features: shape.features, classes: shape.classes()? }))
}

#[derive(Clone, Copy)]
struct Centroids {
    features: usize,
    classes: usize,
}

impl Model for Centroids {
    /// Step 1, the state. Each tensor has the rule by which replicas' versions are merged.
    /// Replicas process different examples, so their sums and counts are added.
    fn layout(&self) -> Result<Layout, ModelError> {
        let Self { features, classes } = *self;
        let (f32s, u64s) = (ElementType::F32, ElementType::U64);
        Ok(Layout::new([
            TensorLayout::new("sums", f32s, &[features, classes], MergeRule::Sum),
            TensorLayout::new("counts", u64s, &[classes], MergeRule::Sum),
        ])?)
    }

    /// Everything is zero before the first example.
    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(NetworkState::zeros(&self.layout()?)?)
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(CentroidsReplica { model: *self, state: self.initial_state()? }))
    }

    /// To be increased with every change of the computation: a worker with another version gets no
    /// work of the run, and a run with another version is not continued.
    fn version(&self) -> u32 {
        1
    }

    /// Memory of a replica, from which workers decide how many run at once.
    fn replica_bytes(&self) -> u64 {
        let Self { features, classes } = self;
        (4 * features * classes + 8 * classes) as u64
    }
}

struct CentroidsReplica {
    model: Centroids,
    state: NetworkState,
}

impl Replica for CentroidsReplica {
    /// Starts a shard from the round's state, independent of earlier shards.
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }

    /// Step 2, learn. Examples arrive in a fixed order, and are added in this order, so that the
    /// bits are the same on any cluster.
    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let results = self.evaluate_batch(batch)?;
        for (features, label) in batch.features.rows().into_iter().zip(batch.classes()?) {
            let class = *label as usize;
            let mut sums = self.state.f32_mut("sums")?;
            for (at, feature) in features.iter().enumerate() {
                sums[[at, class].as_slice()] += feature;
            }
            self.state.u64_mut("counts")?[[class].as_slice()] += 1;
        }
        Ok(results)
    }

    /// Step 3, report results: sums and counts over examples. Accuracy is computed from `correct`.
    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let Centroids { features, classes } = self.model;
        let fits = batch.features.ncols() == features
            && batch.classes()?.iter().all(|label| (*label as usize) < classes);
        if !fits {
            return Err(ModelError::Data {
                expected: format!("{features} features and labels below {classes}"),
                found: "something else".into(),
            });
        }
        let mut correct = 0;
        for (features, label) in batch.features.rows().into_iter().zip(batch.classes()?) {
            correct += u64::from(self.nearest(features)? == *label as usize);
        }
        Ok(Results {
            examples: batch.examples.len() as u64,
            counts: [(CORRECT.to_owned(), vec![correct])].into(),
            ..Results::default()
        })
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}

impl CentroidsReplica {
    /// The class with the nearest centroid; 0 before the first example.
    fn nearest(&self, features: ArrayView1<'_, f32>) -> Result<usize, ModelError> {
        let sums = self.state.f32("sums")?.view().into_dimensionality::<Ix2>();
        let sums = sums.map_err(|error| ModelError::Other(error.to_string()))?;
        let counts = self.state.u64("counts")?;
        let (mut nearest, mut least) = (0, f32::INFINITY);
        for (class, (sums, count)) in sums.columns().into_iter().zip(counts).enumerate() {
            // A plain loop: `Iterator::sum` over floats is fine as well, but
            // nothing that splits the sum by threads or by CPU.
            let mut distance = 0.0;
            for (feature, sum) in features.iter().zip(sums) {
                let difference = feature - sum / *count as f32;
                distance += difference * difference;
            }
            // Without examples the distance is NaN, which is never the smallest.
            if distance < least {
                (nearest, least) = (class, distance);
            }
        }
        Ok(nearest)
    }
}

#[cfg(test)]
mod tests;
