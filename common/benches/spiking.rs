//! Examples a second that the spiking network learns from, on one thread: 100 to
//! 6400 neurons on every instruction set of this CPU.
//!
//! `cargo bench -p common --bench spiking`
//!
//! The images are the first 300 of MNIST, over and over; a network has seen them
//! a few times before it is measured, so that it spikes as often as in a run.

use std::io::Read;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, s};

use common::model::kernel::Isa;
use common::model::spiking::Spiking;
use common::model::{Batch, DataShape, Model};

/// The images' pixels, and what an IDX file has before them, in bytes.
const PIXELS: usize = 784;
const HEADER: usize = 16;

/// Examples of one batch.
const BATCH: usize = 10;

/// The images, scaled to [0, 1].
fn images() -> Array2<f32> {
    let packed = include_bytes!("../src/model/spiking/tests/mnist-300-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("the file is whole");
    let pixels = bytes[HEADER..].iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
    Array2::from_shape_vec((bytes.len() / PIXELS, PIXELS), pixels).expect("whole images")
}

fn training(criterion: &mut Criterion) {
    let images = images();
    let labels = [0; BATCH];
    for neurons in [100, 400, 1600, 6400] {
        let mut group = criterion.benchmark_group(format!("{neurons} neurons"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.sample_size(30).measurement_time(Duration::from_secs(8));
        for isa in Isa::ALL {
            let parameters = toml::Table::from_iter([("neurons".into(), neurons.into())]);
            let shape = DataShape { features: PIXELS, classes: 10 };
            let model = Spiking::new(&parameters, shape, 1).expect("the parameters are right");
            let Some(model) = model.with_isa(isa) else { continue };
            let mut replica = model.replica().expect("a replica");
            replica.begin(&model.initial_state().expect("a state")).expect("it fits");
            let mut next = 0;
            let mut learn = || {
                let first = next % images.nrows();
                let examples: Vec<u64> = (next as u64..).take(BATCH).collect();
                next += BATCH;
                let features = images.slice(s![first..first + BATCH, ..]);
                let batch = Batch { features, labels: &labels, examples: &examples, epoch: 0 };
                replica.process_batch(&batch).expect("it learns")
            };
            for _ in 0..3 * images.nrows() / BATCH {
                learn();
            }
            group.bench_function(format!("{isa:?}"), |bencher| bencher.iter(&mut learn));
        }
        group.finish();
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
