//! The loops of a layer that are no products: bias, ReLU, sums over a batch, and the step of SGD.
//!
//! Every element of a result is computed by itself, in the order of operations that the functions
//! document, so the width of the vectors does not influence the bits.
//!
//! What makes the `unsafe` sound:
//! - **Instructions.** [`run`] compiles a loop for each instruction set, and calls the one of an
//!   [`Isa`] that this CPU has.
//! - **Pointers.** They come from slices that live through the call. The functions of [`Kernel`]
//!   check that they are of one length, and [`run`] stays below that length.
#![allow(unsafe_code)]

use super::{Isa, Kernel};
use crate::model::vector::{self, Vector, flushed};

/// How weights follow the gradient of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// By how much weights follow.
    pub learning_rate: f32,
    /// Share of the velocity that is left after a batch.
    pub momentum: f32,
    /// This share of a weight is added to its gradient.
    pub weight_decay: f32,
    /// One divided by the number of examples that a gradient is summed over.
    pub share: f32,
}

impl Kernel {
    /// A step without velocity, for each weight `w` and its gradient `g`:
    /// `w = zero(w − learning_rate·(g·share + weight_decay·w))`, where `zero` makes `+0` of
    /// magnitudes below 1e-20 and keeps everything else, NaN included. `step.momentum` is not used.
    ///
    /// # Panics
    /// If the slices have different lengths: a bug of the caller.
    pub fn step(&self, step: &Step, weights: &mut [f32], gradient: &[f32]) {
        assert_eq!(weights.len(), gradient.len(), "a gradient for each weight");
        run(
            self.isa,
            weights.len(),
            &PlainStep { step, weights: weights.as_mut_ptr(), gradient: gradient.as_ptr() },
        );
    }

    /// A step with the velocity `v` of each weight:
    /// `v = zero(momentum·v + (g·share + weight_decay·w))`, then `w = zero(w − learning_rate·v)`,
    /// with `zero` as of [`Kernel::step`]. Velocities whose gradient is zero decay, and so they end.
    ///
    /// # Panics
    /// Like [`Kernel::step`].
    pub fn step_with_momentum(
        &self,
        step: &Step,
        weights: &mut [f32],
        gradient: &[f32],
        velocity: &mut [f32],
    ) {
        assert_eq!(weights.len(), gradient.len(), "a gradient for each weight");
        assert_eq!(weights.len(), velocity.len(), "a velocity for each weight");
        run(
            self.isa,
            weights.len(),
            &MomentumStep {
                step,
                weights: weights.as_mut_ptr(),
                gradient: gradient.as_ptr(),
                velocity: velocity.as_mut_ptr(),
            },
        );
    }

    /// Adds `bias [columns]` to each row of `outputs [rows, columns]`.
    ///
    /// # Panics
    /// If `outputs` has no whole number of rows: a bug of the caller.
    pub fn add_bias(&self, outputs: &mut [f32], bias: &[f32]) {
        self.finish::<false>(outputs, bias);
    }

    /// [`Kernel::add_bias`], and then ReLU: `+0` in place of what is below zero. NaN is kept, to be
    /// found later.
    ///
    /// # Panics
    /// Like [`Kernel::add_bias`].
    pub fn add_bias_relu(&self, outputs: &mut [f32], bias: &[f32]) {
        self.finish::<true>(outputs, bias);
    }

    fn finish<const RELU: bool>(&self, outputs: &mut [f32], bias: &[f32]) {
        let (rows, columns) = (rows(outputs.len(), bias.len()), bias.len());
        let (outputs, bias) = (outputs.as_mut_ptr(), bias.as_ptr());
        run(self.isa, columns, &AddBias::<RELU> { outputs, bias, rows, columns });
    }

    /// The way back through ReLU: `+0` in `gradient` wherever `outputs` is not above zero.
    ///
    /// # Panics
    /// If the slices have different lengths: a bug of the caller.
    pub fn mask(&self, gradient: &mut [f32], outputs: &[f32]) {
        assert_eq!(gradient.len(), outputs.len(), "a gradient for each output");
        let (len, gradient) = (gradient.len(), gradient.as_mut_ptr());
        run(self.isa, len, &Mask { gradient, outputs: outputs.as_ptr() });
    }

    /// Adds the rows of `terms [rows, columns]` to `sums [columns]`, one after another.
    ///
    /// # Panics
    /// If `terms` has no whole number of rows: a bug of the caller.
    pub fn add_rows(&self, sums: &mut [f32], terms: &[f32]) {
        let (rows, columns) = (rows(terms.len(), sums.len()), sums.len());
        let (sums, terms) = (sums.as_mut_ptr(), terms.as_ptr());
        run(self.isa, columns, &AddRows { sums, terms, rows, columns });
    }
}

/// Number of rows of a matrix.
fn rows(len: usize, columns: usize) -> usize {
    let rows = len.checked_div(columns).unwrap_or(0);
    assert_eq!(rows * columns, len, "whole rows");
    rows
}

/// A loop over elements.
trait Loop {
    /// Computes the elements from `at` on, as many as a vector has lanes, or the first `count` of
    /// them.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the loop has these elements.
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize);
}

/// Runs a loop over `len` elements.
fn run<L: Loop>(isa: Isa, len: usize, work: &L) {
    // SAFETY: the kernel's instruction set is one that the CPU has, and the loop has `len` elements
    // (see the module).
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(len, work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(len, work),
            _ => all::<vector::Four, L>(len, work),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<L: Loop>(len: usize, work: &L) {
    // SAFETY: the caller's.
    unsafe { all::<std::arch::x86_64::__m512, L>(len, work) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<L: Loop>(len: usize, work: &L) {
    // SAFETY: the caller's.
    unsafe { all::<std::arch::x86_64::__m256, L>(len, work) }
}

/// Whole vectors, then what is left. Always inlined, so that it is compiled for its caller's
/// instruction set; so are the functions below.
///
/// # Safety
/// As of [`Loop::elements`], for `len` elements.
#[inline(always)]
unsafe fn all<V: Vector, L: Loop>(len: usize, work: &L) {
    let mut at = 0;
    while at + V::LANES <= len {
        // SAFETY: the caller's.
        unsafe { work.elements::<V>(at, V::LANES) };
        at += V::LANES;
    }
    if at < len {
        // SAFETY: the caller's.
        unsafe { work.elements::<V>(at, len - at) };
    }
}

/// # Safety
/// The first `count` values can be read, and the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, count: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if count < V::LANES { V::load_first(from, count) } else { V::load(from) } }
}

/// # Safety
/// The first `count` values can be written, and the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn store<V: Vector>(values: V, to: *mut f32, count: usize) {
    // SAFETY: the caller's.
    unsafe { if count < V::LANES { values.store_first(to, count) } else { values.store(to) } }
}

/// As of [`Kernel::step`].
struct PlainStep<'a> {
    step: &'a Step,
    weights: *mut f32,
    gradient: *const f32,
}

impl Step {
    /// `g·share + weight_decay·w`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn slope<V: Vector>(&self, weight: V, gradient: V) -> V {
        // SAFETY: the caller's.
        unsafe {
            let mean = gradient.times(V::splat(self.share));
            mean.plus(V::splat(self.weight_decay).times(weight))
        }
    }

    /// `zero(w − learning_rate·along)`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn moved<V: Vector>(&self, weight: V, along: V) -> V {
        // SAFETY: the caller's.
        unsafe { flushed(weight.minus(V::splat(self.learning_rate).times(along))) }
    }
}

impl Loop for PlainStep<'_> {
    #[inline(always)]
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let weight = load::<V>(self.weights.add(at), count);
            let slope = self.step.slope(weight, load(self.gradient.add(at), count));
            store(self.step.moved(weight, slope), self.weights.add(at), count);
        }
    }
}

/// As of [`Kernel::step_with_momentum`].
struct MomentumStep<'a> {
    step: &'a Step,
    weights: *mut f32,
    gradient: *const f32,
    velocity: *mut f32,
}

impl Loop for MomentumStep<'_> {
    #[inline(always)]
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let weight = load::<V>(self.weights.add(at), count);
            let slope = self.step.slope(weight, load(self.gradient.add(at), count));
            let kept = V::splat(self.step.momentum).times(load(self.velocity.add(at), count));
            let velocity = flushed(kept.plus(slope));
            store(velocity, self.velocity.add(at), count);
            store(self.step.moved(weight, velocity), self.weights.add(at), count);
        }
    }
}

/// As of [`Kernel::add_bias`], down the rows of some columns.
struct AddBias<const RELU: bool> {
    outputs: *mut f32,
    bias: *const f32,
    rows: usize,
    columns: usize,
}

impl<const RELU: bool> Loop for AddBias<RELU> {
    #[inline(always)]
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let bias = load::<V>(self.bias.add(at), count);
            for row in 0..self.rows {
                let place = self.outputs.add(row * self.columns + at);
                let mut output = load::<V>(place, count).plus(bias);
                if RELU {
                    output = V::zero().choose(output, V::zero(), output);
                }
                store(output, place, count);
            }
        }
    }
}

/// As of [`Kernel::mask`].
struct Mask {
    gradient: *mut f32,
    outputs: *const f32,
}

impl Loop for Mask {
    #[inline(always)]
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let output = load::<V>(self.outputs.add(at), count);
            let gradient = load::<V>(self.gradient.add(at), count);
            store(output.choose(V::zero(), gradient, V::zero()), self.gradient.add(at), count);
        }
    }
}

/// As of [`Kernel::add_rows`], down the rows of some columns.
struct AddRows {
    sums: *mut f32,
    terms: *const f32,
    rows: usize,
    columns: usize,
}

impl Loop for AddRows {
    #[inline(always)]
    unsafe fn elements<V: Vector>(&self, at: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let mut sum = load::<V>(self.sums.add(at), count);
            for row in 0..self.rows {
                sum = sum.plus(load(self.terms.add(row * self.columns + at), count));
            }
            store(sum, self.sums.add(at), count);
        }
    }
}

#[cfg(test)]
mod tests;
