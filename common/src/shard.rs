//! One shard from start to end: the work of one replica in one step. The worker and the
//! one-process reference both use this module.

use std::ops::{ControlFlow, Range};

use ndarray::ArrayView2;

use crate::dataset::{DatasetError, ExampleBuffer, ExampleSource};
use crate::merge::{BufferPool, MergeError, Partial};
use crate::model::{Batch, ModelError, Replica, Targets};
use crate::plan::{EpochOrder, RunPlan, Step, StepKind};
use crate::results::Results;
use crate::state::NetworkState;

/// The input of a shard, apart from a replica instance.
#[derive(Clone, Copy)]
pub struct ShardInput<'a> {
    /// The run's plan.
    pub plan: &'a RunPlan,
    /// The step.
    pub step: &'a Step,
    /// The epoch's order, of [`RunPlan::order`].
    pub order: Option<&'a EpochOrder>,
    /// The step's base state.
    pub base: &'a NetworkState,
    /// The examples.
    pub data: &'a dyn ExampleSource,
}

impl std::fmt::Debug for ShardInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardInput").field("step", &self.step).finish_non_exhaustive()
    }
}

/// Why a shard failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data is missing.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The result cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The callback stopped the shard.
    #[error("stopped")]
    Stopped,
}

/// Smallest batch without learning: a model's results may be large, and adding them up after
/// each example could take longer than computing them.
const WATCHED_TOGETHER: u64 = 64;

/// Runs shard `index`: `replica` starts from the base and processes the shard's batches in
/// order. `after_batch(batch, examples)` is called after each batch with its index in the
/// shard, from 0, and its number of examples; it may stop the shard. Returns `None` if the
/// shard has no examples.
///
/// The examples of the results are counted here, independent of the model, and only a prediction has
/// scores.
pub fn run(
    input: &ShardInput<'_>,
    index: u32,
    replica: &mut dyn Replica,
    after_batch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Option<Partial>, ShardError> {
    let hashed = run_in(&BufferPool::default(), input, index, replica, after_batch)?;
    Ok(hashed.map(|(partial, _)| partial))
}

/// [`run`], reusing the memory of earlier partials, with the partial's
/// [`Partial::segment_hashes`].
pub fn run_in(
    spare: &BufferPool,
    input: &ShardInput<'_>,
    index: u32,
    replica: &mut dyn Replica,
    after_batch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Option<(Partial, Vec<u128>)>, ShardError> {
    let positions = input.plan.positions(input.step, index);
    if positions.is_empty() {
        return Ok(None);
    }
    replica.begin(input.base)?;
    let batch_size = match input.step.kind {
        StepKind::Train { .. } => u64::from(input.plan.batch_size()).max(1),
        StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => {
            u64::from(input.plan.batch_size()).max(WATCHED_TOGETHER)
        }
    };
    let mut gathered = Gathered::default();
    let mut results = Results::default();
    for (number, start) in (0..).zip(positions.clone().step_by(batch_size as usize)) {
        let end = positions.end.min(start.saturating_add(batch_size));
        let batch = gathered.batch(input, start..end)?;
        let batch_results = match input.step.kind {
            StepKind::Train { .. } => replica.process_batch(&batch)?,
            StepKind::Label { .. } => replica.label_batch(&batch)?,
            StepKind::Evaluate { .. } => replica.evaluate_batch(&batch)?,
            StepKind::Predict { .. } => scores(input, replica, &batch)?,
        };
        results.combine(&batch_results);
        if after_batch(number, end - start).is_break() {
            return Err(ShardError::Stopped);
        }
    }
    results.examples = positions.end - positions.start;
    if !matches!(input.step.kind, StepKind::Predict { .. }) {
        results.scores.clear();
    }
    let partial = match input.step.kind {
        StepKind::Train { .. } => {
            Partial::of_replica_in(spare, replica, index, input.base, results)?
        }
        StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => {
            let tensors = vec![None; input.base.tensors().len()];
            let partial = Partial { weight: results.examples, results, tensors };
            let hashes = partial.segment_hashes(&input.base.layout());
            (partial, hashes)
        }
    };
    Ok(Some(partial))
}

/// The scores of a batch's examples, which must be as many as the plan says, and finite.
fn scores(
    input: &ShardInput<'_>,
    replica: &mut dyn Replica,
    batch: &Batch<'_>,
) -> Result<Results, ShardError> {
    let mut results = Results::default();
    replica.predict_batch(batch, &mut results.scores)?;
    let expected = batch.examples.len() * input.plan.outputs(input.step) as usize;
    if results.scores.len() != expected {
        let message = format!(
            "the model's `predict_batch`: expected {expected} scores for {} examples, found {}",
            batch.examples.len(),
            results.scores.len()
        );
        return Err(ModelError::Other(message).into());
    }
    match results.scores.iter().position(|score| !score.is_finite()) {
        None => Ok(results),
        Some(at) => Err(ModelError::NotFinite {
            example: batch.examples[at / input.plan.outputs(input.step) as usize],
            found: results.scores[at],
        }
        .into()),
    }
}

/// The memory of one batch, reused for the next.
#[derive(Default)]
struct Gathered {
    examples: Vec<u64>,
    buffer: ExampleBuffer,
}

impl Gathered {
    /// Fetches the examples at these positions of the step.
    fn batch(
        &mut self,
        input: &ShardInput<'_>,
        positions: Range<u64>,
    ) -> Result<Batch<'_>, ShardError> {
        self.examples.clear();
        self.buffer.clear();
        let epoch = match input.step.kind {
            StepKind::Train { epoch, .. } => {
                let order = input.order.expect("a training step comes with its epoch's order");
                self.examples.extend(order.examples(positions));
                epoch
            }
            StepKind::Label { epochs } | StepKind::Evaluate { epochs, .. } => {
                self.examples.extend(positions);
                epochs
            }
            StepKind::Predict { .. } => {
                self.examples.extend(positions);
                0
            }
        };
        let split = input.step.split();
        input.data.gather(split, &self.examples, &mut self.buffer)?;
        let features = rows(&self.buffer.features, self.examples.len())?;
        Ok(Batch::new(features, self.targets()?, &self.examples, epoch))
    }

    /// The targets of the examples: those of a kind that were gathered.
    fn targets(&self) -> Result<Targets<'_>, ShardError> {
        let ExampleBuffer { classes, vectors, .. } = &self.buffer;
        let count = self.examples.len();
        match (classes.len(), vectors.len()) {
            (0, 0) => Ok(Targets::None),
            (0, _) => Ok(Targets::Vectors(rows(vectors, count)?)),
            (found, 0) if found == count => Ok(Targets::Classes(classes)),
            (found, _) => Err(uneven(count, found)),
        }
    }
}

/// Values of so many examples, as many for each.
fn rows(values: &[f32], count: usize) -> Result<ArrayView2<'_, f32>, ShardError> {
    let shape = (count, values.len() / count.max(1));
    let rows = ArrayView2::from_shape(shape, values).ok();
    rows.filter(|rows| rows.len() == values.len()).ok_or_else(|| uneven(count, values.len()))
}

fn uneven(count: usize, found: usize) -> ShardError {
    let expected = format!("features and targets of {count} examples");
    ShardError::Data(DatasetError::Invalid { expected, found: format!("{found} values") })
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;
    use crate::dataset::SplitSize;
    use crate::merge::{Contribution, MergeRule, RealContribution};
    use crate::spec::{RunSpec, Split};
    use crate::state::{Tensor, TensorData};

    /// Every example has its number as its only feature and as its label.
    struct Numbers;

    impl ExampleSource for Numbers {
        fn gather(
            &self,
            _: Split,
            examples: &[u64],
            into: &mut ExampleBuffer,
        ) -> Result<(), DatasetError> {
            into.features.extend(examples.iter().map(|example| *example as f32));
            into.classes.extend(examples.iter().map(|example| *example as u32));
            Ok(())
        }
    }

    /// Adds up the features it learns from, and remembers what it was given,
    /// and what for.
    struct Adder {
        state: NetworkState,
        batches: Vec<(&'static str, Vec<u64>)>,
    }

    impl Adder {
        fn remember(&mut self, batch: &Batch<'_>, why: &'static str) -> Results {
            let features: Vec<u64> = batch.features.iter().map(|value| *value as u64).collect();
            assert_eq!(features, batch.examples);
            assert_eq!(batch.features.dim(), (batch.examples.len(), 1));
            self.batches.push((why, features));
            let (examples, scores) = (77, vec![0.5]); // Wrong, and overruled.
            let sums = [("loss".into(), 1.0)].into();
            Results { examples, sums, scores, ..Results::default() }
        }
    }

    impl Replica for Adder {
        fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
            Ok(self.state.copy_from(base)?)
        }
        fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
            self.state.f32_mut("sum")?[0] += batch.features.sum();
            Ok(self.remember(batch, "learn"))
        }
        fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
            Ok(self.remember(batch, "judge"))
        }
        fn label_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
            Ok(self.remember(batch, "label"))
        }
        fn predict_batch(
            &mut self,
            batch: &Batch<'_>,
            scores: &mut Vec<f32>,
        ) -> Result<(), ModelError> {
            let large = self.state.f32("sum")?[0] * 1e30;
            scores.extend(batch.features.iter().flat_map(|feature| [*feature, large]));
            Ok(())
        }
        fn state(&self) -> &NetworkState {
            &self.state
        }
    }

    fn state(value: f32) -> NetworkState {
        let data = TensorData::F32(ArrayD::from_elem(vec![1], value));
        let tensor = Tensor { data, rule: MergeRule::Sum };
        NetworkState::new([("sum".to_string(), tensor)]).unwrap()
    }

    #[test]
    fn only_a_prediction_has_scores_and_they_are_checked() {
        let (partial, _, _) = shard(2, 0, u64::MAX);
        assert_eq!(partial.unwrap().unwrap().results.scores, [0.0; 0]);
        let spec = "model = 'adder'
            predict = true
            update_weights = false
            evaluation.split = 'train'
            dataset.source = 'digits'";
        let plan = |outputs| {
            let size = SplitSize { outputs, ..SplitSize::of_one_chunk(8) };
            RunPlan::new(&RunSpec::from_toml(spec).unwrap(), size, 0).unwrap()
        };
        let predict = |plan: &RunPlan, scale| {
            let step = plan.step(0).unwrap();
            let base = state(scale);
            let input = ShardInput { plan, step: &step, order: None, base: &base, data: &Numbers };
            let mut adder = Adder { state: state(-1.0), batches: Vec::new() };
            run(&input, 0, &mut adder, &mut |_, _| ControlFlow::Continue(()))
        };
        let partial = predict(&plan(2), 10.0).unwrap().unwrap();
        let scores = (0..8).flat_map(|example| [example as f32, 10.0 * 1e30]);
        assert_eq!(partial.results.scores, scores.collect::<Vec<_>>());
        assert_eq!((partial.weight, partial.results.examples, partial.tensors), (8, 8, vec![None]));
        let error = predict(&plan(3), 10.0).unwrap_err().to_string();
        assert!(error.contains("expected 24 scores for 8 examples, found 16"), "{error}");
        let error = predict(&plan(2), 1e20).unwrap_err().to_string();
        assert!(error.contains("example 0: expected finite scores, found inf"), "{error}");
    }

    /// Two replicas with up to two batches of three; eight examples to train
    /// on, five to evaluate.
    fn plan() -> RunPlan {
        let spec = "model = 'adder'
            replicas = 2
            batch_size = 3
            update_interval = 2
            epochs = 1
            evaluation.labelling = true
            dataset.source = 'digits'";
        RunPlan::new(&RunSpec::from_toml(spec).unwrap(), 8, 5).unwrap()
    }

    type Outcome = Result<Option<Partial>, ShardError>;

    /// Runs one shard; `last` is the batch after which it is stopped.
    fn shard(step: u64, index: u32, last: u64) -> (Outcome, Adder, Vec<(u64, u64)>) {
        let plan = plan();
        let step = plan.step(step).unwrap();
        let order = plan.order(&step);
        let input = ShardInput {
            plan: &plan,
            step: &step,
            order: order.as_ref(),
            base: &state(10.0),
            data: &Numbers,
        };
        let mut adder = Adder { state: state(-1.0), batches: Vec::new() };
        let mut observed = Vec::new();
        let outcome = run(&input, index, &mut adder, &mut |batch, examples| {
            observed.push((batch, examples));
            if batch == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (outcome, adder, observed)
    }

    #[test]
    fn replicas_learn_from_every_example_once() {
        let mut seen = Vec::new();
        for index in 0..2 {
            let (partial, adder, observed) = shard(0, index, u64::MAX);
            let own: Vec<u64> = adder.batches.iter().flat_map(|(_, batch)| batch.clone()).collect();
            let partial = partial.unwrap().unwrap();
            assert_eq!(partial.weight, own.len() as u64);
            assert_eq!(partial.results.examples, own.len() as u64);
            assert_eq!(partial.results.sums["loss"], observed.len() as f64);
            let sum = own.iter().sum::<u64>() as f32;
            let sum = Contribution::F32(RealContribution::Sum(vec![sum].into()));
            assert_eq!(partial.tensors, [Some(sum)]);
            let counts = adder.batches.iter().map(|(_, batch)| batch.len() as u64);
            assert_eq!(observed, (0..).zip(counts).collect::<Vec<_>>());
            seen.extend(own);
        }
        seen.sort();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_evaluation_goes_through_the_split_and_changes_nothing() {
        let (partial, adder, _) = shard(2, 0, u64::MAX);
        assert_eq!(adder.batches, [("judge", vec![0, 1, 2, 3, 4])]);
        let partial = partial.unwrap().unwrap();
        assert_eq!((partial.weight, partial.tensors), (5, vec![None]));
    }

    #[test]
    fn a_labelling_goes_through_the_training_split_and_contributes_nothing() {
        let (partial, adder, _) = shard(1, 0, u64::MAX);
        assert_eq!(adder.batches, [("label", (0..8).collect())]);
        let partial = partial.unwrap().unwrap();
        assert_eq!((partial.weight, partial.tensors), (8, vec![None]));
        assert_eq!((partial.results.examples, partial.results.sums["loss"]), (8, 1.0));
    }

    #[test]
    fn targets_are_those_that_were_gathered() {
        for (classes, vectors, expected) in [
            (vec![], vec![], Ok("None")),
            (vec![1, 0], vec![], Ok("Classes([1, 0])")),
            (vec![], vec![0.5, 1.5, 2.5, 3.5], Ok("[[0.5, 1.5],")),
            (vec![1], vec![], Err("targets of 2 examples, found 1 values")),
            (vec![], vec![0.5; 3], Err("targets of 2 examples, found 3 values")),
            (vec![1, 0], vec![0.5; 2], Err("targets of 2 examples, found 2 values")),
        ] {
            let buffer = ExampleBuffer { features: vec![0.0; 4], classes, vectors };
            let gathered = Gathered { examples: vec![7, 8], buffer };
            let found = gathered.targets().map(|targets| format!("{targets:?}"));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert!(found.contains(expected), "{found}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}");
                }
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn the_observer_stops_a_shard() {
        let (outcome, adder, _) = shard(0, 0, 0);
        assert!(matches!(outcome, Err(ShardError::Stopped)));
        assert_eq!(adder.batches.len(), 1);
    }

    #[test]
    fn a_shard_without_examples_gives_nothing() {
        let (outcome, adder, observed) = shard(1, 1, 0);
        assert!(matches!(outcome, Ok(None)));
        assert!(adder.batches.is_empty() && observed.is_empty());
        assert_eq!(adder.state, state(-1.0), "it did not even begin");
    }
}
