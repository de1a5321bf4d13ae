//! Active groups: all of them go from step to step, and learn on the way.

use super::super::lanes::Line;
use super::super::weights::Weights;
use super::loops::portable;
#[cfg(target_arch = "x86_64")]
use super::loops::{avx2, avx512};
use super::pointers::{ActiveEnd, ActivePointers, ActiveRun};
use super::variables::Variables;
use crate::model::kernel::Isa;

/// Most groups that [`active`] works at a time.
pub(in super::super) const ACTIVE_TOGETHER: usize = 4;

/// Takes active groups through the steps of `run`, up to the first after which
/// a neuron has passed its threshold, that step included. With a log, their
/// neurons learn from the input spikes, and the log takes the weights as they
/// were: a line for each step, [`ACTIVE_TOGETHER`] groups, spike and group of
/// these, in that order. Returns the number of steps, and whether a neuron has
/// passed its threshold.
pub(in super::super) fn active(
    run: &ActiveRun<'_>,
    weights: &mut Weights,
    variables: &mut Variables,
    mut log: Option<&mut Vec<Line>>,
) -> (usize, bool) {
    let mut pointers = ActivePointers::new(run, weights, variables);
    if let Some(log) = &mut log {
        log.reserve(run.groups.len() * run.events.of_steps(run.steps.clone()).len());
        pointers.log = log.spare_capacity_mut().as_mut_ptr().cast();
    }
    // Those that are worked one after another do not go past each other.
    let all_together = run.groups.len() <= ACTIVE_TOGETHER;
    let stride = if all_together { run.steps.len() } else { 1 };
    let (mut taken, mut crossed) = (0, false);
    while taken < run.steps.len() && !crossed {
        (pointers.first, pointers.steps) = (run.steps.start + taken, stride);
        let mut steps = 0;
        for (tile, groups) in run.groups.chunks(ACTIVE_TOGETHER).enumerate() {
            pointers.kicks = (taken == 0).then(|| run.kicks[tile * ACTIVE_TOGETHER..].as_ptr());
            // SAFETY: the pointers were checked, the CPU has the instructions
            // (see the module), and the log has room for all lines.
            let end = unsafe {
                match log {
                    None => active_tile::<false>(run.isa, &pointers, groups),
                    Some(_) => active_tile::<true>(run.isa, &pointers, groups),
                }
            };
            (steps, pointers.log) = (end.steps, end.log);
            crossed |= end.crossed;
        }
        taken += steps;
    }
    if let Some(log) = log {
        let start = log.spare_capacity_mut().as_ptr().cast();
        // SAFETY: the pointers are of the log's memory, and the lines between
        // them have been written.
        unsafe { log.set_len(log.len() + pointers.log.cast_const().offset_from_unsigned(start)) };
    }
    (taken, crossed)
}

/// Takes one to [`ACTIVE_TOGETHER`] groups through the steps.
///
/// # Safety
/// The CPU has the instructions, the groups are of the network, and there is a
/// kick for each; with `LEARN`, the log has room for a line for each group and
/// spike.
unsafe fn active_tile<const LEARN: bool>(
    isa: Isa,
    run: &ActivePointers,
    groups: &[usize],
) -> ActiveEnd {
    // SAFETY: the caller's.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::active::<LEARN>(run, groups),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::active::<LEARN>(run, groups),
            _ => portable::active::<LEARN>(run, groups),
        }
    }
}
