//! The loops themselves, generic over the vectors of an instruction set, and
//! compiled for each of them.
//!
//! There are no closures here: what the compiler does not inline would be
//! compiled without the instruction set.
#![allow(clippy::needless_range_loop, reason = "several arrays are walked by one index")]

use super::super::lanes::Line;
use super::pointers::{ActiveEnd, ActivePointers, QuietPointers};
use crate::model::vector::{self, FLUSH_BELOW, Vector};

/// Steps from one flush of small conductances to the next.
pub(in super::super) const FLUSH_STEPS: usize = 32;

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

/// A bit for each group, the first one's lowest: set where a value is above its
/// bound.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn groups_above<V: Vector, const G: usize, const K: usize>(
    values: [[V; G]; K],
    bounds: [[V; G]; K],
) -> usize {
    let mut groups = 0;
    for k in 0..K {
        let mut above = 0;
        for g in 0..G {
            // SAFETY: the caller's.
            above |= unsafe { values[k][g].above(bounds[k][g]) };
        }
        groups |= usize::from(above != 0) << k;
    }
    groups
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
/// without, all steps are taken, and a bit returned for each group, the first
/// one's lowest, set if there was such a step.
///
/// # Safety
/// As of [`super::quiet_tile`].
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
            let mut spike = run.spikes.add(*run.starts.add(time) as usize);
            let end = run.spikes.add(*run.starts.add(time + 1) as usize);
            if spike < end {
                let mut sum = [[V::zero(); G]; K];
                for k in 0..K {
                    vector::prefetch(
                        weights[k].wrapping_offset((*spike).input() as isize + run.ahead),
                    );
                    sum[k] = load(weights[k].add((*spike).input()));
                }
                spike = spike.add(1);
                while spike < end {
                    for k in 0..K {
                        vector::prefetch(
                            weights[k].wrapping_offset((*spike).input() as isize + run.ahead),
                        );
                        let line = load::<V, G>(weights[k].add((*spike).input()));
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
            if CHECK && groups_above(v, load_all(run.threshold, groups)) != 0 {
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
        groups_above(highest, load_all(run.threshold, groups))
    }
}

/// Takes active groups through the steps, up to the first after which a neuron
/// has passed its threshold.
///
/// # Safety
/// As of [`super::active_tile`], for these groups.
#[inline(always)]
unsafe fn active_steps<V: Vector, const G: usize, const K: usize, const LEARN: bool>(
    run: &ActivePointers,
    groups: [usize; K],
) -> ActiveEnd {
    // SAFETY: the caller's.
    unsafe {
        let rates = &run.rates;
        let (keep, leak) = (V::splat(rates.keep), V::splat(rates.leak));
        let (rest, inhibitory) = (V::splat(rates.rest), V::splat(rates.inhibitory));
        let excitatory_decay = V::splat(rates.excitatory_decay);
        let inhibitory_decay = V::splat(rates.inhibitory_decay);
        let (post1_decay, pre_rate) = (V::splat(rates.post1_decay), V::splat(rates.pre_rate));
        let mut v = load_all::<V, G, K>(run.v, groups);
        let mut ge = load_all::<V, G, K>(run.ge, groups);
        let mut gi = load_all::<V, G, K>(run.gi, groups);
        let mut post1 = load_all::<V, G, K>(run.post1, groups);
        let mut weights = [run.weights; K];
        for k in 0..K {
            weights[k] = run.weights.add(groups[k] * run.inputs);
        }
        let mut log = run.log;
        let (mut step, mut crossed) = (0, 0);
        while step < run.steps && crossed == 0 {
            let now = run.first + step;
            let time = V::splat(now as f32);
            let mut change = [[V::zero(); G]; K];
            for k in 0..K {
                let threshold = load::<V, G>(run.threshold.add(groups[k]));
                let until = load::<V, G>(run.until.add(groups[k]));
                for g in 0..G {
                    if now.is_multiple_of(FLUSH_STEPS) {
                        (ge[k][g], gi[k][g]) = (flushed(ge[k][g]), flushed(gi[k][g]));
                    }
                    let factor = keep.minus(leak.times(gi[k][g])).minus(leak.times(ge[k][g]));
                    let pull = rest.plus(inhibitory.times(gi[k][g]));
                    let moved = v[k][g].times(factor).plus(pull);
                    v[k][g] = until[g].choose(time, v[k][g], moved);
                    ge[k][g] = ge[k][g].times(excitatory_decay);
                    gi[k][g] = gi[k][g].times(inhibitory_decay);
                    crossed |= v[k][g].above(threshold[g]) & !until[g].above(time);
                    if LEARN {
                        post1[k][g] = post1[k][g].times(post1_decay);
                        change[k][g] = pre_rate.times(post1[k][g]);
                    }
                }
            }
            if let (0, Some(kicks)) = (step, run.kicks) {
                for k in 0..K {
                    let kick = load::<V, G>(kicks.add(k));
                    for g in 0..G {
                        gi[k][g] = gi[k][g].plus(kick[g]);
                    }
                }
            }
            let mut spike = run.spikes.add(*run.starts.add(now) as usize);
            let end = run.spikes.add(*run.starts.add(now + 1) as usize);
            let mut sum = [[V::zero(); G]; K];
            while spike < end {
                for k in 0..K {
                    let line = weights[k].add((*spike).input());
                    let mut values = load::<V, G>(line);
                    for g in 0..G {
                        sum[k][g] = sum[k][g].plus(values[g]);
                    }
                    if LEARN {
                        store(values, log);
                        log = log.add(1);
                        for g in 0..G {
                            values[g] = values[g].minus(change[k][g]).larger(V::zero());
                        }
                        store(values, line);
                    }
                }
                spike = spike.add(1);
            }
            for k in 0..K {
                for g in 0..G {
                    ge[k][g] = ge[k][g].plus(sum[k][g]);
                }
            }
            step += 1;
        }
        for k in 0..K {
            store(v[k], run.v.add(groups[k]));
            store(ge[k], run.ge.add(groups[k]));
            store(gi[k], run.gi.add(groups[k]));
            if LEARN {
                store(post1[k], run.post1.add(groups[k]));
            }
        }
        ActiveEnd { steps: step, crossed: crossed != 0, log }
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
        pub(super) mod $name {
            use super::*;

            // SAFETY (of the functions below): the caller's, as of the
            // functions that they compile.
            $(#[target_feature(enable = $feature)])?
            pub(in super::super) unsafe fn quiet<const K: usize, const CHECK: bool>(
                run: &QuietPointers,
                groups: [usize; K],
            ) -> usize {
                unsafe { quiet_steps::<$vector, $vectors, K, CHECK>(run, groups) }
            }

            $(#[target_feature(enable = $feature)])?
            pub(in super::super) unsafe fn active<const LEARN: bool>(
                run: &ActivePointers,
                groups: &[usize],
            ) -> ActiveEnd {
                unsafe {
                    match *groups {
                        [] => ActiveEnd { steps: run.steps, crossed: false, log: run.log },
                        [a] => active_steps::<$vector, $vectors, 1, LEARN>(run, [a]),
                        [a, b] => active_steps::<$vector, $vectors, 2, LEARN>(run, [a, b]),
                        [a, b, c] => active_steps::<$vector, $vectors, 3, LEARN>(run, [a, b, c]),
                        [a, b, c, d, ..] => {
                            active_steps::<$vector, $vectors, 4, LEARN>(run, [a, b, c, d])
                        }
                    }
                }
            }

            $(#[target_feature(enable = $feature)])?
            pub(in super::super) unsafe fn column_sums(lines: &[Line]) -> Line {
                unsafe { sum_lines::<$vector, $vectors>(lines) }
            }

            $(#[target_feature(enable = $feature)])?
            pub(in super::super) unsafe fn scale_columns(lines: &mut [Line], factors: &Line) {
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
