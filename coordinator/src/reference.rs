//! A whole run in this process, on rayon, without sockets: the reference that every cluster
//! must equal bit for bit.
//!
//! It shares only plan, models and merge rules with the cluster: replicas are combined here by
//! plain recursion over the blocks of the merge tree.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::dataset::{Dataset, DatasetError, ExampleSource, Examples, Features};
use common::id::Block;
use common::merge::{self, Merge, MergeRule, Partial};
use common::model::{Batch, Model, ModelError, Registry, Replica, finalise, label};
use common::plan::{EpochOrder, RunPlan, Step, StepKind};
use common::results::Results;
use common::shard::{self, ShardError, ShardInput};
use common::spec::{DatasetSpec, EvaluationSpec, RunSpec, SpecError, Split};
use common::state::{NetworkState, StateError};
use ndarray::ArrayView2;

/// Why a run in this process failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The spec is not valid, or does not fit the data.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The data is wrong.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model is unknown, or its parameters are not valid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A state does not fit, or is not finite.
    #[error(transparent)]
    State(#[from] StateError),
    /// A shard failed.
    #[error("step {step}, replica {replica}: {error}")]
    Shard {
        /// The step.
        step: u64,
        /// The replica.
        replica: u32,
        /// The error.
        error: ShardError,
    },
}

/// The results of a step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResults {
    /// The step.
    pub step: Step,
    /// Its results.
    pub results: Results,
}

/// Settings of [`ParallelBatchProcessor::run_parallel`].
#[derive(Clone, Debug)]
pub struct Params {
    /// Name of the model.
    pub model: String,
    /// Settings of the model other than the learning rate.
    pub parameters: toml::Table,
    /// The model's `learning_rate`; its own default without.
    pub learning_rate: Option<f64>,
    /// Whether to learn. If not, the examples are only evaluated.
    pub update_weights: bool,
    /// Batches that each replica processes between two merges.
    pub update_interval: u32,
    /// Passes over the examples.
    pub epochs: u32,
    /// Seed of the order of the examples, and of the model's randomness.
    pub seed: u64,
    /// Merge rules that differ from the model's own, by tensor.
    pub merge: BTreeMap<String, MergeRule>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            model: "softmax".into(),
            parameters: toml::Table::new(),
            learning_rate: None,
            update_weights: true,
            update_interval: 1,
            epochs: 1,
            seed: 1,
            merge: BTreeMap::new(),
        }
    }
}

/// Runs whole [`RunSpec`]s in this process.
///
/// `num_processes` is the number of replicas, which influences the result. The number of threads
/// is rayon's, and does not.
///
/// ```
/// use samebit_coordinator::ParallelBatchProcessor;
/// use samebit_coordinator::reference::Params;
///
/// let examples = ndarray::array![[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.8, 0.3]];
/// let labels = [0, 1, 0, 1];
/// let processor = ParallelBatchProcessor::new(2, 1);
/// let params = Params { epochs: 20, learning_rate: Some(0.5), ..Params::default() };
/// let (state, results) = processor.run_parallel(examples.view(), &labels, None, &params)?;
/// assert_eq!(results.last().unwrap().results.accuracy(), Some(1.0));
/// println!("{}", state.digest());
/// # Ok::<(), samebit_coordinator::reference::ReferenceError>(())
/// ```
#[derive(Debug)]
pub struct ParallelBatchProcessor {
    registry: Registry,
    num_processes: u32,
    batch_size: u32,
}

impl ParallelBatchProcessor {
    /// A processor with this number of replicas and this batch size, and the standard models.
    pub fn new(num_processes: u32, batch_size: u32) -> Self {
        Self { registry: Registry::standard(), num_processes, batch_size }
    }

    /// The same with other models.
    pub fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// One replica processes one batch from `state` in place, learning only if
    /// `update_weights`, and returns its results.
    pub fn process_batch(
        &self,
        model: &dyn Model,
        state: &mut NetworkState,
        batch: &Batch<'_>,
        update_weights: bool,
    ) -> Result<Results, ReferenceError> {
        let mut replica = model.replica()?;
        replica.begin(state)?;
        if !update_weights {
            return Ok(replica.evaluate_batch(batch)?);
        }
        let results = replica.process_batch(batch)?;
        for name in state.tensors().keys() {
            replica.refresh(name);
        }
        state.copy_from(replica.state())?;
        Ok(results)
    }

    /// Trains on, or evaluates, examples in memory (`[examples, features]`,
    /// one label each), from `initial_state` or the model's own. Returns the
    /// final state and every step's results.
    pub fn run_parallel(
        &self,
        examples: ArrayView2<'_, f32>,
        labels: &[u32],
        initial_state: Option<&NetworkState>,
        params: &Params,
    ) -> Result<(NetworkState, Vec<StepResults>), ReferenceError> {
        let split = if params.update_weights { Split::Train } else { Split::Test };
        let dataset = in_memory(examples, labels, split)?;
        let mut parameters = params.parameters.clone();
        if let Some(rate) = params.learning_rate {
            parameters.insert("learning_rate".into(), rate.into());
        }
        let spec = RunSpec {
            model: params.model.clone(),
            seed: params.seed,
            replicas: self.num_processes,
            batch_size: self.batch_size,
            update_interval: params.update_interval,
            epochs: params.update_weights.then_some(params.epochs),
            rounds: None,
            update_weights: params.update_weights,
            predict: false,
            audit: 0.0,
            dataset: DatasetSpec::new("memory"),
            parameters,
            merge: params.merge.clone(),
            evaluation: EvaluationSpec { split, ..EvaluationSpec::default() },
        };
        self.run_spec(&spec, &dataset, initial_state)
    }

    /// Runs a whole spec. Replicas and batch size are the spec's.
    pub fn run_spec(
        &self,
        spec: &RunSpec,
        dataset: &Dataset,
        initial_state: Option<&NetworkState>,
    ) -> Result<(NetworkState, Vec<StepResults>), ReferenceError> {
        spec.validate()?;
        let model =
            self.registry.build(&spec.model, &spec.parameters, dataset.shape(), spec.seed)?;
        let plan = RunPlan::new(spec, dataset.train.size(), dataset.test.len())?;
        let mut state = match initial_state {
            Some(state) => state.clone(),
            None => model.initial_state()?,
        };
        state.set_rules(&spec.merge)?;

        let mut steps = Steps::new(&plan, &*model, dataset);
        let mut all = Vec::new();
        for index in 0..plan.steps() {
            all.push(steps.run(index, &mut state)?);
        }
        let scores = all.iter().flat_map(|step| step.results.scores.iter().copied()).collect();
        Ok((plan.scores_state(scores).unwrap_or(state), all))
    }
}

/// The steps of a run, one after another.
pub struct Steps<'a> {
    plan: &'a RunPlan,
    data: &'a dyn ExampleSource,
    instances: Instances<'a>,
    /// The order of the current epoch.
    order: Option<(u64, EpochOrder)>,
}

impl std::fmt::Debug for Steps<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl<'a> Steps<'a> {
    /// The steps of a plan.
    pub fn new(plan: &'a RunPlan, model: &'a dyn Model, data: &'a dyn ExampleSource) -> Self {
        let instances = Instances { model, idle: Mutex::default(), busy: AtomicU64::new(0) };
        Self { plan, data, instances, order: None }
    }

    /// The time that threads have spent on shards so far, added up.
    pub fn computing(&self) -> Duration {
        Duration::from_nanos(self.instances.busy.load(Ordering::Relaxed))
    }

    /// Computes a step: replaces `state`, its base, with the base of the next step.
    ///
    /// # Panics
    /// If the plan has no such step.
    pub fn run(
        &mut self,
        index: u64,
        state: &mut NetworkState,
    ) -> Result<StepResults, ReferenceError> {
        let step = self.plan.step(index).expect("a step below `steps` exists");
        self.find_order(&step);
        let order = self.order.as_ref().filter(|_| epoch_of(&step).is_some());
        let order = order.map(|(_, order)| order);
        let input =
            ShardInput { plan: self.plan, step: &step, order, base: state, data: self.data };
        let partial = self.instances.run_block(&input, step.root())?;
        let model = self.instances.model;
        if let StepKind::Train { .. } = step.kind {
            let base = std::mem::take(state);
            *state = merge::finish(&base, partial.as_ref());
            finalise(model, &base, state)?;
        }
        let results = partial.map(|partial| partial.results).unwrap_or_default();
        if let StepKind::Label { .. } = step.kind {
            label(model, state, &results)?;
        }
        Ok(StepResults { step, results })
    }

    /// Runs one shard of a step from its base, with a callback; `None` if it has no examples.
    ///
    /// # Panics
    /// If the plan has no such step.
    pub fn run_shard(
        &mut self,
        index: u64,
        replica: u32,
        base: &NetworkState,
        after_batch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Option<Partial>, ShardError> {
        let step = self.plan.step(index).expect("a step below `steps` exists");
        self.find_order(&step);
        let order = self.order.as_ref().filter(|_| epoch_of(&step).is_some());
        let order = order.map(|(_, order)| order);
        let input = ShardInput { plan: self.plan, step: &step, order, base, data: self.data };
        let mut instance = self.instances.model.replica()?;
        shard::run(&input, replica, &mut *instance, after_batch)
    }

    fn find_order(&mut self, step: &Step) {
        if let Some(epoch) = epoch_of(step)
            && self.order.as_ref().is_none_or(|(of, _)| *of != epoch)
        {
            self.order = self.plan.order(step).map(|order| (epoch, order));
        }
    }
}

/// The epoch of a training round.
fn epoch_of(step: &Step) -> Option<u64> {
    match step.kind {
        StepKind::Train { epoch, .. } => Some(epoch),
        StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => None,
    }
}

/// Examples in memory, as a dataset whose other split is empty.
fn in_memory(
    examples: ArrayView2<'_, f32>,
    labels: &[u32],
    split: Split,
) -> Result<Dataset, DatasetError> {
    let width = examples.ncols() as u32;
    let classes = labels.iter().max().map_or(1, |label| label.saturating_add(1));
    let features = Features::F32(examples.iter().copied().collect());
    let full = Examples::new(features, labels.to_vec(), width, classes, 1.0)?;
    let none = Examples::new(Features::F32(Vec::new()), Vec::new(), width, classes, 1.0)?;
    Ok(match split {
        Split::Train => Dataset { train: full, test: none },
        Split::Test => Dataset { train: none, test: full },
    })
}

/// Unused instances of the model, for reuse.
struct Instances<'a> {
    model: &'a dyn Model,
    idle: Mutex<Vec<Box<dyn Replica>>>,
    /// Nanoseconds that threads have spent on shards.
    busy: AtomicU64,
}

impl Instances<'_> {
    /// Runs all shards of a block and combines them: the definition of the
    /// merge tree.
    fn run_block(
        &self,
        input: &ShardInput<'_>,
        block: Block,
    ) -> Result<Option<Partial>, ReferenceError> {
        if block.replicas(input.step.replicas).is_empty() {
            return Ok(None);
        }
        let Some((left, right)) = block.halves() else {
            return self.run_shard(input, block.index);
        };
        let (left, right) =
            rayon::join(|| self.run_block(input, left), || self.run_block(input, right));
        Ok(match (left?, right?) {
            (Some(left), Some(right)) => Some(left.merge(right)),
            (left, right) => left.or(right),
        })
    }

    fn run_shard(
        &self,
        input: &ShardInput<'_>,
        index: u32,
    ) -> Result<Option<Partial>, ReferenceError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut replica = idle.map_or_else(|| self.model.replica(), Ok)?;
        let start = Instant::now();
        let outcome =
            shard::run(input, index, &mut *replica, &mut |_, _| ControlFlow::Continue(()));
        self.busy.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(replica);
        let step = input.step.index;
        outcome.map_err(|error| ReferenceError::Shard { step, replica: index, error })
    }
}

#[cfg(test)]
mod tests;
