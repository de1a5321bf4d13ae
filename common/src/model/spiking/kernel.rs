//! The inner loops of a presentation, over groups of neurons.
//!
//! Lanes are neurons, and no lane knows of another: the width of the vectors
//! does not show. Two kinds of groups are worked differently:
//! - In a **quiet** group no neuron has spiked in this presentation. All of its
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
//!   every input.
#![allow(unsafe_code)]

mod loops;

use std::ops::Range;

use super::events::{Events, Spike};
use super::lanes::{Line, Weights, lines};
use crate::model::kernel::Isa;

use loops::portable;
#[cfg(target_arch = "x86_64")]
use loops::{avx2, avx512};

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

/// Groups that [`quiet`] works at a time.
fn together(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 1,
        Isa::Avx2 => 2,
        Isa::Avx512 => 4,
    }
}

/// A run of steps for quiet groups.
#[derive(Debug)]
pub(super) struct QuietRun<'a> {
    /// The instruction set.
    pub(super) isa: Isa,
    /// The weights.
    pub(super) weights: &'a Weights,
    /// The input spikes.
    pub(super) events: &'a Events,
    /// The steps.
    pub(super) steps: Range<usize>,
    /// [`Rates::membrane_keep`] of each of the steps.
    pub(super) keep: &'a [f32],
    /// [`Rates::membrane_pull`] of each of the steps.
    pub(super) pull: &'a [f32],
    /// The rates.
    pub(super) rates: &'a Rates,
    /// Where the neurons stand before.
    pub(super) from: &'a Variables,
    /// Potential at which each neuron spikes.
    pub(super) threshold: &'a [Line],
}

/// Takes groups through the steps of `run`, some at a time, and writes where
/// they stand then to `to`. Ends after those among which there is a suspect: a
/// group of which a neuron has passed its threshold after any of the steps. The
/// suspects are appended to `suspects`. Returns how many groups were worked.
pub(super) fn quiet(
    run: &QuietRun<'_>,
    groups: &[usize],
    to: &mut Variables,
    suspects: &mut Vec<usize>,
) -> usize {
    let mut pointers = QuietPointers::new(run, to, groups);
    let mut done = 0;
    while done < groups.len() {
        // SAFETY: the pointers were checked (see the module).
        let (count, crossed) = unsafe { quiet_tile(run.isa, &mut pointers, &groups[done..]) };
        let tile = &groups[done..done + count];
        done += count;
        if crossed != 0 {
            let crossed = tile.iter().enumerate().filter(|(place, _)| crossed >> place & 1 == 1);
            suspects.extend(crossed.map(|(_, group)| group));
            break;
        }
    }
    done
}

/// Takes one group through the steps of `run` up to the first after which a
/// neuron has passed its threshold, that step included, and returns the number
/// of steps taken.
pub(super) fn quiet_until_crossing(run: &QuietRun<'_>, group: usize, to: &mut Variables) -> usize {
    let pointers = QuietPointers::new(run, to, &[group]);
    // SAFETY: the pointers were checked (see the module).
    unsafe {
        match run.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::quiet::<1, true>(&pointers, [group]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::quiet::<1, true>(&pointers, [group]),
            _ => portable::quiet::<1, true>(&pointers, [group]),
        }
    }
}

/// A run of steps for quiet groups, as pointers.
struct QuietPointers {
    /// Lines of a group.
    inputs: usize,
    weights: *const Line,
    spikes: *const Spike,
    starts: *const u32,
    ends: *const u32,
    keep: *const f32,
    pull: *const f32,
    from_v: *const Line,
    from_ge: *const Line,
    to_v: *mut Line,
    to_ge: *mut Line,
    threshold: *const Line,
    first: usize,
    steps: usize,
    leak: f32,
    decay: f32,
    /// Lines from a group of this tile to one of the next.
    ahead: isize,
}

impl QuietPointers {
    fn new(run: &QuietRun<'_>, to: &mut Variables, groups: &[usize]) -> Self {
        let all = run.weights.groups();
        assert!(run.isa.is_available(), "instructions that this CPU has");
        assert!(groups.iter().all(|group| *group < all), "groups of the network");
        assert!(run.from.has(all) && to.has(all) && run.threshold.len() == all);
        assert_eq!(run.weights.inputs(), run.events.inputs(), "weights of the events' inputs");
        assert!(run.steps.start <= run.steps.end && run.steps.end <= run.events.steps());
        assert!(run.keep.len() >= run.steps.len() && run.pull.len() >= run.steps.len());
        let (starts, ends) = run.events.bounds();
        Self {
            inputs: run.weights.inputs(),
            weights: run.weights.lines().as_ptr(),
            spikes: run.events.all().as_ptr(),
            starts: starts.as_ptr(),
            ends: ends.as_ptr(),
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

/// Works as many of the first groups as fit the registers, or some fewer so that
/// none is left alone. Returns their number, and a bit for each, the first one's
/// lowest, set where a neuron has passed its threshold.
///
/// # Safety
/// The CPU has the instructions, and the groups are of the network.
unsafe fn quiet_tile(isa: Isa, run: &mut QuietPointers, groups: &[usize]) -> (usize, usize) {
    // What the next groups' neurons read is asked for meanwhile.
    let after = groups.get(2 * together(isa) - 1).map_or(0, |_| together(isa));
    run.ahead = (groups[after] as isize - groups[0] as isize) * run.inputs as isize;
    // SAFETY: the caller's.
    unsafe {
        match (isa, groups) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, c] | [a, b, c, _, _] | [a, b, c, _, _, _]) => {
                (3, avx512::quiet::<3, false>(run, [*a, *b, *c]))
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, c, d, ..]) => {
                (4, avx512::quiet::<4, false>(run, [*a, *b, *c, *d]))
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b]) => (2, avx512::quiet::<2, false>(run, [*a, *b])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a]) => (1, avx512::quiet::<1, false>(run, [*a])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, b, ..]) => (2, avx2::quiet::<2, false>(run, [*a, *b])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, ..]) => (1, avx2::quiet::<1, false>(run, [*a])),
            (_, [a, ..]) => (1, portable::quiet::<1, false>(run, [*a])),
            (_, []) => (0, 0),
        }
    }
}

/// Most groups that [`active`] works at a time.
pub(super) const ACTIVE_TOGETHER: usize = 4;

/// A run of steps for active groups.
#[derive(Debug)]
pub(super) struct ActiveRun<'a> {
    /// The instruction set.
    pub(super) isa: Isa,
    /// The input spikes.
    pub(super) events: &'a Events,
    /// The steps.
    pub(super) steps: Range<usize>,
    /// The rates.
    pub(super) rates: &'a Rates,
    /// The groups.
    pub(super) groups: &'a [usize],
    /// Inhibition that arrives in the first step, for each of the groups.
    pub(super) kicks: &'a [Line],
    /// Potential at which each neuron spikes.
    pub(super) threshold: &'a [Line],
    /// First step in which each neuron is no longer refractory.
    pub(super) until: &'a [Line],
}

/// Takes active groups through the steps of `run`, up to the first after which
/// a neuron has passed its threshold, that step included. With a log, their
/// neurons learn from the input spikes, and the log takes the weights as they
/// were: a line for each step, [`ACTIVE_TOGETHER`] groups, spike and group of
/// these, in that order. Returns the number of steps, and whether a neuron has
/// passed its threshold.
pub(super) fn active(
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
struct ActivePointers {
    /// Lines of a group.
    inputs: usize,
    weights: *mut Line,
    spikes: *const Spike,
    starts: *const u32,
    ends: *const u32,
    v: *mut Line,
    ge: *mut Line,
    gi: *mut Line,
    post1: *mut Line,
    threshold: *const Line,
    until: *const Line,
    first: usize,
    steps: usize,
    /// Of the first of the groups.
    kicks: Option<*const Line>,
    log: *mut Line,
    rates: Rates,
}

/// Where some active groups have ended.
struct ActiveEnd {
    /// Steps taken.
    steps: usize,
    /// Whether a neuron has passed its threshold after the last of them.
    crossed: bool,
    /// Behind the lines that were logged.
    log: *mut Line,
}

impl ActivePointers {
    fn new(run: &ActiveRun<'_>, weights: &mut Weights, variables: &mut Variables) -> Self {
        let all = weights.groups();
        assert!(run.isa.is_available(), "instructions that this CPU has");
        assert!(run.groups.iter().all(|group| *group < all), "groups of the network");
        assert!(run.kicks.len() == run.groups.len(), "a kick for each group");
        assert!(variables.has(all) && run.threshold.len() == all && run.until.len() == all);
        assert_eq!(weights.inputs(), run.events.inputs(), "weights of the events' inputs");
        assert!(run.steps.start <= run.steps.end && run.steps.end <= run.events.steps());
        let (starts, ends) = run.events.bounds();
        Self {
            inputs: weights.inputs(),
            weights: weights.lines_mut().as_mut_ptr(),
            spikes: run.events.all().as_ptr(),
            starts: starts.as_ptr(),
            ends: ends.as_ptr(),
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
/// The CPU has the instructions, the groups are of the network and differ, and
/// there is a kick for each; with `LEARN`, the log has room for a line for each
/// group and spike.
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
