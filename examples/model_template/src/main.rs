//! A model for Samebit: a perceptron, to be replaced by yours.

use std::process::ExitCode;

use samebit::merge::MergeRule;
use samebit::model::{Batch, DataShape, Model, ModelError, Parameters, Registry, Replica};
use samebit::ndarray::{ArrayView1, Axis};
use samebit::results::{CORRECT, Results};
use samebit::state::{ElementType, Layout, NetworkState, TensorLayout};
use samebit::toml;

/// The whole program: `serve`, `worker`, `run` and all other commands.
fn main() -> ExitCode {
    samebit::main(registry())
}

/// The models that the program knows.
fn registry() -> Registry {
    let mut registry = Registry::standard();
    registry.register("perceptron", "one layer that learns from its mistakes", build);
    registry
}

/// Makes the model from its parameters, the data's shape and the run's seed. `classes` refuses data
/// that has none.
fn build(
    parameters: &toml::Table,
    shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    let mut read = Parameters::new(parameters);
    let step = read.about("", "step of the weights").number("step", 0.1, 1e-6..=1e3)?;
    read.finish()?;
    let (features, classes) = (shape.features, shape.classes()?);
    Ok(Box::new(Perceptron { features, classes, step: step as f32 }))
}

#[derive(Clone)]
struct Perceptron {
    features: usize,
    classes: usize,
    step: f32,
}

impl Model for Perceptron {
    /// The state that is passed from round to round, and the rules by which replicas' versions are
    /// merged.
    fn layout(&self) -> Result<Layout, ModelError> {
        let shape = &[self.features, self.classes];
        let weights = TensorLayout::new("weights", ElementType::F32, shape, MergeRule::Mean);
        Ok(Layout::new([weights])?)
    }

    /// The state before the first round.
    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(NetworkState::zeros(&self.layout()?)?)
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(PerceptronReplica { model: self.clone(), state: self.initial_state()? }))
    }

    /// Memory of one running replica, in bytes.
    fn replica_bytes(&self) -> u64 {
        (4 * self.features * self.classes) as u64
    }

    /// Increase this with every change that changes a bit of a result.
    fn version(&self) -> u32 {
        1
    }

    /// There is no `finish_round`.
    fn has_finish_round(&self) -> bool {
        false
    }
}

struct PerceptronReplica {
    model: Perceptron,
    state: NetworkState,
}

impl PerceptronReplica {
    /// The class with the largest product; the first one of equals.
    fn find(&self, example: ArrayView1<'_, f32>) -> Result<usize, ModelError> {
        let (mut found, mut most) = (0, f32::NEG_INFINITY);
        for (class, weights) in self.state.f32("weights")?.axis_iter(Axis(1)).enumerate() {
            // A sum in a fixed order: the same bits on every machine.
            let mut product = 0.0;
            for (weight, feature) in weights.iter().zip(&example) {
                product += weight * feature;
            }
            if product > most {
                (found, most) = (class, product);
            }
        }
        Ok(found)
    }

    /// Adds `step` times an example to the weights of a class.
    fn add(
        &mut self,
        example: ArrayView1<'_, f32>,
        class: usize,
        step: f32,
    ) -> Result<(), ModelError> {
        let mut weights = self.state.f32_mut("weights")?;
        for (weight, feature) in weights.index_axis_mut(Axis(1), class).iter_mut().zip(&example) {
            *weight += step * feature;
        }
        Ok(())
    }
}

impl Replica for PerceptronReplica {
    /// A shard starts from the round's state, independent of earlier shards.
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let mut correct = 0;
        for (example, class) in batch.features.rows().into_iter().zip(batch.classes()?) {
            let (found, class) = (self.find(example)?, *class as usize);
            if found == class {
                correct += 1;
            } else {
                self.add(example, class, self.model.step)?;
                self.add(example, found, -self.model.step)?;
            }
        }
        Ok(results(batch, correct))
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let mut correct = 0;
        for (example, class) in batch.features.rows().into_iter().zip(batch.classes()?) {
            correct += u64::from(self.find(example)? == *class as usize);
        }
        Ok(results(batch, correct))
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}

/// The results of a batch; the accuracy is computed from them.
fn results(batch: &Batch<'_>, correct: u64) -> Results {
    let counts = [(CORRECT.to_owned(), vec![correct])].into();
    Results { examples: batch.examples.len() as u64, counts, ..Results::default() }
}

#[cfg(test)]
mod tests {
    use samebit::dataset::Dataset;
    use samebit::in_process::ParallelBatchProcessor;
    use samebit::spec::RunSpec;

    #[test]
    fn it_learns_the_digits() {
        let spec = "model = \"perceptron\"\nepochs = 5\ndataset.source = \"digits\"\n";
        let spec = RunSpec::from_toml(spec).unwrap();
        let data = Dataset::load(&spec.dataset).unwrap();
        let processor = ParallelBatchProcessor::new(spec.replicas, spec.batch_size)
            .with_registry(super::registry());
        let (_, results) = processor.run_spec(&spec, &data, None).unwrap();
        let accuracy = results.last().unwrap().results.accuracy().unwrap();
        assert!(accuracy > 0.85, "{accuracy}");
    }
}
