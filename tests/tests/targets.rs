//! Runs whose targets are numbers, and runs that have none, with the real binaries.

use std::path::Path;

use tests::cluster::Cluster;
use tests::expected;

use crate::commands::{command, text};

/// Three features, and two numbers to predict.
fn houses(folder: &Path) -> String {
    let mut table = "rooms,garden,age,price,comfort\n".to_owned();
    for house in 0..300 {
        let share = |factor: u32, parts: u32| f64::from(house * factor % parts) / f64::from(parts);
        let [rooms, garden, age] = [share(7, 11), share(5, 13), share(3, 17)];
        let (price, comfort) = (rooms + 0.5 * garden - 0.75 * age, rooms * (1.0 - age));
        table += &format!("{rooms},{garden},{age},{price},{comfort}\n");
    }
    let path = folder.join("houses.csv");
    std::fs::write(&path, table).expect("a scratch folder is written to");
    format!("csv:{}", path.display())
}

/// An `mlp` that learns both numbers.
fn regression(source: &str) -> String {
    format!(
        r#"
model = "mlp"
seed = 7
replicas = 3
batch_size = 8
epochs = 60
[parameters]
hidden = [16]
learning_rate = 0.02
[dataset]
source = "{source}"
targets = "vector"
label = ["price", "comfort"]
test_examples = 60
split = "stratified"
"#
    )
}

/// A spiking network that learns without labels.
const UNLABELLED: &str = r#"
model = "spiking"
seed = 7
replicas = 4
batch_size = 2
update_interval = 4
rounds = 5
[parameters]
neurons = 40
theta_step = 2
[dataset]
source = "digits"
targets = "none"
"#;

#[test]
fn numbers_are_predicted_with_the_same_bits_on_any_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let spec = regression(&houses(folder.path()));
    let digest = expected::digest(&spec);
    for workers in [1, 3] {
        let cluster = Cluster::start().with_workers(workers, 2);
        let mut client = cluster.submit_when(&spec, workers);
        let evaluation = client.wait_for("evaluation");
        let loss = evaluation["loss"].as_f64().unwrap();
        assert!(loss < 0.002, "{evaluation}");
        assert!(evaluation["accuracy"].is_null(), "{evaluation}");
        assert_eq!(evaluation["results"]["counts"], serde_json::json!({}), "{evaluation}");
        assert!(evaluation["results"]["sums"]["absolute_error"].is_f64(), "{evaluation}");
        assert_eq!(client.finish(), digest, "{workers} workers");
    }
}

#[test]
fn a_run_without_classes_says_nothing_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = houses(folder.path());
    std::fs::write(path("spec.toml"), regression(&source)).unwrap();
    let cluster = Cluster::start().with_workers(1, 2);
    let run = ["run", &path("spec.toml"), "--output", &path("state")];
    let done = command(&cluster, &run);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let said = text(&done.stdout).to_owned() + text(&done.stderr);
    assert!(said.contains("targets \"price\", \"comfort\" (numbers), split 240/60 at random"));
    assert!(said.contains("result  loss 0.00") && said.contains("absolute_error 0.0"), "{said}");
    for word in ["accuracy", "true \\ found", "guessing", "class"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    let judged = command(&cluster, &["evaluate", &path("state")]);
    let line = |said: &str| said.lines().find(|line| line.starts_with("result")).map(str::to_owned);
    assert!(judged.status.success(), "{}", text(&judged.stderr));
    assert_eq!(line(text(&judged.stdout)), line(&said), "{said}");
    for (what, more) in [("curve", None), ("fields", Some(["--tensor", "layer1.weights"]))] {
        let out = path(&format!("{what}.png"));
        let plot = ["plot", &path("state"), "--out", &out, "--what", what, "--preview", "never"];
        let args = [&plot[..], more.as_ref().map_or(&[], |more| &more[..])].concat();
        let drawn = crate::commands::alone(&args);
        assert!(drawn.status.success(), "{what}: {}", text(&drawn.stderr));
    }
}

#[test]
fn a_model_that_cannot_learn_the_targets_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = houses(folder.path());
    let cluster = Cluster::start();
    let expected = "a class for each example (`dataset.targets` set to \"class\")";
    for (model, targets, found) in [
        ("softmax", "vector", "a number"),
        ("spiking", "vector", "a number"),
        ("mlp", "none", "no"),
    ] {
        let targets = format!("dataset.targets={targets}");
        let args = ["run", "--model", model, "--dataset", &source, "--set", &targets];
        let refused = command(&cluster, &args);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{model}: {said}");
        let found = format!("{expected}, found {found}");
        assert!(said.contains(&found), "{model}: {said}");
    }
}

#[test]
fn spikes_are_learnt_without_labels() {
    let digest = expected::digest(UNLABELLED);
    for workers in [1, 3] {
        let cluster = Cluster::start().with_workers(workers, 2);
        let mut client = cluster.submit_when(UNLABELLED, workers);
        let evaluation = client.wait_for("evaluation");
        assert!(evaluation["results"]["counts"]["spikes"][0].as_u64() > Some(0), "{evaluation}");
        assert!(evaluation["accuracy"].is_null() && evaluation["loss"].is_null(), "{evaluation}");
        assert_eq!(client.finish(), digest, "{workers} workers");
        assert!(client.events.iter().all(|event| event["event"] != "labelled"));
    }
}
