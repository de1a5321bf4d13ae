//! A small model and dataset for tests.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use common::dataset::{Dataset, Examples, Features};
use common::merge::MergeRule;
use common::model::{Batch, DataShape, Model, ModelError, Registry, Replica};
use common::results::Results;
use common::spec::RunSpec;
use common::state::{Layout, NetworkState, StateError, Tensor, TensorData};
use ndarray::ArrayD;

/// Holds a model with the parameter `held` while it finalises a state. For one test.
pub(super) static HELD: Held = Held::new(true);

/// The same for `held_small`, for another test.
pub(super) static HELD_SMALL: Held = Held::new(true);

/// Hold a model with the parameter `held_build` while it is made, by that number, once a test has
/// closed it. For one test each.
pub(super) static BUILDS: [Held; 6] = [const { Held::new(false) }; 6];

/// Every value of `w` moves towards each example's feature, `seen` counts the examples, and `kept`
/// is only changed by a labelling, which writes the number of examples above `w`, and of all
/// examples. The model panics when it finalises a state that has seen `panic_at` examples, and when
/// it labels by `panic_labels` examples. It warns of features that are negative or above 50. With
/// `grow_at`, `w` becomes one value longer instead of the panic of `panic_at`. With `unaffordable`,
/// it panics when it makes its state. It gives `outputs` scores for an example: its feature, and
/// numbers from 1 above the first value of `w`. With `wide`, it has tensors of f64 and i64, too.
#[derive(Clone, Debug)]
struct TestModel {
    state: NetworkState,
    grow_at: Option<u64>,
    unaffordable: bool,
    panic_at: Option<u64>,
    panic_labels: Option<u64>,
    /// Whether merged states stay as they are.
    as_merged: bool,
    outputs: usize,
    held: Option<&'static Held>,
}

/// Code of the model waits here twice, once per closing: to signal that it was reached, and until
/// the test lets it continue.
#[derive(Debug)]
pub(super) struct Held {
    at: Barrier,
    is_closed: AtomicBool,
}

impl Held {
    const fn new(is_closed: bool) -> Self {
        Self { at: Barrier::new(2), is_closed: AtomicBool::new(is_closed) }
    }

    /// Holds the next caller.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Whether it still waits for the caller that it is to hold.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn pass(&self) {
        if self.is_closed.swap(false, Ordering::Relaxed) {
            self.at.wait();
            self.at.wait();
        }
    }

    /// Meets the model's code.
    pub(super) async fn meet(&'static self) {
        tokio::task::spawn_blocking(|| self.at.wait()).await.unwrap();
    }
}

impl Model for TestModel {
    fn layout(&self) -> Result<Layout, ModelError> {
        Ok(self.state.layout())
    }

    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        assert!(!self.unaffordable, "nobody has asked whether there is room");
        Ok(self.state.clone())
    }

    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(self.clone()))
    }

    fn replica_bytes(&self) -> u64 {
        self.state.bytes()
    }

    fn has_finish_round(&self) -> bool {
        !self.as_merged
    }

    fn finish_round(&self, _: &NetworkState, state: &mut NetworkState) -> Result<(), ModelError> {
        if let Some(held) = self.held {
            held.pass();
        }
        let seen = state.u64("seen")?[[0]];
        assert!(self.panic_at != Some(seen), "{seen} examples are too many");
        state.f32_mut("w")?.mapv_inplace(|value| value.clamp(-100.0, 100.0));
        if self.grow_at == Some(seen) {
            *state = tensors(state.f32("w")?.len() + 1, false)?;
        }
        Ok(())
    }

    fn finish_labelling(
        &self,
        state: &mut NetworkState,
        results: &Results,
    ) -> Result<(), ModelError> {
        let all = results.examples;
        assert!(self.panic_labels != Some(all), "{all} examples are too many to label by");
        let above = results.counts["above"][0] as f32;
        state.f32_mut("kept")?.assign(&ndarray::array![above, all as f32].into_dyn());
        Ok(())
    }
}

impl TestModel {
    fn first(&self) -> Result<f32, ModelError> {
        Ok(self.state.f32("w")?.first().copied().unwrap_or_default())
    }
}

impl Replica for TestModel {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }

    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        for features in batch.features.outer_iter() {
            for (place, value) in self.state.f32_mut("w")?.iter_mut().enumerate() {
                *value += 0.1 * (features[0] + (place % 7) as f32 - *value);
            }
            self.state.u64_mut("seen")?[[0]] += 1;
            if self.state.f64("wide.mean").is_ok() {
                learn_wide(&mut self.state, features[0])?;
            }
        }
        self.evaluate_batch(batch)
    }

    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let first = f64::from(self.first()?) + f64::from(self.state.f32("kept")?[[0]]);
        let loss = batch.features.iter().map(|feature| f64::from(*feature) - first);
        let sums = [("loss".to_owned(), loss.fold(0.0, |sum, loss| sum + loss))].into();
        let odd = batch.features.iter().filter(|value| !(0.0..=50.0).contains(*value));
        let counts = [("warning.odd".to_owned(), vec![odd.count() as u64])];
        let counts = counts.into_iter().chain([("batches".to_owned(), vec![1])]).collect();
        Ok(Results { examples: batch.examples.len() as u64, sums, counts, ..Results::default() })
    }

    fn label_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let first = self.first()?;
        let above = batch.features.iter().filter(|feature| **feature > first).count();
        let named = [("above", above), ("warning.above", above)];
        let counts = named.map(|(name, count)| (name.to_owned(), vec![count as u64])).into();
        Ok(Results { counts, ..Default::default() })
    }

    fn predict_batch(
        &mut self,
        batch: &Batch<'_>,
        scores: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let first = self.first()?;
        for features in batch.features.outer_iter() {
            scores.push(features[0]);
            scores.extend((1..self.outputs).map(|place| first + place as f32));
        }
        Ok(())
    }

    fn state(&self) -> &NetworkState {
        &self.state
    }
}

fn build(
    parameters: &toml::Table,
    _shape: DataShape,
    _seed: u64,
) -> Result<Box<dyn Model>, ModelError> {
    let number = |name: &str| parameters.get(name).and_then(toml::Value::as_integer);
    let state = tensors(number("size").unwrap_or(3) as usize, parameters.contains_key("wide"))?;
    let count = |name: &str| number(name).map(|at| at as u64);
    let (panic_at, panic_labels) = (count("panic_at"), count("panic_labels"));
    if let Some(place) = number("held_build") {
        BUILDS[place as usize].pass();
    }
    let held = [("held", &HELD), ("held_small", &HELD_SMALL)];
    let held = held.into_iter().find(|(name, _)| parameters.contains_key(*name));
    let held = held.map(|(_, held)| held);
    let (grow_at, unaffordable) = (count("grow_at"), parameters.contains_key("unaffordable"));
    let as_merged = parameters.contains_key("as_merged");
    let outputs = number("outputs").unwrap_or(1) as usize;
    Ok(Box::new(TestModel {
        state,
        grow_at,
        unaffordable,
        panic_at,
        panic_labels,
        as_merged,
        outputs,
        held,
    }))
}

/// What one example changes in the tensors that the model has with `wide`.
fn learn_wide(state: &mut NetworkState, feature: f32) -> Result<(), StateError> {
    let feature = f64::from(feature);
    for (place, value) in state.f64_mut("wide.mean")?.iter_mut().enumerate() {
        *value += 0.1 * (feature / 3.0 + (place % 7) as f64 - *value);
    }
    let unit = feature.abs() as usize % 3;
    state.f64_mut("wide.fold")?[[1, unit]] += feature / 7.0;
    state.f64_mut("wide.mean_by")?[[0, unit]] -= feature / 9.0;
    let (whole, top) = (feature as i64, state.i64("wide.max")?[[0]]);
    state.i64_mut("wide.max")?[[0]] = top.max(whole);
    let mut sum = state.i64_mut("wide.sum")?;
    sum[[0]] = sum[[0]].wrapping_sub(whole);
    Ok(())
}

/// The initial state, with this many values of `w`, and of `wide.mean` if it is there.
fn tensors(size: usize, is_wide: bool) -> Result<NetworkState, StateError> {
    let tensor = |rule, data| Tensor { data, rule };
    let f32s = |values: usize| TensorData::F32(ArrayD::from_elem(vec![values], 0.5));
    let mut tensors = vec![
        ("w".to_owned(), tensor(MergeRule::Mean, f32s(size))),
        ("kept".to_owned(), tensor(MergeRule::Keep, f32s(2))),
        ("seen".to_owned(), tensor(MergeRule::Sum, TensorData::U64(ArrayD::zeros(vec![1])))),
    ];
    let f64s = |shape: &[usize]| TensorData::F64(ArrayD::from_elem(shape, 1.0 / 3.0));
    let i64s = |value| TensorData::I64(ArrayD::from_elem(vec![1], value));
    let wide = [
        ("wide.mean", tensor(MergeRule::Mean, f64s(&[size]))),
        ("wide.fold", tensor(MergeRule::Fold, f64s(&[2, 3]))),
        ("wide.mean_by", tensor(MergeRule::MeanBy, f64s(&[2, 3]))),
        ("wide.sum", tensor(MergeRule::Sum, i64s(i64::MIN))),
        ("wide.max", tensor(MergeRule::Max, i64s(-5))),
        ("wide.keep", tensor(MergeRule::Keep, i64s(-6))),
    ];
    let wide = wide.into_iter().filter(|_| is_wide);
    tensors.extend(wide.map(|(name, tensor)| (name.to_owned(), tensor)));
    NetworkState::new(tensors)
}

/// A registry with only the test model.
pub(in crate::server) fn registry() -> Registry {
    let mut registry = Registry::empty();
    registry.register("toy", "for tests", build);
    registry
}

/// Five replicas, two epochs with a short last round, evaluations between.
pub(in crate::server) fn spec(parameters: &str) -> RunSpec {
    let text = format!(
        "model = \"toy\"\nreplicas = 5\nbatch_size = 2\nupdate_interval = 2\nepochs = 2\n\
         evaluation = {{ every = 1, shard_size = 3 }}\ndataset = {{ source = \"digits\" }}\n\
         [parameters]\n{parameters}\n"
    );
    RunSpec::from_toml(&text).unwrap()
}

/// The same, with a labelling before each evaluation.
pub(super) fn labelling_spec(parameters: &str) -> RunSpec {
    let mut spec = spec(parameters);
    spec.evaluation.labelling = true;
    spec
}

/// 53 training examples, and 7 test examples.
pub(in crate::server) fn dataset() -> Dataset {
    dataset_of(53)
}

/// The same with this many training examples.
pub(super) fn dataset_of(examples: usize) -> Dataset {
    let split = |count: usize, first: f32| {
        let features = (0..count).map(|at| first + at as f32).collect();
        Examples::new(Features::F32(features), vec![0; count], 1, 1, 1.0).unwrap()
    };
    Dataset { train: split(examples, 1.0), test: split(7, -1.0) }
}
