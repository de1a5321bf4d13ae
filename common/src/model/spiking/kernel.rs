//! The inner loops of a presentation, over groups of neurons, and the pages that
//! their weights lie on.
//!
//! Lanes are neurons, and no lane knows of another: the width of the vectors
//! does not show. Two kinds of groups are worked differently:
//! - In a **quiet** group no neuron has spiked since it was at rest. All of its
//!   neurons see the same inhibition, so that it is a number of the step, and
//!   none has a trace, so that its weights stand still. [`quiet`] takes as many
//!   groups as fit the registers through several steps.
//! - In an **active** group the neurons have inhibition, traces and refractory
//!   periods of their own. [`active`] takes all such groups from step to step,
//!   so that none goes past another's spike.
//!
//! The only module of the model with `unsafe`. What makes it sound:
//! - **Instructions.** A function compiled for an instruction set is called
//!   only through the safe functions here, with an [`Isa`] that is available.
//! - **Pointers.** They come from slices that live through the call. The safe
//!   functions check that there are lines for every group, that the weights
//!   have the events' inputs, and that the steps are the events'; every spike of
//!   [`Events`] is of an input below their number, and each group has a line for
//!   every input. Large pages are asked for in memory that nothing has used.
#![allow(unsafe_code)]

mod active;
mod loops;
mod pages;
mod quiet;

use super::lanes::{Line, lines};
use crate::model::kernel::Isa;

use loops::portable;
#[cfg(target_arch = "x86_64")]
use loops::{avx2, avx512};

pub(super) use active::{ACTIVE_TOGETHER, ActiveRun, active};
pub(super) use pages::zeroed_lines;
pub(super) use quiet::{QuietRun, quiet, quiet_until_crossing};

/// Steps from one flush of small conductances to the next.
pub(super) const FLUSH_STEPS: usize = 32;

/// Conductances below this are taken for zero.
pub(super) const FLUSH_BELOW: f32 = 1e-20;

/// What is the same for all neurons and steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// `1 − dt/τ` of the membrane.
    pub(super) keep: f32,
    /// `dt/τ` of the membrane.
    pub(super) leak: f32,
    /// How the membrane is drawn to rest in a step [mV].
    pub(super) rest: f32,
    /// The same to the inhibitory reversal potential, per unit of `gi` [mV].
    pub(super) inhibitory: f32,
    /// What is left of `ge` after a step.
    pub(super) excitatory_decay: f32,
    /// What is left of `gi` after a step.
    pub(super) inhibitory_decay: f32,
    /// What is left of the post-synaptic trace 1 after a step.
    pub(super) post1_decay: f32,
    /// Learning rate on an input spike.
    pub(super) pre_rate: f32,
}

impl Rates {
    /// The membrane's factor in a step without excitation.
    pub(super) fn membrane_keep(&self, gi: f32) -> f32 {
        self.keep - self.leak * gi
    }

    /// What the membrane is drawn by in a step [mV].
    pub(super) fn membrane_pull(&self, gi: f32) -> f32 {
        self.rest + self.inhibitory * gi
    }
}

/// The neurons' variables, a line for each group.
#[derive(Clone, Debug)]
pub(super) struct Variables {
    /// Membrane potential above the excitatory reversal potential [mV].
    pub(super) v: Vec<Line>,
    /// Excitatory conductance, in units of the leak's.
    pub(super) ge: Vec<Line>,
    /// Inhibitory conductance, of the neurons of active groups.
    pub(super) gi: Vec<Line>,
    /// Post-synaptic trace 1, of the neurons of active groups.
    pub(super) post1: Vec<Line>,
}

impl Variables {
    /// All zero.
    pub(super) fn new(neurons: usize) -> Self {
        let zeros = || lines(neurons, 0.0);
        Self { v: zeros(), ge: zeros(), gi: zeros(), post1: zeros() }
    }

    /// Takes over one group.
    pub(super) fn copy_group(&mut self, from: &Self, group: usize) {
        self.v[group] = from.v[group];
        self.ge[group] = from.ge[group];
        self.gi[group] = from.gi[group];
        self.post1[group] = from.post1[group];
    }

    fn has(&self, groups: usize) -> bool {
        [&self.v, &self.ge, &self.gi, &self.post1].iter().all(|lines| lines.len() == groups)
    }
}

/// The sum of each lane over lines, split in four by the line's number:
/// `(s0 + s1) + (s2 + s3)`.
pub(super) fn column_sums(isa: Isa, lines: &[Line]) -> Line {
    assert!(isa.is_available(), "instructions that this CPU has");
    // SAFETY: the CPU has the instructions.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::column_sums(lines),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::column_sums(lines),
            _ => portable::column_sums(lines),
        }
    }
}

/// Multiplies each lane of lines by its factor.
pub(super) fn scale_columns(isa: Isa, lines: &mut [Line], factors: &Line) {
    assert!(isa.is_available(), "instructions that this CPU has");
    // SAFETY: the CPU has the instructions.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::scale_columns(lines, factors),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::scale_columns(lines, factors),
            _ => portable::scale_columns(lines, factors),
        }
    }
}
