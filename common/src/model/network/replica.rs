//! One replica of a network.

mod learn;

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Ix1, Ix2, s};

use self::learn::Chunk;
use super::loss::{Loss, Tally, probabilities};
use super::{Design, EXAMPLES, Layer, Learnt, Optimiser};
use crate::model::kernel::{Kernel, NonZeros};
use crate::model::{Batch, ModelError, Replica};
use crate::results::Results;
use crate::state::{NetworkState, StateError};

/// Examples that go through the layers at a time: it limits the memory of a replica for any batch
/// size. Sums over a batch continue from chunk to chunk, so it does not influence the result.
pub(super) const CHUNK: usize = 256;

/// See [`super::Network`]. All memory is allocated once.
#[derive(Debug)]
pub(super) struct NetworkReplica {
    pub(super) design: Arc<Design>,
    pub(super) kernel: Kernel,
    pub(super) state: NetworkState,
    pub(super) work: Vec<Work>,
    /// The features of the chunk that are not zero.
    pub(super) listed: NonZeros,
    /// Whether `listed` has the features of the chunk: they are mostly zero.
    pub(super) is_sparse: bool,
}

/// The memory of one layer.
#[derive(Debug)]
pub(super) struct Work {
    /// `[CHUNK, outputs]`.
    pub(super) outputs: Array2<f32>,
    /// The gradient by the outputs. The last layer stores it in `outputs` itself.
    pub(super) delta: Array2<f32>,
    /// The gradient by the weights, summed over a batch.
    pub(super) weights_gradient: Array2<f32>,
    /// The same of the bias.
    pub(super) bias_gradient: Array1<f32>,
    /// Of the weights; empty without momentum, or if velocities are in the state.
    pub(super) weights_velocity: Vec<f32>,
    /// The same of the bias.
    pub(super) bias_velocity: Vec<f32>,
}

impl Work {
    fn new(layer: &Layer, optimiser: &Optimiser) -> Self {
        let is_local = optimiser.has_velocity() && !optimiser.has_merged_velocity();
        let velocity = |learnt: &Learnt| vec![0.0; if is_local { learnt.elements } else { 0 }];
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
        Self {
            design,
            kernel: Kernel::new(),
            state: NetworkState::default(),
            work,
            listed: NonZeros::default(),
            is_sparse: false,
        }
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

    fn check_features(&self, batch: &Batch<'_>) -> Result<(), ModelError> {
        let (features, found) = (self.design.layers[0].inputs, batch.features.ncols());
        if found == features {
            return Ok(());
        }
        let (expected, found) = (format!("{features} features"), format!("{found} features"));
        Err(ModelError::Data { expected, found })
    }

    fn check_batch(&self, batch: &Batch<'_>) -> Result<(), ModelError> {
        let wrong = |expected: String, found: String| Err(ModelError::Data { expected, found });
        self.check_features(batch)?;
        let (examples, outputs) = (batch.features.nrows(), self.outputs());
        if self.design.loss == Loss::SquaredError {
            let found = batch.vectors()?.dim();
            if found != (examples, outputs) {
                return wrong(
                    format!("targets of {outputs} numbers for each of {examples} examples"),
                    format!("{} for {} examples", found.1, found.0),
                );
            }
            return Ok(());
        }
        let labels = batch.classes()?;
        if labels.len() != examples {
            return wrong(
                format!("a label for each of {examples} examples"),
                format!("{} labels", labels.len()),
            );
        }
        let classes = outputs;
        match labels.iter().find(|label| **label as usize >= classes) {
            Some(label) => wrong(format!("labels below {classes}"), format!("the label {label}")),
            None => Ok(()),
        }
    }

    /// Outputs of the last layer.
    fn outputs(&self) -> usize {
        self.design.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// Computes the outputs of all layers for a chunk of features; they stay in `work`.
    fn forward(&mut self, features: ArrayView2<'_, f32>) -> Result<(), ModelError> {
        let examples = features.nrows();
        let last = self.work.len() - 1;
        self.is_sparse = self.listed.list(&self.kernel, features, self.design.layers[0].outputs);
        for (place, layer) in self.design.layers.iter().enumerate() {
            let (before, rest) = self.work.split_at_mut(place);
            let weights = matrix(&self.state, &layer.weights)?;
            let bias = vector(&self.state, &layer.bias)?;
            let mut outputs = rest[0].outputs.slice_mut(s![..examples, ..]);
            match before.last() {
                None if self.is_sparse => {
                    let rows = self.listed.rows();
                    self.kernel.multiply_sparse(rows, 0..examples, weights, outputs.view_mut());
                }
                None => self.kernel.multiply(features, weights, outputs.view_mut()),
                Some(before) => {
                    let inputs = before.outputs.slice(s![..examples, ..]);
                    self.kernel.multiply(inputs, weights, outputs.view_mut());
                }
            }
            let outputs = dense_mut(&mut outputs);
            let bias = bias.to_slice().expect("tensors are in standard layout");
            if place < last {
                self.kernel.add_bias_relu(outputs, bias);
            } else {
                self.kernel.add_bias(outputs, bias);
            }
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
        for work in &mut self.work {
            work.weights_velocity.fill(0.0);
            work.bias_velocity.fill(0.0);
        }
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_batch(batch)?;
        let mut tally = Tally::new(self.design.loss, self.outputs());
        let examples = batch.features.nrows();
        for (before, features) in chunks(batch.features) {
            self.forward(features)?;
            let mut outputs = last_outputs(&mut self.work, features.nrows());
            tally.add(&mut outputs, &batch.targets, before);
            self.learn(&Chunk { features, before, examples })?;
        }
        Ok(tally.into_results())
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.check_batch(batch)?;
        let mut tally = Tally::new(self.design.loss, self.outputs());
        for (before, features) in chunks(batch.features) {
            self.forward(features)?;
            let mut outputs = last_outputs(&mut self.work, features.nrows());
            tally.add(&mut outputs, &batch.targets, before);
        }
        Ok(tally.into_results())
    }

    fn predict_batch(
        &mut self,
        batch: &Batch<'_>,
        scores: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        self.check_features(batch)?;
        for features in batch.features.axis_chunks_iter(Axis(0), CHUNK) {
            self.forward(features)?;
            let mut outputs = last_outputs(&mut self.work, features.nrows());
            if self.design.loss == Loss::CrossEntropy {
                probabilities(&mut outputs);
            }
            scores.extend_from_slice(dense_mut(&mut outputs));
        }
        Ok(())
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }

    fn state_to_take(&mut self) -> Option<&mut NetworkState> {
        Some(&mut self.state)
    }
}

/// A batch in chunks, in its order, each with the number of examples before it.
fn chunks(features: ArrayView2<'_, f32>) -> impl Iterator<Item = (usize, ArrayView2<'_, f32>)> {
    let examples = features.nrows();
    (0..examples)
        .step_by(CHUNK)
        .map(move |first| (first, features.slice_move(s![first..examples.min(first + CHUNK), ..])))
}

/// The last layer's outputs of a chunk.
fn last_outputs(work: &mut [Work], examples: usize) -> ArrayViewMut2<'_, f32> {
    let work = work.last_mut().expect("a network has at least one layer");
    work.outputs.slice_mut(s![..examples, ..])
}

/// The values of the first rows of an array.
pub(super) fn dense<'a>(rows: &'a ArrayView2<'_, f32>) -> &'a [f32] {
    rows.as_slice().expect("whole rows are in standard layout")
}

/// The same, to change.
pub(super) fn dense_mut<'a>(rows: &'a mut ArrayViewMut2<'_, f32>) -> &'a mut [f32] {
    rows.as_slice_mut().expect("whole rows are in standard layout")
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

pub(super) fn matrix<'a>(
    state: &'a NetworkState,
    of: &Learnt,
) -> Result<ArrayView2<'a, f32>, StateError> {
    let view = state.f32(&of.name)?.view();
    Ok(view.into_dimensionality::<Ix2>().expect("shapes are checked when a shard begins"))
}

fn vector<'a>(state: &'a NetworkState, of: &Learnt) -> Result<ArrayView1<'a, f32>, StateError> {
    let view = state.f32(&of.name)?.view();
    Ok(view.into_dimensionality::<Ix1>().expect("shapes are checked when a shard begins"))
}
