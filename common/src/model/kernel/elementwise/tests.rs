//! Every loop on every instruction set against a plain one, bit for bit. The bits of a NaN are not
//! compared: they are the CPU's own.

use proptest::prelude::*;

use super::Step;
use crate::model::kernel::{Isa, Kernel};

/// Values of all kinds: the special ones, subnormals, and those on both sides of the bound below
/// which magnitudes are zero.
fn value() -> impl Strategy<Value = f32> {
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        1e-39,
        1e-20,
        -1e-20,
        f32::from_bits(1e-20_f32.to_bits() - 1),
        -f32::from_bits(1e-20_f32.to_bits() - 1),
        f32::MAX,
        1.0,
    ];
    prop_oneof![
        2 => proptest::sample::select(special.to_vec()),
        1 => any::<u32>().prop_map(f32::from_bits),
        4 => -4.0_f32..4.0,
    ]
}

fn values(len: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(value(), len)
}

fn bits(values: &[f32]) -> Vec<u32> {
    let bits = |value: &f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    values.iter().map(bits).collect()
}

fn zero(value: f32) -> f32 {
    if value.abs() < 1e-20 { 0.0 } else { value }
}

/// Whether `work` leaves `expected` in `values` on every instruction set.
fn check(values: &[f32], expected: &[f32], work: impl Fn(&Kernel, &mut [f32])) {
    for kernel in Isa::ALL.into_iter().filter_map(Kernel::with_isa) {
        // Not at a multiple of anything.
        let mut all = vec![7.0; values.len() + 2];
        all[1..=values.len()].copy_from_slice(values);
        work(&kernel, &mut all[1..=values.len()]);
        assert_eq!(bits(&all[1..=values.len()]), bits(expected), "{:?}", kernel.isa());
        assert_eq!((all[0], all[values.len() + 1]), (7.0, 7.0), "nothing beside the values");
    }
}

/// Weights, gradients and velocities of one length, and a step.
fn steps() -> impl Strategy<Value = ([Vec<f32>; 3], Step)> {
    let step = (1e-9_f32..1e3, 0.0_f32..0.9999, prop_oneof![Just(0.0), 0.0_f32..1.0], 1_u32..1000);
    let step = step.prop_map(|(learning_rate, momentum, weight_decay, examples)| Step {
        learning_rate,
        momentum,
        weight_decay,
        share: 1.0 / examples as f32,
    });
    let three = (0_usize..70).prop_flat_map(|len| [values(len), values(len), values(len)]);
    (three, step)
}

/// A matrix with this number of rows, and a row beside it.
fn rows() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
    (0_usize..5, 1_usize..40)
        .prop_flat_map(|(rows, columns)| (Just(rows), values(rows * columns), values(columns)))
}

proptest! {
    #[test]
    fn a_step_has_the_bits_of_the_plain_loop(([weights, gradient, _], step) in steps()) {
        let expected: Vec<f32> = weights.iter().zip(&gradient).map(|(w, g)| {
            zero(w - step.learning_rate * (g * step.share + step.weight_decay * w))
        }).collect();
        check(&weights, &expected, |kernel, weights| kernel.step(&step, weights, &gradient));
    }

    #[test]
    fn a_step_with_momentum_has_the_bits_of_the_plain_loop(
        ([weights, gradient, velocity], step) in steps(),
    ) {
        let (mut moved, mut faster) = (weights.clone(), velocity.clone());
        for ((w, g), v) in moved.iter_mut().zip(&gradient).zip(&mut faster) {
            *v = zero(step.momentum * *v + (g * step.share + step.weight_decay * *w));
            *w = zero(*w - step.learning_rate * *v);
        }
        check(&weights, &moved, |kernel, weights| {
            kernel.step_with_momentum(&step, weights, &gradient, &mut velocity.clone());
        });
        check(&velocity, &faster, |kernel, velocity| {
            kernel.step_with_momentum(&step, &mut weights.clone(), &gradient, velocity);
        });
    }

    #[test]
    fn bias_and_relu_have_the_bits_of_the_plain_loop((_, outputs, bias) in rows()) {
        let columns = bias.len();
        let sums: Vec<f32> =
            outputs.iter().enumerate().map(|(at, output)| output + bias[at % columns]).collect();
        check(&outputs, &sums, |kernel, outputs| kernel.add_bias(outputs, &bias));
        let relu: Vec<f32> = sums.iter().map(|sum| if *sum < 0.0 { 0.0 } else { *sum }).collect();
        check(&outputs, &relu, |kernel, outputs| kernel.add_bias_relu(outputs, &bias));
    }

    #[test]
    fn the_way_back_through_relu_has_the_bits_of_the_plain_loop(
        (gradient, outputs) in (0_usize..70).prop_flat_map(|len| (values(len), values(len))),
    ) {
        let expected: Vec<f32> = gradient.iter().zip(&outputs)
            .map(|(gradient, output)| if *output > 0.0 { *gradient } else { 0.0 })
            .collect();
        check(&gradient, &expected, |kernel, gradient| kernel.mask(gradient, &outputs));
    }

    #[test]
    fn sums_of_rows_have_the_bits_of_the_plain_loop((_, terms, sums) in rows()) {
        let mut expected = sums.clone();
        for (at, term) in terms.iter().enumerate() {
            expected[at % sums.len()] += term;
        }
        check(&sums, &expected, |kernel, sums| kernel.add_rows(sums, &terms));
    }
}

#[test]
fn what_decays_ends_at_zero_and_nan_does_not() {
    let step = Step { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, share: 1.0 };
    let mut velocity = [1.0, -1.0, f32::NAN, -0.0];
    let mut weights = [0.0; 4];
    for _ in 0..1000 {
        Kernel::new().step_with_momentum(&step, &mut weights, &[0.0; 4], &mut velocity);
    }
    assert_eq!(bits(&velocity), bits(&[0.0, 0.0, f32::NAN, 0.0]));
    assert!(weights[2].is_nan(), "{weights:?}");
}

#[test]
#[should_panic(expected = "a gradient for each weight")]
fn lengths_that_do_not_fit_are_refused() {
    let step = Step { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, share: 1.0 };
    Kernel::new().step(&step, &mut [0.0; 2], &[0.0; 3]);
}

#[test]
#[should_panic(expected = "whole rows")]
fn rows_that_do_not_fit_are_refused() {
    Kernel::new().add_bias(&mut [0.0; 3], &[0.0; 2]);
}
