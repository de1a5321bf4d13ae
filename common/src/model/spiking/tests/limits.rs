//! What a network does at its limits, and what it refuses.

use super::*;
use crate::model::ModelError;

fn refused(parameters: &str, shape: DataShape) -> String {
    Spiking::new(&parameters.parse().unwrap(), shape, 1).unwrap_err().to_string()
}

fn begun(parameters: &str) -> Box<dyn Replica> {
    let model = model(parameters);
    let mut replica = model.replica().unwrap();
    replica.begin(&model.initial_state().unwrap()).unwrap();
    replica
}

fn learn(replica: &mut dyn Replica, features: &Array2<f32>) -> Result<Results, ModelError> {
    with_batch(features.view(), |batch| replica.process_batch(batch))
}

#[test]
fn settings_are_refused_by_name_range_and_unit() {
    let shape = DataShape::new(784, TargetType::Classes(10));
    for (parameters, expected) in [
        ("neuron = 3", "`neuron`: expected one of `neurons`, `dt_ms`"),
        ("neurons = 0", "`neurons`: expected a whole number from 1 to"),
        ("neurons = 2.5", "found 2.5"),
        ("dt_ms = -1", "`dt_ms`: expected a number from 0.001 to 1000, found -1"),
        ("dt_ms = 2", "`excitatory_time_ms`: expected at least `dt_ms` = 2, found 1"),
        ("presentation_ms = 0.1", "`presentation_ms`: expected 1 to 65535 steps"),
        ("intensity_limit = 1", "`intensity_limit`: expected at least `intensity` = 2"),
        ("spikes_per_step = 'two'", "expected `one`, `all`, found \"two\""),
        ("clean_start = 1", "`clean_start`: expected true or false, found 1"),
        (
            "clean_start = false\npresentation_ms = 30_000.0\nrest_ms = 2768.0",
            "`rest_ms`: expected with `clean_start` = false, less than 65535 steps",
        ),
        ("theta_plus_mv = 'x'", "`theta_plus_mv`: expected a number"),
    ] {
        let error = refused(parameters, shape);
        assert!(error.contains(expected), "{error}");
    }
    let most = refused("neurons = 100_000_000", shape);
    assert!(most.contains("`neurons`") && most.contains("found 100000000"), "{most}");
    let shape_of = |classes| DataShape::new(784, TargetType::Classes(classes));
    let many = refused("neurons = 6400", shape_of(27));
    assert!(
        many.contains("`neurons`: expected a whole number from 1 to 4244 (for 27 classes: "),
        "{many}"
    );
    assert!(many.contains("a message holds 114688 counts), found 6400"), "{many}");
    assert!(Spiking::new(&"neurons = 4244".parse().unwrap(), shape_of(27), 1).is_ok());
    let none = refused("", DataShape::new(0, TargetType::Classes(10)));
    assert!(none.contains("1 to 65536 features"), "{none}");
}

#[test]
fn a_blank_image_ends_at_the_highest_intensity_with_a_warning() {
    for neurons in [1, 20] {
        let parameters = &format!("neurons = {neurons}\nintensity_limit = 4.5");
        let mut replica = begun(parameters);
        let results = learn(&mut *replica, &Array2::zeros((3, 784))).unwrap();
        let warning = "warning.too few spikes at the highest intensity";
        assert_eq!(results.counts[warning], [3], "{neurons}");
        // Intensities 2, 3 and 4.
        assert_eq!(results.counts[PRESENTATIONS], [9], "{neurons}");
        assert_eq!(results.counts[SPIKES], [0], "{neurons}");
        assert_eq!(replica.state().u64(EXAMPLES).unwrap()[0], 3);
        replica.refresh(WEIGHTS);
        let model = model(&format!("neurons = {neurons}"));
        let initial = model.initial_state().unwrap();
        assert_eq!(model.layout().unwrap(), initial.layout());
        assert_eq!(replica.state().f32(WEIGHTS).unwrap(), initial.f32(WEIGHTS).unwrap());
    }
}

#[test]
fn pixels_outside_of_0_to_1_are_refused() {
    for wrong in [f32::NAN, f32::INFINITY, -0.1, 1.5] {
        let mut replica = begun("neurons = 3");
        let mut features = Array2::zeros((2, 784));
        features[[1, 77]] = wrong;
        let error = learn(&mut *replica, &features).unwrap_err().to_string();
        assert!(error.contains("expected features from 0 to 1"), "{error}");
        assert!(error.contains(&format!("{wrong}, feature 77 of example 1")), "{error}");
    }
    let error = learn(&mut *begun(""), &Array2::zeros((1, 64))).unwrap_err().to_string();
    assert!(error.contains("expected 784 features, found 64 features"), "{error}");
}

#[test]
fn a_state_of_another_size_or_with_wrong_labels_is_refused() {
    let other = model("neurons = 5").initial_state().unwrap();
    let mut replica = model("neurons = 4").replica().unwrap();
    let error = replica.begin(&other).unwrap_err().to_string();
    assert!(error.contains("`weights`: expected shape [784, 4], found shape [784, 5]"), "{error}");
    let mut labelled = model("neurons = 4").initial_state().unwrap();
    labelled.u64_mut(LABELS).unwrap()[2] = 10;
    let error = replica.begin(&labelled).unwrap_err().to_string();
    assert!(error.contains("labels below 10") && error.contains("10 for neuron 2"), "{error}");
}

#[test]
fn who_has_no_labels_cannot_be_judged() {
    let mut replica = begun("neurons = 3");
    let features = Array2::zeros((1, 784));
    let error = with_batch(features.view(), |batch| replica.evaluate_batch(batch));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no neuron has a label: set `evaluation.labelling`"), "{error}");
    assert!(error.contains("`dataset.normalise`") && error.contains("`dataset.scale`"), "{error}");
}

#[test]
fn input_that_made_no_spikes_is_named_with_what_to_set() {
    let mut replica = begun("neurons = 3\nintensity_limit = 4.5");
    learn(&mut *replica, &Array2::zeros((3, 784))).unwrap();
    let state = replica.state().clone();
    replica.begin(&state).unwrap();
    let features = Array2::zeros((1, 784));
    let error = with_batch(features.view(), |batch| replica.evaluate_batch(batch));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("none of the 3 examples that it was trained on"), "{error}");
    for setting in
        ["`dataset.normalise`", "`dataset.scale`", "`parameters.intensity_limit` (now 4.5)"]
    {
        assert!(error.contains(setting), "{setting}: {error}");
    }
    assert!(!error.contains("evaluation.labelling"), "{error}");
}

#[test]
fn who_learns_without_classes_is_watched_and_not_judged() {
    let shape = DataShape::new(784, TargetType::None);
    let model = Spiking::new(&"neurons = 20".parse().unwrap(), shape, 1).unwrap();
    let mut base = model.initial_state().unwrap();
    // Labels from elsewhere stay.
    base.u64_mut(LABELS).unwrap()[2] = 3;
    let mut replica = model.replica().unwrap();
    replica.begin(&base).unwrap();
    let (features, examples) = (features(&images()[..3]), [0, 1, 2]);
    let batch = Batch::new(features.view(), Targets::None, &examples, 0);
    for results in [replica.process_batch(&batch), replica.evaluate_batch(&batch)] {
        let results = results.unwrap();
        assert_eq!((results.examples, results.accuracy()), (3, None));
        assert!(results.metrics()[SPIKES] >= 5.0, "{results:?}");
    }
    assert_eq!(replica.state().u64(LABELS).unwrap()[2], 3);
    assert!(matches!(replica.label_batch(&batch), Err(ModelError::NoLabels)));
    let results = Results::default();
    assert!(matches!(model.finish_labelling(&mut base, &results), Err(ModelError::NoLabels)));
    let learnt = replica.state().clone();
    let mut labelled = super::model("neurons = 20").replica().unwrap();
    labelled.begin(&model.initial_state().unwrap()).unwrap();
    with_batch(features.view(), |batch| labelled.process_batch(batch)).unwrap();
    for name in [EXAMPLES, PRESENTATIONS, SPIKES] {
        assert_eq!(labelled.state().u64(name).unwrap(), learnt.u64(name).unwrap(), "{name}");
    }
}

#[test]
fn a_spec_is_completed_where_it_says_nothing() {
    let complete = |text: &str| {
        let mut spec = text.parse().unwrap();
        Spiking::complete(&mut spec);
        spec
    };
    let whole = |spec: &toml::Table, key: &str| spec.get(key).and_then(toml::Value::as_integer);
    for (text, replicas, interval, step) in [
        ("", 16, 16, 2),
        ("replicas = 1", 1, 256, 1),
        ("replicas = 4\nbatch_size = 8", 4, 8, 2),
        ("replicas = 1000", 1000, 1, 2),
        ("merge.theta = 'mean'", 16, 16, 1),
        ("merge.weights = 'mean'", 16, 16, 2),
        ("update_interval = 3\nparameters.theta_step = 7", 16, 3, 7),
    ] {
        let spec = complete(text);
        assert_eq!(whole(&spec, "replicas"), Some(replicas), "{text}");
        assert_eq!(whole(&spec, "update_interval"), Some(interval), "{text}");
        let parameters = spec["parameters"].as_table().unwrap();
        assert_eq!(whole(parameters, "theta_step"), Some(step), "{text}");
        assert_eq!(whole(&spec, "epochs"), Some(1), "{text}");
        assert_eq!(spec["evaluation"]["labelling"].as_bool(), Some(true), "{text}");
    }
    let spec = complete("dataset.targets = 'none'");
    assert_eq!(spec["evaluation"]["labelling"].as_bool(), Some(false));
    let spec = complete("rounds = 3\nevaluation.labelling = false\nparameters.neurons = 9");
    assert_eq!((whole(&spec, "epochs"), whole(&spec, "rounds")), (None, Some(3)));
    assert_eq!(spec["evaluation"]["labelling"].as_bool(), Some(false));
    // Values of the wrong type are left to the parser of the spec.
    assert_eq!(
        complete("parameters = 3\nevaluation = 'x'\nreplicas = 'y'")["parameters"],
        3.into()
    );
}
