//! Runs of steps: as they are asked for, and as the pointers that the loops go by,
//! which are made of a run once it is checked.

use std::ops::Range;

use super::super::events::{Events, Spike};
use super::super::lanes::Line;
use super::super::weights::Weights;
use super::variables::{Rates, Variables};
use crate::model::kernel::Isa;

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

/// A run of steps for quiet groups.
#[derive(Debug)]
pub(in super::super) struct QuietRun<'a> {
    /// The instruction set.
    pub(in super::super) isa: Isa,
    /// The weights.
    pub(in super::super) weights: &'a Weights,
    /// The input spikes.
    pub(in super::super) events: &'a Events,
    /// The steps.
    pub(in super::super) steps: Range<usize>,
    /// [`Rates::membrane_keep`] of each of the steps.
    pub(in super::super) keep: &'a [f32],
    /// [`Rates::membrane_pull`] of each of the steps.
    pub(in super::super) pull: &'a [f32],
    /// The rates.
    pub(in super::super) rates: &'a Rates,
    /// Where the neurons stand before.
    pub(in super::super) from: &'a Variables,
    /// Potential at which each neuron spikes.
    pub(in super::super) threshold: &'a [Line],
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
    /// Checks the run, and that there are lines for all that it may touch.
    pub(super) fn new(
        run: &ActiveRun<'_>,
        weights: &mut Weights,
        variables: &mut Variables,
    ) -> Self {
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

/// A run of steps for quiet groups, as pointers.
pub(super) struct QuietPointers {
    /// Lines of a group.
    pub(super) inputs: usize,
    pub(super) weights: *const Line,
    pub(super) spikes: *const Spike,
    pub(super) starts: *const u32,
    pub(super) keep: *const f32,
    pub(super) pull: *const f32,
    pub(super) from_v: *const Line,
    pub(super) from_ge: *const Line,
    pub(super) to_v: *mut Line,
    pub(super) to_ge: *mut Line,
    pub(super) threshold: *const Line,
    pub(super) first: usize,
    pub(super) steps: usize,
    pub(super) leak: f32,
    pub(super) decay: f32,
    /// Lines from a group of this tile to one of the next.
    pub(super) ahead: isize,
}

impl QuietPointers {
    /// Checks the run, and that there are lines for all that it may touch.
    pub(super) fn new(run: &QuietRun<'_>, to: &mut Variables, groups: &[usize]) -> Self {
        let all = run.weights.groups();
        assert!(run.isa.is_available(), "instructions that this CPU has");
        assert!(groups.iter().all(|group| *group < all), "groups of the network");
        assert!(run.from.has(all) && to.has(all) && run.threshold.len() == all);
        assert_eq!(run.weights.inputs(), run.events.inputs(), "weights of the events' inputs");
        assert!(run.steps.start <= run.steps.end && run.steps.end <= run.events.steps());
        assert!(run.keep.len() >= run.steps.len() && run.pull.len() >= run.steps.len());
        Self {
            inputs: run.weights.inputs(),
            weights: run.weights.lines().as_ptr(),
            spikes: run.events.all().as_ptr(),
            starts: run.events.starts().as_ptr(),
            keep: run.keep.as_ptr(),
            pull: run.pull.as_ptr(),
            from_v: run.from.v.as_ptr(),
            from_ge: run.from.ge.as_ptr(),
            to_v: to.v.as_mut_ptr(),
            to_ge: to.ge.as_mut_ptr(),
            threshold: run.threshold.as_ptr(),
            first: run.steps.start,
            steps: run.steps.len(),
            leak: run.rates.leak,
            decay: run.rates.excitatory_decay,
            ahead: 0,
        }
    }
}
