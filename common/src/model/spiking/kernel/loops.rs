//! The loops themselves, generic over the vectors of an instruction set, and
//! compiled for each of them.
//!
//! There are no closures here: what the compiler does not inline would be
//! compiled without the instruction set.
#![allow(clippy::needless_range_loop, reason = "several arrays are walked by one index")]

use super::super::lanes::Line;
use super::{ActivePointers, FLUSH_BELOW, FLUSH_STEPS, QuietPointers};
use crate::model::vector::{self, Vector};

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
                        vector::prefetch(weights[k].wrapping_offset(*spike as isize + run.ahead));
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
/// As of [`super::active_of`], for this group.
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
