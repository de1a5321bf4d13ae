//! Plasticity: spike-timing-dependent, from traces.
//!
//! A trace is set to 1 by a spike and decays (Diehl & Cook 2015, section 2.3;
//! the triplet rule of the published script):
//!
//! ```text
//! an input spikes     w −= pre_rate · post1               at least 0
//! the neuron spikes   w += post_rate · pre · post2        at most weight_max
//! ```
//!
//! `post1` is needed with every input spike: it is a variable of active groups,
//! and the first rule is part of their loop ([`super::kernel::active`]). `pre` and
//! `post2` are needed only when a neuron spikes, and are looked up by the time
//! since the last spike; after longer than a presentation they are zero. Traces
//! start at 0, so that a neuron's first spike from rest changes nothing.

use std::ops::Range;

use super::events::Events;
use super::lanes::place;
use super::parameters::Dynamics;
use super::weights::Weights;

/// When a neuron or an input spiked that has not spiked.
const NEVER: i32 = i32::MIN;

/// When neurons and inputs last spiked.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    /// The step after each neuron's last spike, counted from the start of the
    /// presentation.
    neurons: Vec<i32>,
    /// The same of the inputs.
    inputs: Vec<i32>,
}

impl Traces {
    /// Before any spike.
    pub(super) fn new(inputs: usize, neurons: usize) -> Self {
        Self { neurons: vec![NEVER; neurons], inputs: vec![NEVER; inputs] }
    }

    /// Clears all spikes.
    pub(super) fn clear(&mut self) {
        self.neurons.fill(NEVER);
        self.inputs.fill(NEVER);
    }

    /// Starts another presentation, `steps` steps after the start of the last one.
    pub(super) fn carry(&mut self, steps: usize) {
        for last in self.neurons.iter_mut().chain(&mut self.inputs) {
            *last = last.saturating_sub(steps as i32);
        }
    }

    /// Records the input spikes of steps.
    pub(super) fn hear(&mut self, events: &Events, steps: Range<usize>) {
        for spike in events.of_steps(steps) {
            self.inputs[spike.input()] = spike.time() as i32;
        }
    }

    /// A neuron that spikes learns. `inputs` are those that may have spiked; this
    /// step's spikes are taken in already.
    pub(super) fn learn(
        &mut self,
        weights: &mut Weights,
        inputs: &[u32],
        dynamics: &Dynamics,
        neuron: usize,
        step: usize,
    ) {
        let now = step as i32 + 1;
        let left = |trace: &[f32], last: i32| {
            let steps = now.saturating_sub(last) as usize;
            trace.get(steps).copied().unwrap_or(0.0)
        };
        let last = std::mem::replace(&mut self.neurons[neuron], now);
        if last == NEVER {
            return;
        }
        let rate = dynamics.post_rate * left(&dynamics.post2, last);
        let (group, lane) = place(neuron);
        let lines = weights.group_mut(group);
        for input in inputs {
            let last = self.inputs[*input as usize];
            if last != NEVER {
                let weight = &mut lines[*input as usize].0[lane];
                let raised = *weight + rate * left(&dynamics.pre, last);
                *weight = if raised < dynamics.weight_max { raised } else { dynamics.weight_max };
            }
        }
    }
}
