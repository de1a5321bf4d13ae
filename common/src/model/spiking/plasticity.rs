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
//! since the last spike. Traces start at 0, so that a neuron's first spike in a
//! presentation changes nothing.

use std::ops::Range;

use super::events::Events;
use super::lanes::{Weights, place};
use super::parameters::Dynamics;

/// When neurons and inputs last spiked.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    /// The step after each neuron's last spike; 0 where it has not spiked.
    neurons: Vec<u32>,
    /// The same of the inputs.
    inputs: Vec<u32>,
}

impl Traces {
    /// Before any spike.
    pub(super) fn new(inputs: usize, neurons: usize) -> Self {
        Self { neurons: vec![0; neurons], inputs: vec![0; inputs] }
    }

    /// Forgets all spikes.
    pub(super) fn clear(&mut self) {
        self.neurons.fill(0);
        self.inputs.fill(0);
    }

    /// Takes in the input spikes of steps.
    pub(super) fn hear(&mut self, events: &Events, steps: Range<usize>) {
        for spike in events.of_steps(steps) {
            self.inputs[spike.input()] = spike.time();
        }
    }

    /// A neuron that spikes learns. `lit` are the inputs that may have spiked;
    /// those of this step are taken in already.
    pub(super) fn learn(
        &mut self,
        weights: &mut Weights,
        lit: &[u32],
        dynamics: &Dynamics,
        neuron: usize,
        step: usize,
    ) {
        let now = step as u32 + 1;
        let last = std::mem::replace(&mut self.neurons[neuron], now);
        if last == 0 {
            return;
        }
        let rate = dynamics.post_rate * dynamics.post2[(now - last) as usize];
        let (group, lane) = place(neuron);
        let lines = weights.group_mut(group);
        for input in lit {
            let last = self.inputs[*input as usize];
            if last > 0 {
                let weight = &mut lines[*input as usize].0[lane];
                let raised = *weight + rate * dynamics.pre[(now - last) as usize];
                *weight = if raised < dynamics.weight_max { raised } else { dynamics.weight_max };
            }
        }
    }
}
