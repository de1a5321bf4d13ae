//! A small model for tests, a run of it, and the expected results of its blocks.

use std::ops::ControlFlow;
use std::sync::{Arc, Barrier, OnceLock};

use common::dataset::{Dataset, Examples, Features};
use common::id::{AssignmentId, Block, RunId, RunIdentity, StepId};
use common::merge::{MergeRule, MergeTree, Partial};
use common::model::{Batch, DataShape, Model, ModelError, Registry, Replica, TargetType};
use common::results::Results;
use common::shard::{self, ShardInput};
use common::spec::Split;
use common::state::{Layout, NetworkState, Tensor, TensorData};
use common::wire::message::ToWorker;

use super::compute::{Input, RunningBlock};
use super::examples::{CopiedExamples, needed_examples};
use super::run::{OpenRun, Opening};

/// Every value moves towards each example's feature. At the example named by a parameter, the model
/// panics, fails, or computes a non-finite value; or every value is as large as possible, above or
/// below zero.
#[derive(Clone, Debug)]
struct ToyModel {
    state: NetworkState,
    panic_at: Option<u64>,
    fail_at: Option<u64>,
    nan_at: Option<u64>,
    is_huge: bool,
}

impl Model for ToyModel {
    fn layout(&self) -> Result<Layout, ModelError> {
        Ok(self.state.layout())
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(self.state.clone())
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(self.clone()))
    }

    fn replica_bytes(&self) -> u64 {
        self.state.bytes()
    }
}

impl Replica for ToyModel {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        for (features, example) in batch.features.outer_iter().zip(batch.examples) {
            let at = Some(*example);
            assert!(at != self.panic_at, "example {example} is too much");
            if at == self.fail_at {
                return Err(ModelError::Other(format!("example {example} is wrong")));
            }
            let nan = if at == self.nan_at { f32::NAN } else { 0.0 };
            for value in &mut self.state.f32_mut("w")? {
                *value += 0.1 * (features[0] - *value) + nan;
                if self.is_huge {
                    *value = if example % 3 == 0 { f32::MAX } else { f32::MIN };
                }
            }
        }
        self.evaluate_batch(batch)
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let first = f64::from(self.state.f32("w")?.as_slice().expect("row-major")[0]);
        let sums = [("loss".into(), first)].into();
        Ok(Results { examples: batch.examples.len() as u64, sums, ..Default::default() })
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}

/// A model with the parameter `held` waits here twice while it is made: once to signal that it was
/// reached, and once until the test lets it continue. For one test.
pub(super) static HELD: Barrier = Barrier::new(2);

/// A run of the test model.
#[derive(Debug)]
pub(super) struct TestRun {
    pub(super) registry: Registry,
    pub(super) opening: Opening,
    pub(super) run: Arc<OpenRun>,
    pub(super) base: Arc<NetworkState>,
    pub(super) data: Dataset,
}

impl TestRun {
    /// A state of `size` values, and more parameters of the model as TOML.
    /// Three replicas, two epochs with a short last round, evaluations.
    pub(super) fn new(size: usize, parameters: &str) -> Self {
        let mut registry = Registry::empty();
        registry.register("toy", "for tests", build);
        let spec = format!(
            "model = \"toy\"\nreplicas = 3\nbatch_size = 2\nupdate_interval = 2\nepochs = 2\n\
             evaluation = {{ every = 1, shard_size = 3 }}\ndataset = {{ source = \"digits\" }}\n\
             [parameters]\nsize = {size}\n{parameters}\n"
        );
        let split = |count: usize, first: f32| {
            let features = (0..count).map(|at| first + at as f32).collect();
            Examples::new(Features::F32(features), vec![0; count], 1, 1, 1.0).unwrap()
        };
        let data = Dataset { train: split(17, 1.0), test: split(7, -1.0) };
        let shape = DataShape::new(1, TargetType::Classes(1));
        let table = common::spec::RunSpec::from_toml(&spec).unwrap().parameters;
        let state = registry.build("toy", &table, shape, 1).unwrap().initial_state().unwrap();
        let opening = Opening {
            run: RunId(1),
            identity: RunIdentity(1),
            spec,
            model_version: 1,
            train: data.train.manifest(),
            test: data.test.manifest(),
            layout: state.layout(),
            initial: None,
        };
        let run = Arc::new(OpenRun::new(&opening).unwrap());
        run.build(&registry).unwrap();
        Self { registry, opening, run, base: Arc::new(state), data }
    }

    /// An assignment of a block, with its examples.
    pub(super) fn work(&self, step: u64, block: Block) -> Arc<RunningBlock> {
        let plan_step = self.run.plan.step(step).unwrap();
        let split = plan_step.split();
        let order = self.run.plan.order(&plan_step).map(Arc::new);
        let manifest = self.run.manifest(split).clone();
        let needed = needed_examples(&self.run.plan, &plan_step, block, order.as_deref());
        let mut data = CopiedExamples::new(split, manifest, needed);
        for place in data.chunks() {
            data.copy_from(place, &self.data.split(split).chunk(place));
        }
        let step = StepId { run: self.opening.run, index: step };
        let mut work = RunningBlock::new(AssignmentId(1), step, plan_step, block, self.run.clone());
        work.input = OnceLock::from(Input { order, data });
        Arc::new(work)
    }

    /// The expected result of a block, computed by the shared modules alone.
    pub(super) fn expected(&self, step: u64, block: Block) -> Partial {
        let plan = &self.run.plan;
        let plan_step = plan.step(step).unwrap();
        let order = plan.order(&plan_step);
        let input = ShardInput {
            plan,
            step: &plan_step,
            order: order.as_ref(),
            base: &self.base,
            data: &self.data,
        };
        let mut tree = MergeTree::of_block(block, plan_step.replicas);
        for replica in block.replicas(plan_step.replicas) {
            let mut instance = self.run.take_replica().unwrap();
            let go_on = &mut |_, _| ControlFlow::Continue(());
            let partial = shard::run(&input, replica, instance.as_mut(), go_on).unwrap();
            tree.insert(Block::of_replica(replica), partial);
        }
        tree.into_root().unwrap_or_else(|| Partial {
            tensors: vec![None; self.run.layout.tensors.len()],
            ..Default::default()
        })
    }

    /// The coordinator's message that opens the run.
    pub(super) fn open_run(&self) -> ToWorker {
        let Opening { run, identity, spec, model_version, train, test, layout, initial } =
            self.opening.clone();
        ToWorker::OpenRun { run, identity, spec, model_version, train, test, layout, initial }
    }

    /// An assignment as the coordinator sends it.
    pub(super) fn assign(&self, assignment: u64, step: u64, block: Block) -> ToWorker {
        let run = &self.run;
        let plan = run.plan.block(&run.plan.step(step).unwrap(), block);
        let step = StepId { run: self.opening.run, index: step };
        ToWorker::Assign { assignment: AssignmentId(assignment), step, block, plan, confirm: false }
    }

    /// The bytes of a chunk.
    pub(super) fn chunk(&self, split: Split, place: u32) -> bytes::Bytes {
        self.data.split(split).chunk(place as usize)
    }
}

fn build(
    parameters: &toml::Table,
    _shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    let number = |name: &str| Some(parameters.get(name)?.as_integer()? as u64);
    if number("held").is_some() {
        HELD.wait();
        HELD.wait();
    }
    let size = number("size").unwrap_or(1) as usize;
    let values = ndarray::ArrayD::from_elem(vec![size], 0.5_f32);
    let tensor = Tensor { data: TensorData::F32(values), rule: MergeRule::Mean };
    Ok(Box::new(ToyModel {
        state: NetworkState::new([("w".into(), tensor)])?,
        panic_at: number("panic_at"),
        fail_at: number("fail_at"),
        nan_at: number("nan_at"),
        is_huge: number("huge").is_some(),
    }))
}
