//! Examples per second of the spiking network on one thread: learning alone, with 100 to 6400
//! neurons on every instruction set of this CPU; and whole shards as a worker runs them, with 400
//! neurons: the shards of a round, of a labelling and of a test, with their contributions and
//! digests, but without what merges them.
//!
//! `cargo bench -p samebit-common --bench spiking`
//!
//! The images are the first 300 of MNIST. A network is trained on them a few times before it is
//! measured, so that it spikes as often as in a run, and every measured pass starts with that
//! network: with more and more passes over so few images, it would spike less and less, and images
//! would be presented twice.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Axis};

use samebit_common::dataset::{DatasetError, ExampleBuffer, ExampleSource, SplitSize};
use samebit_common::merge::BufferPool;
use samebit_common::model::kernel::Isa;
use samebit_common::model::spiking::{LABELS, Spiking, THETA, WEIGHTS};
use samebit_common::model::{Batch, DataShape, Model, Replica, TargetType, Targets};
use samebit_common::plan::{RunPlan, Step, StepKind};
use samebit_common::shard::{ShardInput, run_in};
use samebit_common::spec::{RunSpec, Split};
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
            let shape = DataShape::new(PIXELS, TargetType::Classes(10));
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

/// The images again and again, as the examples of a run.
struct Repeated(Array2<f32>);

impl ExampleSource for Repeated {
    fn gather(
        &self,
        _: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError> {
        for example in examples {
            let image = self.0.row(*example as usize % self.0.nrows());
            into.features.extend(image);
            into.classes.push((*example % 10) as u32);
        }
        Ok(())
    }
}

/// Runs all shards of a step one after another, as a slot of a worker does.
fn run_step(
    (plan, step): (&RunPlan, &Step),
    base: &NetworkState,
    data: &Repeated,
    replica: &mut dyn Replica,
) {
    let order = plan.order(step);
    let input = ShardInput { plan, step, order: order.as_ref(), base, data };
    let spare = BufferPool::default();
    for index in 0..step.replicas {
        let shard = run_in(&spare, &input, index, replica, &mut |_, _| ControlFlow::Continue(()));
        let (partial, hashes) = shard.expect("it runs").expect("every shard has examples");
        std::hint::black_box(partial.shard_digest_with(hashes));
    }
}

fn shards(criterion: &mut Criterion) {
    let images = images();
    let shape = DataShape::new(PIXELS, TargetType::Classes(10));
    let model = Spiking::new(&toml::Table::new(), shape, 1).expect("the parameters are right");
    let (mut replica, mut base) = train(&model, &images);
    let classes = base.u64_mut(LABELS).expect("labels").into_iter().zip((0..10).cycle());
    classes.for_each(|(label, class)| *label = class);
    let spec = "model = 'spiking'
        replicas = 16
        batch_size = 1
        update_interval = 16
        epochs = 1
        evaluation.labelling = true
        dataset.source = 'repeated'";
    let spec = RunSpec::from_toml(spec).expect("a spec");
    let plan = RunPlan::new(&spec, SplitSize::of_one_chunk(2048), 2048).expect("a plan");
    let data = Repeated(images.clone());
    let mut group = criterion.benchmark_group("shards of 400 neurons");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    let steps = (0..plan.steps()).filter_map(|index| plan.step(index));
    for step in steps.skip_while(|step| step.index + 3 < plan.steps()) {
        let name = match step.kind {
            StepKind::Train { .. } => "round",
            StepKind::Label { .. } => "labelling",
            StepKind::Evaluate { .. } => "test",
            StepKind::Predict { .. } => "prediction",
        };
        group.throughput(Throughput::Elements(plan.examples(&step)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| run_step((&plan, &step), &base, &data, &mut *replica));
        });
    }
    group.finish();
}

criterion_group!(benches, training, shards);
criterion_main!(benches);
