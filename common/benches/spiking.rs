//! Examples per second that the spiking network learns from, on one thread: 100 to 6400 neurons on
//! every instruction set of this CPU.
//!
//! `cargo bench -p samebit-common --bench spiking`
//!
//! The images are the first 300 of MNIST. A network is trained on them a few times before it is
//! measured, so that it spikes as often as in a run, and every measured pass starts with that
//! network: with more and more passes over so few images, it would spike less and less, and images
//! would be presented twice.

use std::io::Read;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Axis};

use samebit_common::model::kernel::Isa;
use samebit_common::model::spiking::{Spiking, THETA, WEIGHTS};
use samebit_common::model::{Batch, DataShape, Model, Replica, Targets};
use samebit_common::state::NetworkState;

/// The images' pixels, and what an IDX file has before them, in bytes.
const PIXELS: usize = 784;
const HEADER: usize = 16;

/// Examples of one batch.
const BATCH: usize = 10;

/// Passes over the images before the one that is measured.
const PASSES: usize = 3;

/// The images, scaled to [0, 1].
fn images() -> Array2<f32> {
    let packed = include_bytes!("../src/model/spiking/tests/mnist-300-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("the file is whole");
    let pixels = bytes[HEADER..].iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
    Array2::from_shape_vec((bytes.len() / PIXELS, PIXELS), pixels).expect("whole images")
}

/// A pass over the images, with the spikes of this pass.
fn learn(replica: &mut dyn Replica, images: &Array2<f32>, pass: usize) {
    let first = (pass * images.nrows()) as u64;
    for (batch, features) in images.axis_chunks_iter(Axis(0), BATCH).enumerate() {
        let first = first + (batch * BATCH) as u64;
        let examples: Vec<u64> = (first..first + BATCH as u64).collect();
        let batch = Batch::new(features, Targets::Classes(&[0; BATCH]), &examples, 0);
        replica.process_batch(&batch).expect("it learns");
    }
}

/// A network that has seen the images, and its state.
fn train(model: &Spiking, images: &Array2<f32>) -> (Box<dyn Replica>, NetworkState) {
    let mut replica = model.replica().expect("a replica");
    replica.begin(&model.initial_state().expect("a state")).expect("it fits");
    (0..PASSES).for_each(|pass| learn(&mut *replica, images, pass));
    [WEIGHTS, THETA].into_iter().for_each(|tensor| replica.refresh(tensor));
    let state = replica.state().clone();
    (replica, state)
}

fn training(criterion: &mut Criterion) {
    let images = images();
    for neurons in [100, 400, 1600, 6400] {
        let mut group = criterion.benchmark_group(format!("{neurons} neurons"));
        group.throughput(Throughput::Elements(images.nrows() as u64));
        group.sample_size(10).measurement_time(Duration::from_secs(8));
        for isa in Isa::ALL {
            let parameters = toml::Table::from_iter([("neurons".into(), neurons.into())]);
            let shape = DataShape { features: PIXELS, classes: 10 };
            let model = Spiking::new(&parameters, shape, 1).expect("the parameters are right");
            let Some(model) = model.with_isa(isa) else { continue };
            // Trained when it is wanted, and once.
            let mut trained = None;
            group.bench_function(format!("{isa:?}"), |bencher| {
                let (replica, base) = trained.get_or_insert_with(|| train(&model, &images));
                bencher.iter(|| {
                    replica.begin(base).expect("it fits");
                    learn(&mut **replica, &images, PASSES);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
