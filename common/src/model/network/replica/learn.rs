//! How a replica learns from a batch: gradients from the last layer to the first, then a step.

use std::ops::Range;

use ndarray::{ArrayView2, s};

use super::{NetworkReplica, dense, dense_mut, matrix};
use crate::model::ModelError;
use crate::model::kernel::{Kernel, Step};
use crate::model::network::{EXAMPLES, Learnt, Optimiser};
use crate::state::{NetworkState, StateError};

/// Values of a gradient that is used up at once: it stays in the fastest cache until then.
const AT_ONCE: usize = 1 << 12;

/// A part of a batch.
pub(super) struct Chunk<'a> {
    /// `[examples of the chunk, features]`.
    pub(super) features: ArrayView2<'a, f32>,
    /// Examples of the batch before it.
    pub(super) before: usize,
    /// Examples of the batch.
    pub(super) examples: usize,
}

impl Chunk<'_> {
    fn is_first(&self) -> bool {
        self.before == 0
    }

    fn is_last(&self) -> bool {
        self.before + self.features.nrows() == self.examples
    }
}

impl NetworkReplica {
    /// Adds a chunk to the gradients, from the last layer to the first, and updates the weights
    /// after the last chunk. The last layer's outputs hold the gradient by them.
    pub(super) fn learn(&mut self, chunk: &Chunk<'_>) -> Result<(), ModelError> {
        for place in (0..self.work.len()).rev() {
            self.add_to_bias(place, chunk);
            if place > 0 {
                // Before this layer's weights change.
                self.delta_before(place, chunk.features.nrows())?;
            }
            self.learn_weights(place, chunk)?;
            if chunk.is_last() {
                let (layer, work) = (&self.design.layers[place], &mut self.work[place]);
                let optimiser = &self.design.optimiser;
                let velocity = &mut work.bias_velocity;
                let bias = values_mut(&mut self.state, &layer.bias, optimiser, velocity)?;
                let gradient = work.bias_gradient.as_slice().expect("in standard layout");
                bias.follow(&self.kernel, &optimiser.step(0.0, chunk.examples), gradient);
            }
        }
        if chunk.is_last() {
            for count in &mut self.state.u64_mut(EXAMPLES)? {
                *count = count.wrapping_add(chunk.examples as u64);
            }
        }
        Ok(())
    }

    /// Adds a chunk to the gradient by a layer's bias.
    fn add_to_bias(&mut self, place: usize, chunk: &Chunk<'_>) {
        let is_last = place + 1 == self.work.len();
        let work = &mut self.work[place];
        let delta = if is_last { &work.outputs } else { &work.delta };
        let delta = delta.slice(s![..chunk.features.nrows(), ..]);
        let sums = work.bias_gradient.as_slice_mut().expect("in standard layout");
        if chunk.is_first() {
            sums.fill(0.0);
        }
        self.kernel.add_rows(sums, dense(&delta));
    }

    /// The gradient by the outputs of the layer before.
    fn delta_before(&mut self, place: usize, examples: usize) -> Result<(), ModelError> {
        let is_last = place + 1 == self.work.len();
        let (before, rest) = self.work.split_at_mut(place);
        let (before, work) = (&mut before[place - 1], &rest[0]);
        let delta = if is_last { &work.outputs } else { &work.delta };
        let delta = delta.slice(s![..examples, ..]);
        let weights = matrix(&self.state, &self.design.layers[place].weights)?;
        let mut delta_before = before.delta.slice_mut(s![..examples, ..]);
        self.kernel.multiply(delta, weights.t(), delta_before.view_mut());
        let outputs = before.outputs.slice(s![..examples, ..]);
        self.kernel.mask(dense_mut(&mut delta_before), dense(&outputs));
        Ok(())
    }

    /// Adds a chunk to the gradient by a layer's weights, and updates these after the last chunk.
    ///
    /// If the only chunk has its features in lists, the gradient of some inputs is used up before
    /// that of the next ones is computed, in the same memory.
    fn learn_weights(&mut self, place: usize, chunk: &Chunk<'_>) -> Result<(), ModelError> {
        let Self { design, kernel, state, work, listed, is_sparse } = self;
        let (layer, optimiser) = (&design.layers[place], &design.optimiser);
        let (examples, is_last) = (chunk.features.nrows(), place + 1 == work.len());
        let (before, rest) = work.split_at_mut(place);
        let work = &mut rest[0];
        let delta = if is_last { &work.outputs } else { &work.delta };
        let delta = delta.slice(s![..examples, ..]);
        let inputs = match before.last() {
            Some(before) => before.outputs.slice(s![..examples, ..]),
            None => chunk.features,
        };
        let is_sparse = *is_sparse && place == 0;
        let at_once = if is_sparse && chunk.is_first() && chunk.is_last() {
            (AT_ONCE / layer.outputs).max(1)
        } else {
            layer.inputs
        };
        let step = optimiser.step(optimiser.weight_decay, chunk.examples);
        let mut weights = values_mut(state, &layer.weights, optimiser, &mut work.weights_velocity)?;
        for first in (0..layer.inputs).step_by(at_once) {
            let rows = first..(first + at_once).min(layer.inputs);
            let mut gradient = work.weights_gradient.slice_mut(s![..rows.len(), ..]);
            match (is_sparse, chunk.is_first()) {
                (true, true) => {
                    let columns = listed.columns();
                    kernel.multiply_sparse(columns, rows.clone(), delta, gradient.view_mut());
                }
                (true, false) => {
                    let columns = listed.columns();
                    kernel.multiply_add_sparse(columns, rows.clone(), delta, gradient.view_mut());
                }
                (false, true) => kernel.multiply(inputs.t(), delta, gradient.view_mut()),
                (false, false) => kernel.multiply_add(inputs.t(), delta, gradient.view_mut()),
            }
            if chunk.is_last() {
                let values = rows.start * layer.outputs..rows.end * layer.outputs;
                weights.part(values).follow(kernel, &step, dense_mut(&mut gradient));
            }
        }
        Ok(())
    }
}

impl Optimiser {
    /// The step after a batch of `examples`.
    fn step(&self, weight_decay: f32, examples: usize) -> Step {
        Step {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            weight_decay,
            share: 1.0 / examples as f32,
        }
    }
}

/// The values of a tensor that learns, with their velocities if they have any.
struct Values<'a> {
    values: &'a mut [f32],
    velocity: Option<&'a mut [f32]>,
}

impl Values<'_> {
    /// Some of them.
    fn part(&mut self, range: Range<usize>) -> Values<'_> {
        Values {
            values: &mut self.values[range.clone()],
            velocity: self.velocity.as_mut().map(|velocity| &mut velocity[range]),
        }
    }

    /// Moves the values along their gradient.
    fn follow(self, kernel: &Kernel, step: &Step, gradient: &[f32]) {
        match self.velocity {
            Some(velocity) => kernel.step_with_momentum(step, self.values, gradient, velocity),
            None => kernel.step(step, self.values, gradient),
        }
    }
}

/// The values of a tensor that learns; `local` is its velocity if that is not in the state.
fn values_mut<'a>(
    state: &'a mut NetworkState,
    learnt: &Learnt,
    optimiser: &Optimiser,
    local: &'a mut [f32],
) -> Result<Values<'a>, StateError> {
    if optimiser.has_merged_velocity() {
        let [values, velocity] = state.f32_pair_mut([&learnt.name, &learnt.velocity])?;
        return Ok(Values { values, velocity: Some(velocity) });
    }
    let values = state.f32_mut(&learnt.name)?.into_slice().expect("tensors are in standard layout");
    Ok(Values { values, velocity: optimiser.has_velocity().then_some(local) })
}
