//! The network against a plain one, bit by bit, on every instruction set; and
//! against what is known of it.

mod limits;
mod merging;
mod plain;

use std::io::Read;

use ndarray::{Array2, ArrayView2};
use proptest::prelude::*;

use super::encoding::Purpose;
use super::events::Events;
use super::*;
use crate::model::{Batch, TargetType, Targets};
use plain::Plain;

/// The first training images of MNIST, a level for each pixel.
fn images() -> Vec<Vec<u8>> {
    let packed = include_bytes!("tests/mnist-300-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    bytes[16..].chunks(784).map(<[u8]>::to_vec).collect()
}

fn features(images: &[Vec<u8>]) -> Array2<f32> {
    let shape = (images.len(), images[0].len());
    Array2::from_shape_fn(shape, |(image, pixel)| f32::from(images[image][pixel]) / 255.0)
}

fn model(parameters: &str) -> Spiking {
    model_for(784, parameters)
}

fn model_for(features: usize, parameters: &str) -> Spiking {
    let shape = DataShape::new(features, TargetType::Classes(10));
    Spiking::new(&parameters.parse().unwrap(), shape, 1).unwrap()
}

/// A batch of all rows, numbered from 0, all of class 0.
fn with_batch<T>(features: ArrayView2<'_, f32>, f: impl FnOnce(&Batch<'_>) -> T) -> T {
    let labels = vec![0; features.nrows()];
    let examples: Vec<u64> = (0..features.nrows() as u64).collect();
    f(&Batch::new(features, Targets::Classes(&labels), &examples, 0))
}

/// What the plain network makes of images, retries included, and the number of
/// presentations.
fn learn_plainly(model: &Spiking, images: &[Vec<u8>]) -> (Plain, u64) {
    let settings = &model.design.settings;
    let rows = model.initial_weights().rows().into_iter().map(|row| row.to_vec()).collect();
    let theta = vec![settings.theta_start as f32; settings.neurons];
    let mut plain = Plain::new(rows, theta);
    let mut events = Events::new(settings.inputs, (settings.steps(), settings.rest_steps()));
    let mut presentations = 0;
    for (example, image) in (0..).zip(images) {
        for attempt in 0..model.design.encoder.attempts() {
            model.design.encoder.encode(image, (Purpose::Train, 0, example, attempt), &mut events);
            plain.learn(settings, &events);
            presentations += 1;
            if plain.spike_count() >= settings.least_spikes {
                break;
            }
        }
    }
    (plain, presentations)
}

/// Checks that replicas on every instruction set of this CPU end where the
/// plain network does, to the bit. Returns how many presentations that took.
fn check_against_plain(parameters: &str, images: &[Vec<u8>]) -> u64 {
    let inputs = images[0].len();
    let (plain, presentations) = learn_plainly(&model_for(inputs, parameters), images);
    let features = features(images);
    for isa in Isa::ALL {
        let Some(model) = model_for(inputs, parameters).with_isa(isa) else { continue };
        let mut replica = model.replica().unwrap();
        replica.begin(&model.initial_state().unwrap()).unwrap();
        with_batch(features.view(), |batch| replica.process_batch(batch)).unwrap();
        replica.refresh(WEIGHTS);
        replica.refresh(THETA);
        let state = replica.state();
        assert_eq!(state.u64(PRESENTATIONS).unwrap()[0], presentations, "{isa:?}");
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let theta = state.f32(THETA).unwrap().as_slice().unwrap();
        assert_eq!(bits(theta), bits(&plain.theta), "{isa:?}: theta");
        let weights = state.f32(WEIGHTS).unwrap().as_slice().unwrap();
        assert!(bits(weights) == bits(&plain.weights.concat()), "{isa:?}: weights");
    }
    presentations
}

/// The same, where some image has to be presented again.
fn check_with_retries(parameters: &str, images: &[Vec<u8>]) {
    let presentations = check_against_plain(parameters, images);
    assert!(presentations > images.len() as u64, "some image is presented again");
}

#[test]
fn learning_is_that_of_the_plain_network_to_the_bit() {
    // 100 neurons: six groups, and one of 4 lanes.
    check_with_retries("neurons = 100", &images()[..200]);
}

#[test]
fn other_sizes_and_settings_are_those_of_the_plain_network_too() {
    let images = images();
    check_with_retries("neurons = 1", &images[..10]);
    check_with_retries("neurons = 17\nspikes_per_step = 'all'", &images[..20]);
    let other = "neurons = 50\ntheta_step = 2\ndt_ms = 0.25\npresentation_ms = 120.0\nexcitatory_reversal_mv = -5.0\nrefractory_ms = 1.0\npre_rate = 0.01\ninhibition = 5.0\nleast_spikes = 9";
    check_with_retries(other, &images[..20]);
    check_with_retries("neurons = 40\nclean_start = false", &images[..20]);
}

#[test]
fn all_small_sizes_are_those_of_the_plain_network_too() {
    for inputs in 1..6 {
        let images: Vec<Vec<u8>> = (0..3)
            .map(|image| (0..inputs).map(|pixel| 80 * (image ^ (pixel % 3))).collect())
            .collect();
        for neurons in (1..6).chain([15, 16, 17]) {
            check_against_plain(&format!("neurons = {neurons}"), &images);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_state_ends_in_the_same_bits_on_all_instruction_sets(
        neurons in 1_usize..90,
        theta in prop::collection::vec(0.0_f32..40.0, 90),
        weights in prop::collection::vec(prop_oneof![Just(0.0_f32), Just(1.0), 0.0_f32..0.6], 997),
        first in 0_usize..296,
        spikes in prop_oneof![Just("one"), Just("all")],
        clean_start in any::<bool>(),
    ) {
        let parameters = format!(
            "neurons = {neurons}\nspikes_per_step = '{spikes}'\nclean_start = {clean_start}\n\
             intensity_limit = 4.0"
        );
        let mut base = model(&parameters).initial_state().unwrap();
        let mut places = base.f32_mut(WEIGHTS).unwrap();
        places.iter_mut().zip(weights.iter().cycle()).for_each(|(place, weight)| *place = *weight);
        let mut places = base.f32_mut(THETA).unwrap();
        places.iter_mut().zip(&theta).for_each(|(place, theta)| *place = *theta);
        base.u64_mut(LABELS).unwrap().fill(0);
        let features = features(&images()[first..first + 4]);
        let outcome = |isa: Isa| {
            let model = model(&parameters).with_isa(isa)?;
            let mut replica = model.replica().unwrap();
            replica.begin(&base).unwrap();
            let results = with_batch(features.view(), |batch| {
                [
                    replica.process_batch(batch).unwrap(),
                    replica.label_batch(batch).unwrap(),
                    replica.evaluate_batch(batch).unwrap(),
                ]
            });
            [WEIGHTS, THETA].into_iter().for_each(|tensor| replica.refresh(tensor));
            Some((results, replica.state().digest()))
        };
        let expected = outcome(Isa::Portable);
        prop_assert!(expected.is_some());
        for isa in Isa::ALL {
            let found = outcome(isa);
            prop_assert!(found.is_none() || found == expected, "{isa:?}");
        }
    }
}

#[test]
fn the_published_network_does_what_it_does_in_brian2() {
    let published = "neurons = 100\ntheta_plus_mv = 0.05\nspikes_per_step = 'all'";
    let model = model(published);
    let mut replica = model.replica().unwrap();
    replica.begin(&model.initial_state().unwrap()).unwrap();
    let features = features(&images());
    with_batch(features.view(), |batch| replica.process_batch(batch)).unwrap();
    replica.refresh(THETA);
    let state = replica.state();
    let theta = state.f32(THETA).unwrap().mean().unwrap();
    assert!((theta / 21.36 - 1.0).abs() < 0.02, "mean theta {theta} mV");
    let count = |name: &str| state.u64(name).unwrap()[0] as f64;
    let spikes = count(SPIKES) / count(PRESENTATIONS);
    assert!((10.6..12.6).contains(&spikes), "{spikes} spikes a presentation");
}
