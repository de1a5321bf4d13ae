//! One replica of a network.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Ix1, Ix2, s};

use super::loss::Tally;
use super::{Design, EXAMPLES, Layer, Learnt, MomentumState, Optimiser};
use crate::model::kernel::Kernel;
use crate::model::{Batch, ModelError, Replica};
use crate::results::Results;
use crate::state::{NetworkState, StateError};

/// Examples that go through the layers at a time: it limits the memory of a replica for any batch
/// size. Sums over a batch continue from chunk to chunk, so it does not influence the result.
pub(super) const CHUNK: usize = 256;

/// See [`super::Network`]. All memory is allocated once.
#[derive(Debug)]
pub(super) struct NetworkReplica {
    design: Arc<Design>,
    kernel: Kernel,
    state: NetworkState,
    work: Vec<Work>,
}

/// The memory of one layer.
#[derive(Debug)]
struct Work {
    /// `[CHUNK, outputs]`.
    outputs: Array2<f32>,
    /// The gradient by the outputs. The last layer stores it in `outputs` itself.
    delta: Array2<f32>,
    /// The gradient by the weights, summed over a batch.
    weights_gradient: Array2<f32>,
    /// The same of the bias.
    bias_gradient: Array1<f32>,
    /// Of the weights; empty without momentum.
    weights_velocity: Vec<f32>,
    /// Of the bias; empty without momentum.
    bias_velocity: Vec<f32>,
}

impl Work {
    fn new(layer: &Layer, optimiser: &Optimiser) -> Self {
        let velocity =
            |learnt: &Learnt| vec![0.0; if optimiser.has_velocity() { learnt.elements } else { 0 }];
        Self {
            outputs: Array2::zeros((CHUNK, layer.outputs)),
            delta: Array2::zeros((CHUNK, layer.outputs)),
            weights_gradient: Array2::zeros((layer.inputs, layer.outputs)),
            bias_gradient: Array1::zeros(layer.outputs),
            weights_velocity: velocity(&layer.weights),
            bias_velocity: velocity(&layer.bias),
        }
    }
}

impl NetworkReplica {
    pub(super) fn new(design: Arc<Design>) -> Self {
        let work = design.layers.iter().map(|layer| Work::new(layer, &design.optimiser)).collect();
        Self { design, kernel: Kernel::new(), state: NetworkState::default(), work }
    }

    /// Checks that a state has the tensors of the design.
    fn check_state(&self, state: &NetworkState) -> Result<(), ModelError> {
        let has_velocity = self.design.optimiser.has_merged_velocity();
        for layer in &self.design.layers {
            let shapes = [vec![layer.inputs, layer.outputs], vec![layer.outputs]];
            for (learnt, shape) in [&layer.weights, &layer.bias].into_iter().zip(shapes) {
                check_shape(state, &learnt.name, &shape)?;
                if has_velocity {
                    check_shape(state, &learnt.velocity, &shape)?;
                }
            }
        }
        state.u64(EXAMPLES)?;
        let learnt = self.design.layers.len() * if has_velocity { 4 } else { 2 };
        if state.tensors().len() != learnt + 1 {
            return Err(ModelError::State(StateError::Layout {
                expected: format!("{} tensors", learnt + 1),
                found: format!("{}", state.tensors().len()),
            }));
        }
        Ok(())
    }

    fn check_batch(&self, batch: &Batch<'_>) -> Result<(), ModelError> {
        let wrong = |expected: String, found: String| Err(ModelError::Data { expected, found });
        let features = self.design.layers[0].inputs;
        if batch.features.ncols() != features {
            return wrong(
                format!("{features} features"),
                format!("{} features", batch.features.ncols()),
            );
        }
        let labels = batch.classes()?;
        if labels.len() != batch.features.nrows() {
            return wrong(
                format!("a label for each of {} examples", batch.features.nrows()),
                format!("{} labels", labels.len()),
            );
        }
        let classes = self.classes();
        match labels.iter().find(|label| **label as usize >= classes) {
            Some(label) => wrong(format!("labels below {classes}"), format!("the label {label}")),
            None => Ok(()),
        }
    }

    fn classes(&self) -> usize {
        self.design.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// Computes the outputs of all layers for a chunk of features; they stay in `work`.
    fn forward(&mut self, features: ArrayView2<'_, f32>) -> Result<(), ModelError> {
        let examples = features.nrows();
        let last = self.work.len() - 1;
        for (place, layer) in self.design.layers.iter().enumerate() {
            let (before, rest) = self.work.split_at_mut(place);
            let inputs = match before.last() {
                None => features,
                Some(before) => before.outputs.slice(s![..examples, ..]),
            };
            let weights = matrix(&self.state, &layer.weights)?;
            let bias = vector(&self.state, &layer.bias)?;
            let mut outputs = rest[0].outputs.slice_mut(s![..examples, ..]);
            self.kernel.multiply(inputs, weights, outputs.view_mut());
            finish_outputs(outputs, bias, place < last);
        }
        Ok(())
    }

    /// Adds a chunk to the gradients, from the last layer to the first. The last layer's outputs
    /// hold the gradient by them.
    fn backward(&mut self, features: ArrayView2<'_, f32>) -> Result<(), ModelError> {
        let examples = features.nrows();
        let last = self.work.len() - 1;
        for (place, layer) in self.design.layers.iter().enumerate().rev() {
            let (before, rest) = self.work.split_at_mut(place);
            let work = &mut rest[0];
            let delta = if place == last { &work.outputs } else { &work.delta };
            let delta = delta.slice(s![..examples, ..]);
            for delta in delta.rows() {
                work.bias_gradient += &delta;
            }
            let gradient = work.weights_gradient.view_mut();
            let Some(before) = before.last_mut() else {
                self.kernel.multiply_add(features.t(), delta, gradient);
                continue;
            };
            let inputs = before.outputs.slice(s![..examples, ..]);
            self.kernel.multiply_add(inputs.t(), delta, gradient);
            let weights = matrix(&self.state, &layer.weights)?;
            let mut delta_before = before.delta.slice_mut(s![..examples, ..]);
            self.kernel.multiply(delta, weights.t(), delta_before.view_mut());
            delta_before.zip_mut_with(&inputs, |delta, output| {
                *delta = if *output > 0.0 { *delta } else { 0.0 };
            });
        }
        Ok(())
    }

    /// Updates the weights with the gradients of a batch.
    fn update(&mut self, examples: usize) -> Result<(), ModelError> {
        let optimiser = &self.design.optimiser;
        for (layer, work) in self.design.layers.iter().zip(&mut self.work) {
            let gradient = work.weights_gradient.as_slice().expect("in standard layout");
            let decay = optimiser.weight_decay;
            let velocity = &mut work.weights_velocity;
            optimiser.step(&mut self.state, &layer.weights, gradient, velocity, decay, examples)?;
            let gradient = work.bias_gradient.as_slice().expect("in standard layout");
            let velocity = &mut work.bias_velocity;
            optimiser.step(&mut self.state, &layer.bias, gradient, velocity, 0.0, examples)?;
        }
        for count in &mut self.state.u64_mut(EXAMPLES)? {
            *count = count.wrapping_add(examples as u64);
        }
        Ok(())
    }
}

impl Replica for NetworkReplica {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        if self.state.check_same_tensors(base).is_err() {
            self.check_state(base)?;
            self.state = base.clone();
        }
        self.state.copy_from(base)?;
        let is_merged = self.design.optimiser.has_merged_velocity();
        for (layer, work) in self.design.layers.iter().zip(&mut self.work) {
            let both = [
                (&layer.weights, &mut work.weights_velocity),
                (&layer.bias, &mut work.bias_velocity),
            ];
            for (learnt, velocity) in both {
                if is_merged {
                    velocity.copy_from_slice(values(base, &learnt.velocity)?);
                } else {
                    velocity.fill(0.0);
                }
            }
        }
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_batch(batch)?;
        for work in &mut self.work {
            work.weights_gradient.fill(0.0);
            work.bias_gradient.fill(0.0);
        }
        let mut tally = Tally::new(self.classes());
        for (features, labels) in chunks(batch.features, batch.classes()?) {
            self.forward(features)?;
            tally.add(&mut last_outputs(&mut self.work, labels.len()), labels);
            self.backward(features)?;
        }
        if batch.features.nrows() > 0 {
            self.update(batch.features.nrows())?;
        }
        Ok(tally.into_results())
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_batch(batch)?;
        let mut tally = Tally::new(self.classes());
        for (features, labels) in chunks(batch.features, batch.classes()?) {
            self.forward(features)?;
            tally.add(&mut last_outputs(&mut self.work, labels.len()), labels);
        }
        Ok(tally.into_results())
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}

impl Optimiser {
    /// Updates one tensor with its gradient, summed over `examples`.
    fn step(
        &self,
        state: &mut NetworkState,
        learnt: &Learnt,
        gradient: &[f32],
        velocity: &mut [f32],
        decay: f32,
        examples: usize,
    ) -> Result<(), ModelError> {
        let (rate, momentum, share) = (self.learning_rate, self.momentum, 1.0 / examples as f32);
        let values = values_mut(state, &learnt.name)?;
        if !self.has_velocity() {
            for (value, gradient) in values.iter_mut().zip(gradient) {
                *value -= rate * (gradient * share + decay * *value);
            }
            return Ok(());
        }
        for ((value, gradient), velocity) in values.iter_mut().zip(gradient).zip(&mut *velocity) {
            *velocity = momentum * *velocity + (gradient * share + decay * *value);
            *value -= rate * *velocity;
        }
        if self.momentum_state == MomentumState::Merged {
            values_mut(state, &learnt.velocity)?.copy_from_slice(velocity);
        }
        Ok(())
    }
}

/// A batch in chunks, in its order.
fn chunks<'a>(
    features: ArrayView2<'a, f32>,
    labels: &'a [u32],
) -> impl Iterator<Item = (ArrayView2<'a, f32>, &'a [u32])> {
    labels.chunks(CHUNK).enumerate().map(move |(place, labels)| {
        let first = place * CHUNK;
        (features.slice_move(s![first..first + labels.len(), ..]), labels)
    })
}

/// The last layer's outputs of a chunk.
fn last_outputs(work: &mut [Work], examples: usize) -> ArrayViewMut2<'_, f32> {
    let work = work.last_mut().expect("a network has at least one layer");
    work.outputs.slice_mut(s![..examples, ..])
}

/// Adds the bias, and applies ReLU if the layer has it.
fn finish_outputs(mut outputs: ArrayViewMut2<'_, f32>, bias: ArrayView1<'_, f32>, relu: bool) {
    for mut outputs in outputs.rows_mut() {
        outputs += &bias;
        if relu {
            // Written so that NaN is kept, and found later.
            outputs.mapv_inplace(|output| if output < 0.0 { 0.0 } else { output });
        }
    }
}

fn check_shape(state: &NetworkState, name: &str, shape: &[usize]) -> Result<(), StateError> {
    let found = state.f32(name)?.shape();
    if found == shape {
        return Ok(());
    }
    Err(StateError::Shape {
        tensor: name.into(),
        expected: format!("shape {shape:?}"),
        found: found.iter().map(|axis| *axis as u64).collect(),
    })
}

fn matrix<'a>(state: &'a NetworkState, of: &Learnt) -> Result<ArrayView2<'a, f32>, StateError> {
    let view = state.f32(&of.name)?.view();
    Ok(view.into_dimensionality::<Ix2>().expect("shapes are checked when a shard begins"))
}

fn vector<'a>(state: &'a NetworkState, of: &Learnt) -> Result<ArrayView1<'a, f32>, StateError> {
    let view = state.f32(&of.name)?.view();
    Ok(view.into_dimensionality::<Ix1>().expect("shapes are checked when a shard begins"))
}

fn values<'a>(state: &'a NetworkState, name: &str) -> Result<&'a [f32], StateError> {
    Ok(state.f32(name)?.as_slice().expect("tensors are in standard layout"))
}

fn values_mut<'a>(state: &'a mut NetworkState, name: &str) -> Result<&'a mut [f32], StateError> {
    Ok(state.f32_mut(name)?.into_slice().expect("tensors are in standard layout"))
}
