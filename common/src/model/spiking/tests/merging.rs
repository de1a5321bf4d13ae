//! What replicas contribute, and what becomes of it.

use ndarray::Axis;

use super::*;
use crate::merge::{self, Contribution, Merge, Partial, RealContribution};

/// A replica that has learnt from the images of a range, and its partial.
fn learnt(
    model: &Spiking,
    base: &NetworkState,
    range: std::ops::Range<usize>,
) -> (Box<dyn Replica>, Partial) {
    let images = images();
    let features = features(&images[range]);
    let mut replica = model.replica().unwrap();
    replica.begin(base).unwrap();
    let results = with_batch(features.view(), |batch| replica.process_batch(batch)).unwrap();
    let partial = Partial::of_replica(&mut *replica, 0, base, results).unwrap();
    replica.refresh(WEIGHTS);
    replica.refresh(THETA);
    (replica, partial)
}

fn merged(model: &Spiking, base: &NetworkState, partial: &Partial) -> NetworkState {
    let mut state = merge::finish(base, Some(partial));
    model.finish_round(base, &mut state).unwrap();
    state
}

/// The largest difference between two tensors.
fn difference(one: &NetworkState, other: &NetworkState, name: &str) -> f32 {
    let (one, other) = (one.f32(name).unwrap(), other.f32(name).unwrap());
    one.iter().zip(other).fold(0.0, |most, (one, other)| most.max((one - other).abs()))
}

#[test]
fn what_one_replica_contributes_is_what_it_did() {
    for theta_step in [1, 2] {
        let model = model(&format!("neurons = 40\ntheta_step = {theta_step}"));
        let base = model.initial_state().unwrap();
        let (replica, partial) = learnt(&model, &base, 0..12);
        let state = merged(&model, &base, &partial);
        // Clipping after the merge moves what is above the largest weight.
        assert!(difference(&state, replica.state(), WEIGHTS) < 2e-2, "{theta_step}");
        let rise = |state: &NetworkState| state.f32(THETA).unwrap() - base.f32(THETA).unwrap();
        let (own, all) = (rise(replica.state()), rise(&state));
        for (own, all) in own.iter().zip(&all) {
            assert!((own - theta_step as f32 * all).abs() < 1e-3, "{own} {all}");
        }
    }
}

#[test]
fn a_shard_knows_nothing_of_the_one_before() {
    for parameters in ["neurons = 40", "neurons = 40\nclean_start = false"] {
        let model = model(parameters);
        let base = model.initial_state().unwrap();
        let (first, _) = learnt(&model, &base, 0..8);
        let (mut replica, _) = learnt(&model, &base, 8..12);
        replica.begin(&base).unwrap();
        let images = features(&images()[0..8]);
        with_batch(images.view(), |batch| replica.process_batch(batch)).unwrap();
        replica.refresh(WEIGHTS);
        replica.refresh(THETA);
        assert!(replica.state() == first.state(), "{parameters}");
    }
}

/// Base states with weights that learning leaves alone, and with some that it sets to zero in
/// neurons that did not spike.
fn bases(model: &Spiking) -> [NetworkState; 2] {
    let base = model.initial_state().unwrap();
    let mut other = base.clone();
    let mut weights = other.f32_mut(WEIGHTS).unwrap();
    for (place, weight) in weights.iter_mut().enumerate().filter(|(place, _)| place % 3 == 0) {
        *weight = if place % 2 == 0 { -*weight } else { -0.0 };
    }
    [base, other]
}

#[test]
fn a_replica_takes_back_all_that_it_changed() {
    let model = model("neurons = 40");
    for base in bases(&model) {
        let (mut replica, _) = learnt(&model, &base, 0..8);
        assert_ne!(replica.state().digest(), base.digest());
        replica.begin(&base).unwrap();
        replica.refresh(WEIGHTS);
        replica.refresh(THETA);
        assert_eq!(replica.state().digest(), base.digest());
    }
}

#[test]
fn a_base_in_the_memory_of_another_is_loaded_anew() {
    let model = model("neurons = 40");
    let [mut base, other] = bases(&model);
    let mut replica = learnt(&model, &base, 0..4).0;
    for changed in [0.25, -0.25, 0.5] {
        base.f32_mut(WEIGHTS).unwrap()[[3, 5]] = changed;
        replica.begin(&base).unwrap();
        replica.refresh(WEIGHTS);
        replica.refresh(THETA);
        assert_eq!(replica.state().digest(), base.digest(), "{changed}");
    }
    base.copy_from(&other).unwrap();
    replica.begin(&base).unwrap();
    replica.refresh(WEIGHTS);
    assert_eq!(replica.state().digest(), other.digest());
}

#[test]
fn neurons_that_did_not_spike_keep_their_bits() {
    let model = model("neurons = 200");
    let base = model.initial_state().unwrap();
    let (_, partial) = learnt(&model, &base, 0..4);
    let Some(Contribution::F32(RealContribution::Fold(maps))) = &partial.tensors[5] else {
        panic!("the weights are the last of the tensors: {:?}", base.tensors().keys())
    };
    assert!(!maps.units.is_empty() && maps.units.len() < 100, "{}", maps.units.len());
    let state = merged(&model, &base, &partial);
    let weights = (base.f32(WEIGHTS).unwrap(), state.f32(WEIGHTS).unwrap());
    for (neuron, (before, after)) in
        weights.0.axis_iter(Axis(1)).zip(weights.1.axis_iter(Axis(1))).enumerate()
    {
        if maps.units.contains(&(neuron as u32)) {
            assert!((after.sum() - 78.0).abs() < 1e-3, "{}", after.sum());
            assert!(before != after);
        } else {
            assert_eq!(before, after, "neuron {neuron}");
        }
    }
}

#[test]
fn two_replicas_fold_as_if_one_had_followed_the_other() {
    let model = model("neurons = 60\ntheta_step = 1");
    let base = model.initial_state().unwrap();
    let (_, left) = learnt(&model, &base, 0..8);
    let (_, right) = learnt(&model, &base, 8..16);
    let weight = left.weight + right.weight;
    let state = merged(&model, &base, &left.clone().merge(right.clone()));
    assert_eq!(state.u64(EXAMPLES).unwrap()[0], weight);
    // By hand: the left one's outcome is what the right one's map is applied to.
    let after_left = merge::finish(&base, Some(&left));
    let by_hand = merged(&model, &after_left, &right);
    assert!(difference(&state, &by_hand, WEIGHTS) < 1e-4);
    assert!(difference(&state, &by_hand, THETA) < 1e-4);
}

#[test]
fn instruction_sets_contribute_the_same_bits() {
    let model = || model("neurons = 70\ntheta_step = 2");
    let base = model().initial_state().unwrap();
    let layout = base.layout();
    let expected = learnt(&model(), &base, 0..10).1.digest(&layout);
    for isa in Isa::ALL {
        let Some(model) = model().with_isa(isa) else { continue };
        assert_eq!(learnt(&model, &base, 0..10).1.digest(&layout), expected, "{isa:?}");
    }
}

#[test]
fn other_rules_are_told_which_neurons_spiked() {
    let model = model("neurons = 40");
    let mut base = model.initial_state().unwrap();
    let rules = [(WEIGHTS, MergeRule::MeanBy), (THETA, MergeRule::Mean)];
    base.set_rules(&rules.map(|(name, rule)| (name.to_owned(), rule)).into()).unwrap();
    let (replica, partial) = learnt(&model, &base, 0..6);
    let counts = replica.unit_counts(WEIGHTS).unwrap();
    let spikes: u64 = counts.counts.iter().sum();
    assert_eq!(spikes, replica.state().u64(SPIKES).unwrap()[0]);
    let state = merge::finish(&base, Some(&partial));
    assert_eq!(difference(&state, replica.state(), WEIGHTS), 0.0);
    assert_eq!(difference(&state, replica.state(), THETA), 0.0);
}
