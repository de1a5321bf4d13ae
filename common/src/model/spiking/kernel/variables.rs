//! The variables of the neurons, and the rates by which a step changes them.

use super::super::lanes::{Line, lines};

/// The constants of all neurons and steps.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rates {
    /// `1 − dt/τ` of the membrane.
    pub(in super::super) keep: f32,
    /// `dt/τ` of the membrane.
    pub(in super::super) leak: f32,
    /// The pull of the membrane to rest in a step [mV].
    pub(in super::super) rest: f32,
    /// The same to the inhibitory reversal potential, per unit of `gi` [mV].
    pub(in super::super) inhibitory: f32,
    /// Decay factor of `ge` per step.
    pub(in super::super) excitatory_decay: f32,
    /// Decay factor of `gi` per step.
    pub(in super::super) inhibitory_decay: f32,
    /// Decay factor of the post-synaptic trace 1 per step.
    pub(in super::super) post1_decay: f32,
    /// Learning rate on an input spike.
    pub(in super::super) pre_rate: f32,
}

impl Rates {
    /// The membrane's factor in a step without excitation.
    pub(in super::super) fn membrane_keep(&self, gi: f32) -> f32 {
        self.keep - self.leak * gi
    }

    /// The pull of the membrane in a step [mV].
    pub(in super::super) fn membrane_pull(&self, gi: f32) -> f32 {
        self.rest + self.inhibitory * gi
    }
}

/// The neurons' variables, a line for each group.
#[derive(Clone, Debug)]
pub(in super::super) struct Variables {
    /// Membrane potential above the excitatory reversal potential [mV].
    pub(in super::super) v: Vec<Line>,
    /// Excitatory conductance, in units of the leak's.
    pub(in super::super) ge: Vec<Line>,
    /// Inhibitory conductance, of the neurons of active groups.
    pub(in super::super) gi: Vec<Line>,
    /// Post-synaptic trace 1, of the neurons of active groups.
    pub(in super::super) post1: Vec<Line>,
}

impl Variables {
    /// All zero.
    pub(in super::super) fn new(neurons: usize) -> Self {
        let zeros = || lines(neurons, 0.0);
        Self { v: zeros(), ge: zeros(), gi: zeros(), post1: zeros() }
    }

    /// Copies one group.
    pub(in super::super) fn copy_group(&mut self, from: &Self, group: usize) {
        self.v[group] = from.v[group];
        self.ge[group] = from.ge[group];
        self.gi[group] = from.gi[group];
        self.post1[group] = from.post1[group];
    }

    /// Whether there are lines for this number of groups.
    pub(super) fn has(&self, groups: usize) -> bool {
        [&self.v, &self.ge, &self.gi, &self.post1].iter().all(|lines| lines.len() == groups)
    }
}
