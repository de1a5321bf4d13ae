//! Active groups: all of them go from step to step, and learn on the way.

use std::ops::Range;

use super::super::events::{Events, Spike};
use super::super::lanes::{Line, Weights};
use super::loops::portable;
#[cfg(target_arch = "x86_64")]
use super::loops::{avx2, avx512};
use super::{Rates, Variables};
use crate::model::kernel::Isa;

/// Most groups that [`active`] works at a time.
pub(in super::super) const ACTIVE_TOGETHER: usize = 4;

/// A run of steps for active groups.
#[derive(Debug)]
pub(in super::super) struct ActiveRun<'a> {
    /// The instruction set.
    pub(in super::super) isa: Isa,
    /// The input spikes.
    pub(in super::super) events: &'a Events,
    /// The steps.
    pub(in super::super) steps: Range<usize>,
    /// The rates.
    pub(in super::super) rates: &'a Rates,
    /// The groups.
    pub(in super::super) groups: &'a [usize],
    /// Inhibition that arrives in the first step, for each of the groups.
    pub(in super::super) kicks: &'a [Line],
    /// Potential at which each neuron spikes.
    pub(in super::super) threshold: &'a [Line],
    /// First step in which each neuron is no longer refractory.
    pub(in super::super) until: &'a [Line],
}

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

/// Steps for active groups, as pointers.
pub(super) struct ActivePointers {
    /// Lines of a group.
    pub(super) inputs: usize,
    pub(super) weights: *mut Line,
    pub(super) spikes: *const Spike,
    pub(super) starts: *const u32,
    pub(super) v: *mut Line,
    pub(super) ge: *mut Line,
    pub(super) gi: *mut Line,
    pub(super) post1: *mut Line,
    pub(super) threshold: *const Line,
    pub(super) until: *const Line,
    pub(super) first: usize,
    pub(super) steps: usize,
    /// Of the first of the groups.
    pub(super) kicks: Option<*const Line>,
    pub(super) log: *mut Line,
    pub(super) rates: Rates,
}

/// Where some active groups have ended.
pub(super) struct ActiveEnd {
    /// Steps taken.
    pub(super) steps: usize,
    /// Whether a neuron has passed its threshold after the last of them.
    pub(super) crossed: bool,
    /// Behind the lines that were logged.
    pub(super) log: *mut Line,
}

impl ActivePointers {
    fn new(run: &ActiveRun<'_>, weights: &mut Weights, variables: &mut Variables) -> Self {
        let all = weights.groups();
        assert!(run.isa.is_available(), "instructions that this CPU has");
        assert!(!run.groups.is_empty(), "without groups, no steps would be taken");
        assert!(run.groups.iter().all(|group| *group < all), "groups of the network");
        assert!(run.kicks.len() == run.groups.len(), "a kick for each group");
        assert!(variables.has(all) && run.threshold.len() == all && run.until.len() == all);
        assert_eq!(weights.inputs(), run.events.inputs(), "weights of the events' inputs");
        assert!(run.steps.start <= run.steps.end && run.steps.end <= run.events.steps());
        Self {
            inputs: weights.inputs(),
            weights: weights.lines_mut().as_mut_ptr(),
            spikes: run.events.all().as_ptr(),
            starts: run.events.starts().as_ptr(),
            v: variables.v.as_mut_ptr(),
            ge: variables.ge.as_mut_ptr(),
            gi: variables.gi.as_mut_ptr(),
            post1: variables.post1.as_mut_ptr(),
            threshold: run.threshold.as_ptr(),
            until: run.until.as_ptr(),
            first: run.steps.start,
            steps: run.steps.len(),
            kicks: None,
            log: std::ptr::null_mut(),
            rates: *run.rates,
        }
    }
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
