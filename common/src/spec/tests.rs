use proptest::prelude::*;

use super::*;

const SMALL: &str = "model = \"mlp\"\nepochs = 1\ndataset.source = \"digits\"\n";

#[test]
fn the_example_is_the_default_run() {
    let spec = RunSpec::default_digits();
    assert_eq!((spec.model.as_str(), spec.dataset.source.as_str()), ("mlp", "digits"));
    // The example claims that what it shows is what is taken for what is left
    // out.
    let small = RunSpec::from_toml(SMALL).unwrap();
    let RunSpec { parameters, epochs, .. } = spec.clone();
    assert_eq!(RunSpec { parameters, epochs, ..small }, spec);
}

#[test]
fn a_column_whose_name_is_a_number_is_named_by_it() {
    for (line, label, ignore) in [
        ("label = 64", Some(LabelColumns::One("64".into())), None),
        ("label = '64'", Some(LabelColumns::One("64".into())), None),
        ("ignore = [1, 'x']", None, Some(vec!["1".to_owned(), "x".into()])),
        ("ignore = 'id'", None, Some(vec!["id".to_owned()])),
        ("ignore = []", None, Some(Vec::new())),
    ] {
        let spec = RunSpec::from_toml(&format!("{SMALL}dataset.{line}\n")).expect(line);
        assert_eq!((&spec.dataset.label, &spec.dataset.ignore), (&label, &ignore), "{line}");
        assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap(), spec, "{line}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("model = 3", "invalid type: integer `3`, expected a string"),
        ("model = ", "the spec is not valid"),
        ("modle = \"mlp\"", "unknown field `modle`, expected one of `model`"),
        ("dataset.sorce = \"digits\"", "unknown field `sorce`"),
        ("seed = -1", "invalid value: integer `-1`, expected u64"),
        ("replicas = 0", "spec field `replicas`: expected 1 to 65536, found 0"),
        ("replicas = 65537", "spec field `replicas`: expected 1 to 65536, found 65537"),
        ("replicas = 5000000000", "expected u32"),
        ("batch_size = 0", "spec field `batch_size`: expected 1 to 4294967295, found 0"),
        ("update_interval = 0", "spec field `update_interval`"),
        ("epochs = 0", "spec field `epochs`: expected 1 to 4294967295, found 0"),
        ("epochs = {x = 1}", "expected u32"),
        ("rounds = 1", "exactly one of `epochs` and `rounds`, found epochs = 1 and rounds = 1"),
        ("dataset.source = \"\"", "spec field `dataset.source`: expected 1 to 4096 bytes, found 0"),
        ("dataset.scale = 0.0", "spec field `dataset.scale`: expected a finite number above 0"),
        ("dataset.scale = nan", "spec field `dataset.scale`"),
        ("dataset.scale = 1e300", "spec field `dataset.scale`"),
        ("dataset.targets = 'number'", "expected one of `class`, `vector`, `none`"),
        (
            "dataset.targets = 'none'\ndataset.classes = 2",
            "`dataset.classes`: expected no number of",
        ),
        ("dataset.targets = 'none'\ndataset.label = 'x'", "`dataset.ignore` leaves columns out"),
        ("dataset.targets = 'vector'\ndataset.label = []", "1 to 65536 columns, found 0"),
        ("dataset.label = ['x', 'y']", "set `dataset.targets` to \"vector\"), found 2"),
        ("dataset.label = 0.5", "floating point `0.5`, expected the name of a column (in quotes"),
        (
            "dataset.ignore = [0.5]",
            "floating point `0.5`, expected the name of a column (in quotes",
        ),
        (
            "dataset.test_examples = '20%'",
            "string \"20%\", expected a count of examples, or a share",
        ),
        ("dataset.test_examples = -3", "integer `-3`, expected a count of examples, or a share"),
        (
            "dataset.targets = 'none'\nevaluation.labelling = true",
            "`evaluation.labelling`: expected false, as units get their labels from classes",
        ),
        ("dataset.classes = 0", "spec field `dataset.classes`: expected 1 to 65536, found 0"),
        ("dataset.test_examples = 3000000000", "spec field `dataset.test_examples`"),
        ("dataset.shuffle_window = 0", "spec field `dataset.shuffle_window`"),
        ("dataset.shuffle_window = 16385", "spec field `dataset.shuffle_window`"),
        ("evaluation.shard_size = 0", "spec field `evaluation.shard_size`"),
        ("evaluation.split = \"dev\"", "unknown variant `dev`, expected `train` or `test`"),
        ("merge.weights = \"median\"", "unknown variant `median`, expected one of `mean`"),
        ("parameters.rate = [1.0, inf]", "spec field `parameters.rate[1]`"),
        ("parameters.layer.rate = nan", "spec field `parameters.layer.rate`: expected a finite"),
    ];
    for (line, expected) in cases {
        let key = line.split([' ', '=']).next().unwrap();
        let kept = SMALL.lines().filter(|kept| !kept.starts_with(&format!("{key} ")));
        let text = kept.chain([line]).collect::<Vec<_>>().join("\n");
        let error = RunSpec::from_toml(&text).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
    let products = "replicas = 65536\nbatch_size = 4294967295\nupdate_interval = 4294967295\n";
    let error = RunSpec::from_toml(&format!("{products}{SMALL}")).unwrap_err().to_string();
    assert!(error.contains("below 2^63, found 65536 × 4294967295 × 4294967295"), "{error}");
    let name = format!("model = \"{}\"\n", "m".repeat(129));
    let error = RunSpec::from_toml(&SMALL.replace("model = \"mlp\"\n", &name)).unwrap_err();
    assert!(error.to_string().contains("`model`: expected 1 to 128 bytes, found 129"), "{error}");
    for needed in ["model", "dataset"] {
        let text: Vec<_> = SMALL.lines().filter(|line| !line.starts_with(needed)).collect();
        let error = RunSpec::from_toml(&text.join("\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("missing field `{needed}`")), "{error}");
    }
}

#[test]
fn how_long_to_train_is_needed_for_training_only() {
    let text = SMALL.replace("epochs = 1\n", "");
    let error = RunSpec::from_toml(&text).unwrap_err().to_string();
    assert!(error.contains("exactly one of `epochs` and `rounds`, found neither"), "{error}");
    RunSpec::from_toml(&format!("update_weights = false\n{text}")).unwrap();
    RunSpec::from_toml(&format!("rounds = 9223372036854775807\n{text}")).unwrap();
}

#[test]
fn texts_that_are_too_long_or_too_deep_are_refused() {
    let long = format!("{SMALL}#{}", " ".repeat(limits::SPEC_BYTES));
    assert!(matches!(RunSpec::from_toml(&long), Err(SpecError::TooLong { .. })));
    // Short enough itself, but not when written out.
    let long = format!("{SMALL}parameters.x = [{}]", "1,".repeat(30_000));
    assert!(matches!(RunSpec::from_toml(&long), Err(SpecError::TooLong { .. })));
    let deep = format!("{SMALL}parameters.x = {}", "[".repeat(60_000));
    assert!(matches!(RunSpec::from_toml(&deep), Err(SpecError::Toml(_))));
    let deep = format!("{SMALL}parameters.{} = 1", vec!["x"; 30_000].join("."));
    assert!(matches!(RunSpec::from_toml(&deep), Err(SpecError::Toml(_))));
}

#[test]
fn a_seed_beyond_toml_is_refused() {
    let spec = RunSpec { seed: 1 << 63, ..RunSpec::default_digits() };
    let error = spec.validate().unwrap_err().to_string();
    assert!(error.contains("`seed`: expected 0 to 9223372036854775807"), "{error}");
}

/// The spec after these settings on top of the small one.
fn set(settings: &[(&str, &str)]) -> Result<RunSpec, SpecError> {
    let mut table: toml::Table = toml::from_str(SMALL).unwrap();
    for (key, value) in settings {
        RunSpec::set(&mut table, key, value)?;
    }
    RunSpec::from_table(table)
}

#[test]
fn settings_reach_their_fields() {
    let spec = set(&[
        ("model", "softmax"),
        ("replicas", "4"),
        ("dataset.source", "csv:a = b.csv"),
        ("dataset.scale", "2"),
        ("parameters.learning_rate", "0.25"),
        ("parameters.layers", "[3, 4]"),
        ("parameters.note", "1\nreplicas = 9"),
        ("parameters.empty", ""),
        ("merge.weights", "sum"),
        ("merge.\"layer.0\"", "max"),
        ("evaluation.every", "3"),
        ("audit", "0.25"),
    ]);
    let spec = spec.unwrap();
    assert_eq!((spec.model.as_str(), spec.replicas), ("softmax", 4));
    assert_eq!(spec.dataset.source, "csv:a = b.csv");
    assert_eq!(spec.dataset.scale, Some(2.0));
    assert_eq!(spec.parameters["learning_rate"].as_float(), Some(0.25));
    assert_eq!(spec.parameters["layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(spec.parameters["note"].as_str(), Some("1\nreplicas = 9"));
    assert_eq!(spec.parameters["empty"].as_str(), Some(""));
    assert_eq!(spec.merge["weights"], MergeRule::Sum);
    assert_eq!(spec.merge["layer.0"], MergeRule::Max);
    assert_eq!(spec.evaluation.every, 3);
    assert_eq!(spec.audit, 0.25);
}

#[test]
fn setting_rounds_takes_the_place_of_epochs() {
    let spec = set(&[("rounds", "7")]).unwrap();
    assert_eq!((spec.epochs, spec.rounds), (None, Some(7)));
    let spec = set(&[("rounds", "7"), ("epochs", "2")]).unwrap();
    assert_eq!((spec.epochs, spec.rounds), (Some(2), None));
}

#[test]
fn settings_that_are_wrong_are_named() {
    let long = "x".repeat(limits::SPEC_BYTES + 1);
    let cases = [
        ("", "1", "expected a key such as `replicas`"),
        ("a b", "1", "found \"a b\""),
        ("a..b", "1", "found \"a..b\""),
        ("a = 1\nb", "1", "expected a key"),
        ("replicas", "many", "invalid type: string \"many\", expected u32"),
        ("replica", "4", "unknown field `replica`"),
        ("evaluation.evry", "4", "unknown field `evry`"),
        ("model.name", "mlp", "expected `model` to be a table, found a value of type string"),
        ("parameters.x", long.as_str(), "bytes of TOML"),
    ];
    for (key, value, expected) in cases {
        let error = set(&[(key, value)]).expect_err(key).to_string();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

fn any_value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<bool>().prop_map(toml::Value::Boolean),
        prop::num::f64::NORMAL.prop_map(toml::Value::Float),
        any::<String>().prop_map(toml::Value::String),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::Array);
        let table = prop::collection::btree_map(any::<String>(), inner, 0..4)
            .prop_map(|table| toml::Value::Table(table.into_iter().collect()));
        prop_oneof![array, table]
    })
}

#[test]
fn a_spec_that_is_written_says_how_examples_are_held_out() {
    let spec =
        RunSpec::from_toml("model = \"softmax\"\nepochs = 1\ndataset = {source = \"x.csv\"}");
    let json = serde_json::to_value(spec.unwrap()).unwrap();
    // As specs from before there was a choice.
    assert_eq!(
        (&json["dataset"]["split"], &json["dataset"]["split_seed"]),
        (&"last".into(), &1.into())
    );
}

/// What a spec may say of a dataset.
fn any_dataset() -> impl Strategy<Value = DatasetSpec> {
    let count = (0..=limits::EXAMPLES).prop_map(TestExamples::Count);
    let share = (0.0..0.999f64).prop_map(TestExamples::Share);
    let name = "[a-zä ]{1,9}";
    (
        prop::option::of(prop_oneof![count, share]),
        prop_oneof![Just(SplitBy::Stratified), Just(SplitBy::Last)],
        prop_oneof![Just(Normalise::None), Just(Normalise::Standard), Just(Normalise::Minmax)],
        prop_oneof![Just(Missing::Error), Just(Missing::Drop), Just(Missing::Mean)],
        0..=i64::MAX as u64,
        prop::option::of(name),
        prop::option::of("[,;\t ]"),
        prop::option::of(prop::collection::vec(name, 0..3)),
    )
        .prop_map(
            |(test_examples, split, normalise, missing, split_seed, label, separator, ignore)| {
                DatasetSpec {
                    test_source: label.clone(),
                    test_examples,
                    split,
                    normalise,
                    missing,
                    split_seed,
                    label: label.map(LabelColumns::One),
                    separator,
                    ignore,
                    ..DatasetSpec::new("csv:ä \"b\".csv")
                }
            },
        )
}

proptest! {
    #[test]
    fn writing_and_reading_lose_nothing(
        seed in 0..=i64::MAX as u64,
        replicas in 1..=limits::MAX_REPLICAS,
        rounds in prop::option::of(1..=i64::MAX as u64),
        scale in prop::option::of(1e-30f32..1e30),
        classes in prop::option::of(1..=limits::CLASSES),
        dataset in any_dataset(),
        shuffle_window in 1..=limits::SHUFFLE_WINDOW,
        parameters in prop::collection::btree_map("\\PC{0,9}", any_value(), 0..4),
        merge in prop::collection::btree_map("[a-z.0]{1,9}", Just(MergeRule::MeanBy), 0..3),
        split in prop_oneof![Just(Split::Train), Just(Split::Test)],
    ) {
        let mut spec = RunSpec { seed, replicas, rounds, merge, ..RunSpec::default_digits() };
        spec.epochs = rounds.is_none().then_some(3);
        spec.parameters = parameters.into_iter().collect();
        spec.dataset = DatasetSpec { classes, scale, shuffle_window, ..dataset };
        spec.evaluation.split = split;
        let text = spec.to_toml();
        prop_assert_eq!(RunSpec::from_toml(&text).unwrap(), spec);
    }

    #[test]
    fn no_setting_panics(key in "\\PC{0,12}", value in "\\PC{0,12}") {
        let _ = set(&[(&key, &value)]);
    }
}

#[test]
fn an_audit_is_a_share() {
    for (text, share) in [("0", 0.0), ("1", 1.0), ("0.01", 0.01)] {
        let spec = set(&[("audit", text)]).unwrap();
        assert_eq!(spec.audit, share);
        assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        // Who audits nothing has the text that it always had.
        assert_eq!(spec.to_toml().contains("audit"), share > 0.0);
    }
    for text in ["-0.1", "1.5", "nan", "inf"] {
        let error = set(&[("audit", text)]).unwrap_err().to_string();
        assert!(error.contains("`audit`: expected 0 to 1, found "), "{error}");
    }
    assert!(set(&[("audit", "5%")]).is_err());
}

#[test]
fn whoever_shuffles_as_ever_has_the_text_that_it_always_had() {
    for (text, window) in [("1", 1), ("64", SHUFFLE_WINDOW), ("16384", 16384)] {
        let spec = set(&[("dataset.shuffle_window", text)]).unwrap();
        assert_eq!(spec.dataset.shuffle_window, window);
        assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        assert_eq!(spec.to_toml().contains("shuffle_window"), window != SHUFFLE_WINDOW);
    }
}

#[test]
fn a_spec_knows_its_keys() {
    for key in [
        "model",
        "seed",
        "rounds",
        "epochs",
        "update_weights",
        "audit",
        "dataset.scale",
        "dataset.shuffle_window",
        "parameters.learning_rate",
        "merge.\"layer.0\"",
        "evaluation.every",
    ] {
        assert!(RunSpec::has(key), "{key}");
    }
    for key in ["sede", "checkpoint_every", "evaluation.evry", "dataset.sources", "", "a..b"] {
        assert!(!RunSpec::has(key), "{key}");
    }
}

#[test]
fn workers_get_every_key_that_has_a_value() {
    let registry = crate::model::Registry::standard();
    let shape = crate::model::DataShape::new(64, crate::model::TargetType::Classes(10));
    for (model, all) in [
        ("softmax", "learning_rate = 0.5|weight_decay = 0.0"),
        ("mlp", "hidden = [32]|learning_rate = 0.25|momentum = 0.9|momentum_state = \"merged\""),
        (
            "spiking",
            "neurons = 400|rate_hz = 111.5625|spikes_per_step = \"one\"|clean_start = true",
        ),
    ] {
        let mut spec = RunSpec::from_toml(&SMALL.replace("mlp", model)).unwrap();
        if model == "mlp" {
            spec.parameters.insert("learning_rate".into(), 0.25.into());
        }
        let parameters = registry.build(model, &spec.parameters, shape, 1).unwrap().parameters();
        let text = spec.to_complete_toml(&parameters).unwrap();
        let keys = "seed = 1|replicas = 8|batch_size = 10|update_interval = 1|epochs = 1|\
                    update_weights = true|audit = 0.0|source = \"digits\"|shuffle_window = 64|\
                    every = 0|split = \"test\"|shard_size = 256|labelling = false|[merge]";
        for line in keys.split('|').chain(all.split('|')) {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        // It is the same run, and complete already.
        let again = RunSpec::from_toml(&text).unwrap();
        assert_eq!(RunSpec { parameters: spec.parameters.clone(), ..again.clone() }, spec);
        let built = registry.build(model, &again.parameters, shape, 1).unwrap().parameters();
        assert_eq!(built, parameters);
        assert_eq!(again.to_complete_toml(&built).unwrap(), text);
    }
    let long = [("a".to_owned(), toml::Value::from("x".repeat(limits::SPEC_BYTES)))];
    let error = RunSpec::default_digits().to_complete_toml(&long.into_iter().collect());
    assert!(error.unwrap_err().to_string().contains("at most 65536 bytes"));
}
