use std::ops::ControlFlow;

use ndarray::Array2;

use crate::dataset::Dataset;
use crate::id::Block;
use crate::merge::{self, MergeTree};
use crate::model::{Batch, DataShape, Model, ModelError, Registry, Replica, TargetType, Targets};
use crate::plan::{RunPlan, StepKind};
use crate::results::{CONFUSION, LOSS, Results};
use crate::shard::{self, ShardInput};
use crate::spec::RunSpec;
use crate::state::{NetworkState, TensorData};

const SHAPE: DataShape = DataShape::new(5, TargetType::Classes(3));

fn build(name: &str, parameters: &str) -> Result<Box<dyn Model>, ModelError> {
    Registry::standard().build(name, &parameters.parse().unwrap(), SHAPE, 1)
}

/// A batch that owns its examples.
struct Examples {
    features: Array2<f32>,
    labels: Vec<u32>,
    places: Vec<u64>,
}

impl Examples {
    fn new(count: usize) -> Self {
        let value = |(row, column)| ((row * 7 + column * 3) % 11) as f32 / 11.0;
        Self {
            features: Array2::from_shape_fn((count, SHAPE.features), value),
            labels: (0..count as u32).map(|row| row * row % 3).collect(),
            places: (0..count as u64).collect(),
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch::new(self.features.view(), Targets::Classes(&self.labels), &self.places, 0)
    }
}

fn begin(model: &dyn Model, base: &NetworkState) -> Box<dyn Replica> {
    let mut replica = model.replica().unwrap();
    replica.begin(base).unwrap();
    replica
}

#[test]
fn wrong_parameters_are_named() {
    for (name, parameters, expected) in [
        ("mlp", "hiden = [3]", "`hiden`: expected one of `hidden`, `learning_rate`"),
        ("mlp", "hidden = 3", "`hidden`: expected at most 32 whole numbers from 1 to 65536"),
        ("mlp", "hidden = [0]", "found [0]"),
        ("mlp", "learning_rate = -0.1", "`learning_rate`: expected a number from"),
        ("mlp", "learning_rate = \"fast\"", "found \"fast\""),
        ("mlp", "learning_rate = nan", "found nan"),
        ("mlp", "momentum = 1", "`momentum`: expected a number from 0 to 0.9999, found 1"),
        ("mlp", "momentum_state = \"global\"", "expected `merged`, `local`, found \"global\""),
        ("mlp", "hidden = [65536, 65536]", "`hidden`: expected layers of at most"),
        ("softmax", "momentum = 0.9", "`momentum`: expected one of `learning_rate`"),
        ("softmax", "weight_decay = 2", "`weight_decay`"),
    ] {
        let error = build(name, parameters).err().expect(parameters).to_string();
        assert!(error.contains(expected), "{parameters}: {error}");
    }
    let no_features = DataShape::new(0, TargetType::Classes(3));
    assert!(Registry::standard().build("mlp", &Default::default(), no_features, 1).is_err());
}

#[test]
fn networks_of_all_small_shapes_train_and_evaluate() {
    for (features, hidden, classes) in (1..4)
        .flat_map(|features| ["", "1", "2", "1, 1", "3, 1, 2"].map(|hidden| (features, hidden)))
        .flat_map(|(features, hidden)| (1..4).map(move |classes| (features, hidden, classes)))
    {
        let shape = DataShape::new(features, TargetType::Classes(classes as u32));
        let case = format!("{features} features, hidden [{hidden}], {classes} classes");
        let parameters = format!("hidden = [{hidden}]").parse().unwrap();
        let model = Registry::standard().build("mlp", &parameters, shape, 1).expect(&case);
        let mut replica = begin(&*model, &model.initial_state().expect(&case));
        for count in 1..4 {
            let examples = Examples {
                features: Array2::from_shape_fn((count, features), |(row, column)| {
                    (row + column) as f32 / 4.0
                }),
                labels: (0..count).map(|row| (row % classes) as u32).collect(),
                places: (0..count as u64).collect(),
            };
            for results in [
                replica.process_batch(&examples.batch()).expect(&case),
                replica.evaluate_batch(&examples.batch()).expect(&case),
            ] {
                assert_eq!(results.examples, count as u64, "{case}");
                assert!(results.sums[LOSS].is_finite(), "{case}");
            }
        }
    }
}

#[test]
fn the_state_has_the_tensors_that_are_documented() {
    let names = |name, parameters| {
        let state = build(name, parameters).unwrap().initial_state().unwrap();
        state.tensors().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("softmax", ""), "bias examples weights");
    assert_eq!(
        names("mlp", "hidden = [4]\nmomentum_state = \"local\""),
        "examples layer1.bias layer1.weights layer2.bias layer2.weights"
    );
    assert_eq!(
        names("mlp", "hidden = []"),
        "examples layer1.bias layer1.bias.velocity layer1.weights layer1.weights.velocity"
    );
}

#[test]
fn the_layout_is_that_of_the_initial_state() {
    let momentum = "momentum = 0.9\nmomentum_state = \"merged\"";
    for (name, parameters) in
        [("softmax", ""), ("mlp", "hidden = [7, 3]"), ("mlp", &format!("hidden = [5]\n{momentum}"))]
    {
        let model = build(name, parameters).unwrap();
        assert_eq!(model.layout().unwrap(), model.initial_state().unwrap().layout(), "{name}");
    }
}

#[test]
fn the_initial_state_is_a_function_of_the_seed() {
    let state = |seed| {
        let model = Registry::standard().build("mlp", &Default::default(), SHAPE, seed).unwrap();
        model.initial_state().unwrap()
    };
    assert_eq!(state(1), state(1));
    assert_ne!(state(1), state(2));
    let weights = state(1);
    let weights = weights.f32("layer1.weights").unwrap();
    let limit = (6.0_f32 / 5.0).sqrt();
    assert!(weights.iter().all(|weight| weight.abs() <= limit));
    assert!(weights.iter().any(|weight| weight.abs() > limit / 2.0));
}

/// Plain SGD from a state moves every weight against the slope of the mean
/// loss, measured by moving that weight a little. More examples than go
/// through the layers at a time.
#[test]
fn steps_follow_the_measured_slope_of_the_loss() {
    let examples = Examples::new(2 * super::CHUNK + 9);
    let model = build("mlp", "hidden = [4, 6]\nlearning_rate = 1\nmomentum = 0").unwrap();
    let base = model.initial_state().unwrap();
    let mut replica = begin(&*model, &base);
    let results = replica.process_batch(&examples.batch()).unwrap();
    assert_eq!(results.examples, examples.labels.len() as u64);
    assert_eq!(replica.state().u64("examples").unwrap()[0], results.examples);

    let mut probe = model.replica().unwrap();
    let mut loss = |state: &NetworkState| {
        probe.begin(state).unwrap();
        probe.evaluate_batch(&examples.batch()).unwrap().loss().unwrap()
    };
    assert_eq!(loss(&base), results.loss().unwrap());
    for name in ["layer1.weights", "layer1.bias", "layer2.weights", "layer3.weights", "layer3.bias"]
    {
        for at in 0..base.f32(name).unwrap().len() {
            let moved = |by: f32| {
                let mut state = base.clone();
                state.f32_mut(name).unwrap().as_slice_mut().unwrap()[at] += by;
                state
            };
            let slope = (loss(&moved(1e-3)) - loss(&moved(-1e-3))) / 2e-3;
            let value = |state: &NetworkState| state.f32(name).unwrap().as_slice().unwrap()[at];
            let step = f64::from(value(&base) - value(replica.state()));
            assert!((step - slope).abs() < 2e-3, "{name} {at}: {step}, slope {slope}");
        }
    }
}

#[test]
fn what_an_instance_did_before_does_not_show() {
    let examples = Examples::new(20);
    for parameters in ["", "momentum_state = \"local\"", "momentum = 0"] {
        let model = build("mlp", parameters).unwrap();
        let base = model.initial_state().unwrap();
        let run = |replica: &mut dyn Replica| {
            replica.begin(&base).unwrap();
            let mut results = replica.process_batch(&examples.batch()).unwrap();
            results.combine(&replica.process_batch(&examples.batch()).unwrap());
            (replica.state().clone(), results)
        };
        let mut used = begin(&*model, &base);
        let first = run(&mut *used);
        assert_eq!(run(&mut *used), first, "{parameters}");
        assert_ne!(first.0, base);
        used.evaluate_batch(&examples.batch()).unwrap();
        assert_eq!(*used.state(), first.0, "judging changes nothing");
    }
}

#[test]
fn merged_momentum_goes_on_where_local_momentum_starts_anew() {
    let examples = Examples::new(20);
    let after = |parameters: &str| {
        let model = build("mlp", parameters).unwrap();
        let mut state = model.initial_state().unwrap();
        for _ in 0..2 {
            let mut replica = begin(&*model, &state);
            replica.process_batch(&examples.batch()).unwrap();
            state = replica.state().clone();
        }
        state.f32("layer1.weights").unwrap().clone()
    };
    let [merged, local, none] = ["", "momentum_state = \"local\"", "momentum = 0"].map(after);
    assert_ne!(merged, local);
    assert_eq!(local, none, "one batch a round leaves local momentum nothing to do");
}

/// An input that is on once, and weights that decay: both go down by the same factor batch after
/// batch, and would stay subnormal.
#[test]
fn nothing_that_decays_stays_subnormal() {
    let mut examples = Examples::new(4);
    for (name, parameters) in [
        ("mlp", "hidden = [4]"),
        (
            "mlp",
            "hidden = [40]\nmomentum = 0.5\nmomentum_state = 'local'\nweight_decay = 0.1\nlearning_rate = 1",
        ),
        ("softmax", "weight_decay = 0.1\nlearning_rate = 1"),
    ] {
        let model = build(name, parameters).unwrap();
        let mut replica = begin(&*model, &model.initial_state().unwrap());
        examples.features.column_mut(0).fill(0.5);
        replica.process_batch(&examples.batch()).unwrap();
        examples.features.column_mut(0).fill(0.0);
        for batch in 0..1200 {
            replica.process_batch(&examples.batch()).unwrap();
            for (tensor, values) in replica.state().tensors() {
                let TensorData::F32(values) = &values.data else { continue };
                let found = values.iter().find(|value| value.is_subnormal());
                assert_eq!(found, None, "{name}, {parameters}: `{tensor}` after batch {batch}");
            }
        }
        let weights = if name == "mlp" { "layer1.weights.velocity" } else { "weights" };
        if let Ok(values) = replica.state().f32(weights) {
            assert!(values.iter().any(|value| *value != 0.0), "{name}: others go on");
            assert!(values.rows().into_iter().next().unwrap().iter().all(|value| *value == 0.0));
        }
    }
}

/// Features that are mostly zero have the bits of the plain sums, in one chunk and in several.
#[test]
fn features_that_are_mostly_zero_give_the_bits_of_dense_ones() {
    for count in [1, 20, 2 * super::CHUNK + 9] {
        let mut examples = Examples::new(count);
        examples.features.indexed_iter_mut().for_each(|((row, column), value)| {
            *value = if (row + column).is_multiple_of(5) { *value } else { 0.0 };
        });
        let model = build("mlp", "hidden = [40]\nweight_decay = 0.01").unwrap();
        let base = model.initial_state().unwrap();
        let learnt = |examples: &Examples| {
            let mut replica = begin(&*model, &base);
            let results = replica.process_batch(&examples.batch()).unwrap();
            assert_eq!(replica.evaluate_batch(&examples.batch()).unwrap().examples, count as u64);
            (replica.state().clone(), results)
        };
        let sparse = learnt(&examples);
        // A view with its axes exchanged is not listed.
        examples.features = examples.features.t().as_standard_layout().into_owned().reversed_axes();
        assert!(!examples.features.is_standard_layout() || count == 1);
        assert_eq!(learnt(&examples), sparse, "{count} examples");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = build("mlp", "").unwrap();
    let mut replica = begin(&*model, &model.initial_state().unwrap());
    let mut wrong = Examples::new(4);
    wrong.labels[2] = 3;
    let error = replica.process_batch(&wrong.batch()).unwrap_err().to_string();
    assert!(error.contains("labels below 3, found the label 3"), "{error}");
    wrong.labels.pop();
    assert!(replica.evaluate_batch(&wrong.batch()).is_err());
    wrong.features = Array2::zeros((3, 4));
    let error = replica.process_batch(&wrong.batch()).unwrap_err().to_string();
    assert!(error.contains("5 features, found 4 features"), "{error}");

    let other = build("mlp", "hidden = [7]").unwrap().initial_state().unwrap();
    let error = model.replica().unwrap().begin(&other).unwrap_err().to_string();
    assert!(error.contains("expected shape [5, 32], found shape [5, 7]"), "{error}");
    let softmax = build("softmax", "").unwrap().initial_state().unwrap();
    assert!(model.replica().unwrap().begin(&softmax).is_err());
}

#[test]
fn results_add_up() {
    let model = build("softmax", "").unwrap();
    let mut replica = begin(&*model, &model.initial_state().unwrap());
    let Results { examples, sums, counts, .. } =
        replica.evaluate_batch(&Examples::new(10).batch()).unwrap();
    assert_eq!(examples, 10);
    assert_eq!(counts[CONFUSION].iter().sum::<u64>(), 10);
    // Zero weights find every class equally likely.
    assert!((sums[LOSS] - 10.0 * 3.0_f64.ln()).abs() < 1e-5);
}

#[test]
fn scores_are_probabilities_and_the_first_largest_is_the_class_found() {
    let model = build("mlp", "hidden = [7]").unwrap();
    let mut replica = begin(&*model, &model.initial_state().unwrap());
    // More than go through the layers at a time.
    let examples = Examples::new(2 * super::CHUNK + 3);
    let evaluated = replica.evaluate_batch(&examples.batch()).unwrap();
    let mut scores = vec![7.0];
    replica.predict_batch(&examples.batch(), &mut scores).unwrap();
    assert_eq!(scores.len(), 1 + 3 * (2 * super::CHUNK + 3), "they are appended");
    let mut found = [0; 3];
    for scores in scores[1..].chunks_exact(3) {
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{scores:?}");
        let largest = scores.iter().copied().fold(0.0, f32::max);
        found[scores.iter().position(|score| *score == largest).unwrap()] += 1;
    }
    let confusion = &evaluated.counts[CONFUSION];
    let columns = [0, 1, 2].map(|class| confusion.iter().skip(class).step_by(3).sum::<u64>());
    assert_eq!(found, columns);
}

/// A whole run in this thread: the test accuracy at its end.
fn accuracy(spec: &RunSpec) -> f64 {
    let data = Dataset::load(&spec.dataset).unwrap();
    let shape = DataShape::new(64, TargetType::Classes(10));
    let registry = Registry::standard();
    let model = registry.build(&spec.model, &spec.parameters, shape, spec.seed).unwrap();
    let plan = RunPlan::new(spec, data.train.size(), data.test.len()).unwrap();
    let mut state = model.initial_state().unwrap();
    let mut replica = model.replica().unwrap();
    let mut accuracy = 0.0;
    for step in (0..plan.steps()).map(|index| plan.step(index).unwrap()) {
        let order = plan.order(&step);
        let input = ShardInput {
            plan: &plan,
            step: &step,
            order: order.as_ref(),
            base: &state,
            data: &data,
        };
        let mut tree = MergeTree::new(step.replicas);
        for index in 0..step.replicas {
            let go_on = &mut |_, _| ControlFlow::Continue(());
            let partial = shard::run(&input, index, &mut *replica, go_on).unwrap();
            tree.insert(Block::of_replica(index), partial);
        }
        let merged = tree.into_root();
        match step.kind {
            StepKind::Train { .. } => state = merge::finish(&state, merged.as_ref()),
            StepKind::Evaluate { .. } => accuracy = merged.unwrap().results.accuracy().unwrap(),
            StepKind::Label { .. } | StepKind::Predict { .. } => {
                unreachable!("the spec asks for neither")
            }
        }
    }
    accuracy
}

#[test]
fn eight_replicas_learn_the_digits() {
    let mut spec = RunSpec::default_digits();
    assert_eq!((spec.model.as_str(), spec.replicas), ("mlp", 8));
    let mlp = accuracy(&spec);
    assert!(mlp >= 0.96, "{mlp}");
    spec.model = "softmax".into();
    spec.parameters.clear();
    let softmax = accuracy(&spec);
    assert!(softmax >= 0.93, "{softmax}");
}

#[test]
fn numbers_are_learnt_by_their_squared_error() {
    let shape = DataShape::new(2, TargetType::Vector(2));
    let parameters = "hidden = []\nlearning_rate = 0.1".parse().unwrap();
    let model = Registry::standard().build("mlp", &parameters, shape, 1).unwrap();
    let mut replica = begin(&*model, &model.initial_state().unwrap());
    // More than one chunk.
    let count = super::CHUNK + 20;
    let features = Array2::from_shape_fn((count, 2), |(row, column)| {
        ((row * (3 + 4 * column)) % 11) as f32 / 11.0
    });
    let targets = Array2::from_shape_fn((count, 2), |(row, column)| {
        let [x, y] = [features[[row, 0]], features[[row, 1]]];
        if column == 0 { 2.0 * x - y + 0.5 } else { x + y }
    });
    let places: Vec<u64> = (0..count as u64).collect();
    let batch = Batch::new(features.view(), Targets::Vectors(targets.view()), &places, 0);
    for _ in 0..500 {
        replica.process_batch(&batch).unwrap();
    }
    let results = replica.evaluate_batch(&batch).unwrap();
    assert_eq!(results.examples, count as u64);
    assert!(results.loss().unwrap() < 1e-6, "{results:?}");
    assert!(results.accuracy().is_none() && results.counts.is_empty(), "{results:?}");

    let wrong = Batch::new(features.view(), Targets::Vectors(features.t()), &places, 0);
    let error = replica.process_batch(&wrong).unwrap_err().to_string();
    assert!(error.contains("targets of 2 numbers for each of 276 examples"), "{error}");
    let wrong = Batch::new(features.view(), Targets::None, &places, 0);
    let error = replica.process_batch(&wrong).unwrap_err().to_string();
    assert!(error.contains("expected vectors, found no targets"), "{error}");
}

#[test]
fn a_model_is_not_made_for_targets_that_it_cannot_learn() {
    for (model, targets, found) in [
        ("softmax", TargetType::Vector(2), "found vectors of 2 numbers"),
        ("softmax", TargetType::None, "found no targets"),
        ("mlp", TargetType::None, "found no targets"),
        ("spiking", TargetType::Vector(1), "found a number"),
    ] {
        let shape = DataShape::new(4, targets);
        let made = Registry::standard().build(model, &Default::default(), shape, 1);
        let error = made.err().expect(model).to_string();
        let expected = "a class for each example (`dataset.targets` set to \"class\")";
        assert!(error.contains(expected) && error.contains(found), "{model}: {error}");
    }
}
