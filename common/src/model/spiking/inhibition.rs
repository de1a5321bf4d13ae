//! Inhibition of quiet neurons: it is the same for all of them, so it is computed for the steps of a
//! run in advance.

use std::ops::Range;

use super::kernel::FLUSH_STEPS;
use super::parameters::Dynamics;
use crate::model::vector::FLUSH_BELOW;

/// Most steps of a run. After this number, the next run reads the weights of a tile again.
pub(super) const RUN_STEPS: usize = 32;

/// The inhibition of quiet neurons in each step of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Inhibition {
    /// [`super::kernel::Rates::membrane_keep`].
    pub(super) keep: [f32; RUN_STEPS],
    /// [`super::kernel::Rates::membrane_pull`].
    pub(super) pull: [f32; RUN_STEPS],
    /// `gi` after the step.
    pub(super) after: [f32; RUN_STEPS],
}

impl Inhibition {
    /// Plans at most [`RUN_STEPS`] steps from `gi` on. `kick` is the inhibition
    /// that arrives in the first one.
    pub(super) fn plan(
        &mut self,
        dynamics: &Dynamics,
        steps: Range<usize>,
        mut gi: f32,
        mut kick: f32,
    ) {
        let planned = self.keep.iter_mut().zip(&mut self.pull).zip(&mut self.after);
        for (step, ((keep, pull), after)) in steps.zip(planned) {
            if step.is_multiple_of(FLUSH_STEPS) && gi < FLUSH_BELOW {
                gi = 0.0;
            }
            *keep = dynamics.rates.membrane_keep(gi);
            *pull = dynamics.rates.membrane_pull(gi);
            gi = gi * dynamics.rates.inhibitory_decay + kick;
            kick = 0.0;
            *after = gi;
        }
    }
}
