//! The inner loops of a presentation, over groups of [`GROUP`] neurons.
//!
//! Lanes are neurons, and no lane knows of another: the width of the vectors
//! does not show. Two kinds of groups are worked differently:
//! - In a **quiet** group no neuron has spiked in this presentation. All of its
//!   neurons see the same inhibition, so that it is a number of the step, and
//!   none has a trace, so that its weights stand still. [`quiet`] takes
//!   [`Isa`]-many groups through several steps with `v` and `ge` in registers.
//! - In an **active** group the neurons have inhibition, traces and refractory
//!   periods of their own. [`active`] takes such groups through one step.
//!
//! The only module of the model with `unsafe`. What makes it sound:
//! - **Instructions.** A function compiled for an instruction set is called
//!   only through the safe functions here, with an [`Isa`] that is available.
//! - **Pointers.** They come from slices that live through the call. The safe
//!   functions check that there are lines for every group, that the weights
//!   have the events' inputs, and that the steps are the
//!   events'; every spike of [`Events`] is of an input below their number, and
//!   each group has a line for every input.
#![allow(unsafe_code)]

use std::ops::Range;

use super::encoding::Events;
use super::lanes::{Line, Weights, lines};
use crate::model::kernel::Isa;
use crate::model::vector::{self, Vector};

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
/// they stand then to `to`. Ends after those of which a neuron has passed its
/// threshold after any of the steps. Returns how many groups were worked, and
/// how many of these, the last ones, may have such a neuron.
pub(super) fn quiet(run: &QuietRun<'_>, groups: &[usize], to: &mut Variables) -> (usize, usize) {
    let mut pointers = QuietPointers::new(run, to, groups);
    let mut done = 0;
    while done < groups.len() {
        // SAFETY: the pointers were checked (see the module).
        let (count, crossed) = unsafe { quiet_tile(run.isa, &mut pointers, &groups[done..]) };
        done += count;
        if crossed {
            return (done, count);
        }
    }
    (done, 0)
}

/// Takes one group through the steps of `run` up to the first after which a
/// neuron has passed its threshold, that step included, and returns the number
/// of steps taken.
pub(super) fn quiet_until_crossing(
    run: &QuietRun<'_>,
    group: usize,
    to: &mut Variables,
) -> usize {
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
    sources: *const u32,
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
            sources: run.events.all().as_ptr(),
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

/// Works as many of the first groups as fit the registers: their number, and
/// whether any of their neurons has passed its threshold.
///
/// # Safety
/// The CPU has the instructions, and the groups are of the network.
unsafe fn quiet_tile(isa: Isa, run: &mut QuietPointers, groups: &[usize]) -> (usize, bool) {
    // What the next groups' neurons read is asked for meanwhile.
    let after = groups.get(2 * together(isa) - 1).map_or(0, |_| together(isa));
    run.ahead = (groups[after] as isize - groups[0] as isize) * run.inputs as isize;
    // SAFETY: the caller's.
    unsafe {
        match (isa, groups) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, c, d, ..]) => {
                (4, avx512::quiet::<4, false>(run, [*a, *b, *c, *d]) != 0)
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, ..]) => (2, avx512::quiet::<2, false>(run, [*a, *b]) != 0),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, ..]) => (1, avx512::quiet::<1, false>(run, [*a]) != 0),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, b, ..]) => (2, avx2::quiet::<2, false>(run, [*a, *b]) != 0),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, ..]) => (1, avx2::quiet::<1, false>(run, [*a]) != 0),
            (_, [a, ..]) => (1, portable::quiet::<1, false>(run, [*a]) != 0),
            (_, []) => (0, false),
        }
    }
}

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
/// were, a line for each step, group and spike in that order. Returns the
/// number of steps, and whether a neuron has passed its threshold.
pub(super) fn active(
    run: &ActiveRun<'_>,
    weights: &mut Weights,
    variables: &mut Variables,
    mut log: Option<&mut Vec<Line>>,
) -> (usize, bool) {
    let all = weights.groups();
    assert!(run.isa.is_available(), "instructions that this CPU has");
    assert!(run.groups.iter().all(|group| *group < all), "groups of the network");
    assert!(run.kicks.len() == run.groups.len(), "a kick for each group");
    assert!(variables.has(all) && run.threshold.len() == all && run.until.len() == all);
    assert_eq!(weights.inputs(), run.events.inputs(), "weights of the events' inputs");
    let mut pointers = ActivePointers {
        inputs: weights.inputs(),
        weights: weights.lines_mut().as_mut_ptr(),
        sources: std::ptr::null(),
        spikes: 0,
        v: variables.v.as_mut_ptr(),
        ge: variables.ge.as_mut_ptr(),
        gi: variables.gi.as_mut_ptr(),
        post1: variables.post1.as_mut_ptr(),
        threshold: run.threshold.as_ptr(),
        until: run.until.as_ptr(),
        kicks: Some(run.kicks.as_ptr()),
        time: 0.0,
        flush: false,
        rates: *run.rates,
    };
    for step in run.steps.clone() {
        let sources = run.events.sources(step);
        (pointers.sources, pointers.spikes) = (sources.as_ptr(), sources.len());
        (pointers.time, pointers.flush) = (step as f32, step.is_multiple_of(FLUSH_STEPS));
        // SAFETY: the pointers were checked, the CPU has the instructions (see
        // the module), and the log has room for all lines, which are then
        // written.
        let crossed = unsafe {
            match &mut log {
                None => {
                    active_of::<false>(run.isa, &pointers, run.groups, std::ptr::null_mut())
                }
                Some(log) => {
                    let lines = run.groups.len() * sources.len();
                    log.reserve(lines);
                    let end = log.as_mut_ptr().add(log.len());
                    let crossed = active_of::<true>(run.isa, &pointers, run.groups, end);
                    log.set_len(log.len() + lines);
                    crossed
                }
            }
        };
        pointers.kicks = None;
        if crossed {
            return (step + 1 - run.steps.start, true);
        }
    }
    (run.steps.len(), false)
}

/// A step for active groups, as pointers.
struct ActivePointers {
    /// Lines of a group.
    inputs: usize,
    weights: *mut Line,
    sources: *const u32,
    spikes: usize,
    v: *mut Line,
    ge: *mut Line,
    gi: *mut Line,
    post1: *mut Line,
    threshold: *const Line,
    until: *const Line,
    kicks: Option<*const Line>,
    time: f32,
    flush: bool,
    rates: Rates,
}

/// # Safety
/// The CPU has the instructions, the groups are of the network; with `LEARN`,
/// the log has room for a line for each group and spike.
unsafe fn active_of<const LEARN: bool>(
    isa: Isa,
    step: &ActivePointers,
    groups: &[usize],
    log: *mut Line,
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::active::<LEARN>(step, groups, log),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::active::<LEARN>(step, groups, log),
            _ => portable::active::<LEARN>(step, groups, log),
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

/// A line in vectors.
///
/// # Safety
/// The line can be read, and the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn load<V: Vector, const G: usize>(line: *const Line) -> [V; G] {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [V::zero(); G];
        for g in 0..G {
            values[g] = V::load(line.cast::<f32>().add(g * V::LANES));
        }
        values
    }
}

/// # Safety
/// The line can be written, and the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn store<V: Vector, const G: usize>(values: [V; G], line: *mut Line) {
    for g in 0..G {
        // SAFETY: the caller's.
        unsafe { values[g].store(line.cast::<f32>().add(g * V::LANES)) }
    }
}

/// Lines of several groups.
///
/// # Safety
/// As of [`load`].
#[inline(always)]
unsafe fn load_all<V: Vector, const G: usize, const K: usize>(
    lines: *const Line,
    groups: [usize; K],
) -> [[V; G]; K] {
    // SAFETY: the caller's.
    unsafe {
        let mut all = [[V::zero(); G]; K];
        for k in 0..K {
            all[k] = load(lines.add(groups[k]));
        }
        all
    }
}

/// Whether any value is above its bound.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn any_above<V: Vector, const G: usize, const K: usize>(
    values: [[V; G]; K],
    bounds: [[V; G]; K],
) -> bool {
    let mut above = 0;
    for k in 0..K {
        for g in 0..G {
            // SAFETY: the caller's.
            above |= unsafe { values[k][g].above(bounds[k][g]) };
        }
    }
    above != 0
}

/// Zero where a conductance is below [`FLUSH_BELOW`].
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn flushed<V: Vector>(conductance: V) -> V {
    // SAFETY: the caller's.
    unsafe { V::splat(FLUSH_BELOW).choose(conductance, V::zero(), conductance) }
}

/// Takes the groups through the steps. With `CHECK` it ends after a step after
/// which a neuron is above its threshold, and returns the number of steps;
/// without, all steps are taken, and 1 returned if there was such a step.
///
/// No closures here and below: what the compiler does not inline would be
/// compiled without the instruction set.
///
/// # Safety
/// As of [`quiet_tile`].
#[inline(always)]
unsafe fn quiet_steps<V: Vector, const G: usize, const K: usize, const CHECK: bool>(
    run: &QuietPointers,
    groups: [usize; K],
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let mut v = load_all::<V, G, K>(run.from_v, groups);
        let mut ge = load_all::<V, G, K>(run.from_ge, groups);
        let mut highest = [[V::splat(f32::NEG_INFINITY); G]; K];
        let mut weights = [run.weights; K];
        for k in 0..K {
            weights[k] = run.weights.add(groups[k] * run.inputs);
        }
        let (leak, decay) = (V::splat(run.leak), V::splat(run.decay));
        let mut step = 0;
        while step < run.steps {
            let time = run.first + step;
            if time.is_multiple_of(FLUSH_STEPS) {
                for k in 0..K {
                    for g in 0..G {
                        ge[k][g] = flushed(ge[k][g]);
                    }
                }
            }
            let keep = V::splat(*run.keep.add(step));
            let pull = V::splat(*run.pull.add(step));
            for k in 0..K {
                for g in 0..G {
                    let factor = keep.minus(leak.times(ge[k][g]));
                    v[k][g] = v[k][g].times(factor).plus(pull);
                    ge[k][g] = ge[k][g].times(decay);
                    if !CHECK {
                        highest[k][g] = highest[k][g].larger(v[k][g]);
                    }
                }
            }
            let mut spike = run.sources.add(*run.starts.add(time) as usize);
            let end = run.sources.add(*run.ends.add(time) as usize);
            if spike < end {
                let mut sum = [[V::zero(); G]; K];
                for k in 0..K {
                    vector::prefetch(weights[k].wrapping_offset(*spike as isize + run.ahead));
                    sum[k] = load(weights[k].add(*spike as usize));
                }
                spike = spike.add(1);
                while spike < end {
                    for k in 0..K {
                        vector::prefetch(
                            weights[k].wrapping_offset(*spike as isize + run.ahead),
                        );
                        let line = load::<V, G>(weights[k].add(*spike as usize));
                        for g in 0..G {
                            sum[k][g] = sum[k][g].plus(line[g]);
                        }
                    }
                    spike = spike.add(1);
                }
                for k in 0..K {
                    for g in 0..G {
                        ge[k][g] = ge[k][g].plus(sum[k][g]);
                    }
                }
            }
            step += 1;
            if CHECK && any_above(v, load_all(run.threshold, groups)) {
                break;
            }
        }
        for k in 0..K {
            store(v[k], run.to_v.add(groups[k]));
            store(ge[k], run.to_ge.add(groups[k]));
        }
        if CHECK {
            return step;
        }
        usize::from(any_above(highest, load_all(run.threshold, groups)))
    }
}

/// Takes one group, of this place among the active ones, through a step.
///
/// # Safety
/// As of [`active_of`], for this group.
#[inline(always)]
unsafe fn active_group<V: Vector, const G: usize, const LEARN: bool>(
    step: &ActivePointers,
    (place, group): (usize, usize),
    mut log: *mut Line,
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let rates = &step.rates;
        let (keep, leak) = (V::splat(rates.keep), V::splat(rates.leak));
        let (rest, inhibitory) = (V::splat(rates.rest), V::splat(rates.inhibitory));
        let time = V::splat(step.time);
        let mut v = load::<V, G>(step.v.add(group));
        let mut ge = load::<V, G>(step.ge.add(group));
        let mut gi = load::<V, G>(step.gi.add(group));
        let mut post1 = load::<V, G>(step.post1.add(group));
        let threshold = load::<V, G>(step.threshold.add(group));
        let until = load::<V, G>(step.until.add(group));
        let mut change = [V::zero(); G];
        let mut crossed = 0;
        for g in 0..G {
            if step.flush {
                (ge[g], gi[g]) = (flushed(ge[g]), flushed(gi[g]));
            }
            let factor = keep.minus(leak.times(gi[g])).minus(leak.times(ge[g]));
            let pull = rest.plus(inhibitory.times(gi[g]));
            v[g] = until[g].choose(time, v[g], v[g].times(factor).plus(pull));
            ge[g] = ge[g].times(V::splat(rates.excitatory_decay));
            gi[g] = gi[g].times(V::splat(rates.inhibitory_decay));
            crossed |= v[g].above(threshold[g]) & !until[g].above(time);
            if LEARN {
                post1[g] = post1[g].times(V::splat(rates.post1_decay));
                change[g] = V::splat(rates.pre_rate).times(post1[g]);
            }
        }
        if let Some(kicks) = step.kicks {
            let kick = load::<V, G>(kicks.add(place));
            for g in 0..G {
                gi[g] = gi[g].plus(kick[g]);
            }
        }
        let weights = step.weights.add(group * step.inputs);
        let mut sum = [V::zero(); G];
        for spike in 0..step.spikes {
            let line = weights.add(*step.sources.add(spike) as usize);
            let mut values = load::<V, G>(line);
            for g in 0..G {
                sum[g] = if spike == 0 { values[g] } else { sum[g].plus(values[g]) };
            }
            if LEARN {
                store(values, log);
                log = log.add(1);
                for g in 0..G {
                    values[g] = values[g].minus(change[g]).larger(V::zero());
                }
                store(values, line);
            }
        }
        if step.spikes > 0 {
            for g in 0..G {
                ge[g] = ge[g].plus(sum[g]);
            }
        }
        store(v, step.v.add(group));
        store(ge, step.ge.add(group));
        store(gi, step.gi.add(group));
        if LEARN {
            store(post1, step.post1.add(group));
        }
        crossed != 0
    }
}

/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn sum_lines<V: Vector, const G: usize>(lines: &[Line]) -> Line {
    // SAFETY: the caller's; the lines are references.
    unsafe {
        let mut parts = [[V::zero(); G]; 4];
        for lines in lines.chunks(4) {
            for (part, line) in parts.iter_mut().zip(lines) {
                let values = load::<V, G>(line);
                for g in 0..G {
                    part[g] = part[g].plus(values[g]);
                }
            }
        }
        let [first, second, third, fourth] = parts;
        let mut whole = [V::zero(); G];
        for g in 0..G {
            whole[g] = first[g].plus(second[g]).plus(third[g].plus(fourth[g]));
        }
        let mut sums = Line::ZERO;
        store(whole, &mut sums);
        sums
    }
}

/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn scale_lines<V: Vector, const G: usize>(lines: &mut [Line], factors: &Line) {
    // SAFETY: the caller's; the lines are references.
    unsafe {
        let factors = load::<V, G>(factors);
        for line in lines {
            let mut values = load::<V, G>(line);
            for g in 0..G {
                values[g] = values[g].times(factors[g]);
            }
            store(values, line);
        }
    }
}

/// The functions of one instruction set.
macro_rules! instruction_set {
    ($name:ident, $vector:ty, $vectors:literal $(, $feature:literal)?) => {
        mod $name {
            use super::*;

            // SAFETY (of the functions below): the caller's, as of the
            // functions that they compile.
            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn quiet<const K: usize, const CHECK: bool>(
                run: &QuietPointers,
                groups: [usize; K],
            ) -> usize {
                unsafe { quiet_steps::<$vector, $vectors, K, CHECK>(run, groups) }
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn active<const LEARN: bool>(
                step: &ActivePointers,
                groups: &[usize],
                log: *mut Line,
            ) -> bool {
                let mut crossed = false;
                for (place, group) in groups.iter().enumerate() {
                    let log = log.wrapping_add(place * step.spikes);
                    crossed |= unsafe {
                        active_group::<$vector, $vectors, LEARN>(step, (place, *group), log)
                    };
                }
                crossed
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn column_sums(lines: &[Line]) -> Line {
                unsafe { sum_lines::<$vector, $vectors>(lines) }
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn scale_columns(lines: &mut [Line], factors: &Line) {
                unsafe { scale_lines::<$vector, $vectors>(lines, factors) }
            }
        }
    };
}

instruction_set!(portable, vector::Four, 4);
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2, std::arch::x86_64::__m256, 2, "avx2");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx512, std::arch::x86_64::__m512, 1, "avx512f");
