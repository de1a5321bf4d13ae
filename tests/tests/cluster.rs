//! The same bits on any cluster.

use std::process::Command;

use common::dataset::Dataset;
use common::model::Registry;
use common::model::kernel::Isa;
use common::model::spiking::{ABOUT, Spiking};
use common::plan::RunPlan;
use common::spec::RunSpec;
use nix::sys::signal::Signal;
use tests::binaries;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::expected;

use crate::commands::{alone, text};
use crate::custom_model;

pub(crate) const SOFTMAX: &str = r#"
model = "softmax"
seed = 7
replicas = 8
batch_size = 10
update_interval = 3
epochs = 2
[dataset]
source = "digits"
[evaluation]
every = 1
"#;

pub(crate) const MLP: &str = r#"
model = "mlp"
seed = 7
replicas = 6
batch_size = 7
update_interval = 5
rounds = 11
[parameters]
hidden = [24]
momentum = 0.9
momentum_state = "merged"
[dataset]
source = "digits"
"#;

pub(crate) const SPIKING: &str = r#"
model = "spiking"
seed = 7
replicas = 6
batch_size = 2
update_interval = 4
rounds = 7
[parameters]
neurons = 70
theta_step = 2
[dataset]
source = "digits"
[evaluation]
labelling = true
"#;

#[test]
fn any_number_of_workers_and_slots_gives_the_same_bits() {
    let specs = [SOFTMAX, MLP, SPIKING].map(|spec| (spec, expected::digest(spec)));
    for workers in [1, 2, 3, 4, 7] {
        for slots in [1, 2, 4] {
            let cluster = Cluster::start().with_workers(workers, slots);
            for (spec, expected) in &specs {
                let mut client = cluster.submit_when(spec, workers);
                let started = client.wait_for("started");
                assert_eq!(started["workers"], workers);
                assert_eq!(client.finish(), *expected, "{workers} workers of {slots} slots");
            }
        }
    }
}

#[test]
fn an_audit_changes_no_bit_and_is_told_of() {
    let audited = format!("audit = 0.5\n{SOFTMAX}");
    let spec = RunSpec::from_toml(&audited).unwrap();
    let data = Dataset::load(&spec.dataset).unwrap();
    let plan = RunPlan::new(&spec, data.train.size(), data.test.len()).unwrap();
    let steps = (0..plan.steps()).filter_map(|index| plan.step(index));
    let shards: usize = steps.map(|step| plan.audited(&step).len()).sum();
    let expected = expected::digest(SOFTMAX);
    for (workers, told) in [
        (3, format!("Audited: {shards} shards had the same bits on two workers.")),
        (1, format!("Not audited: {shards} shards could not be given to a second worker.")),
    ] {
        let mut cluster = Cluster::start().with_workers(workers, 1);
        let mut client = cluster.submit_when(&audited, workers);
        let finished = client.wait_for("finished");
        let (audits, none) = if workers == 1 { (0, shards) } else { (shards, 0) };
        assert_eq!((&finished["audited"], &finished["unaudited"]), (&audits.into(), &none.into()));
        assert_eq!(finished["digest"], expected.to_string());
        // Its history is whole once it has ended.
        cluster.coordinator.signal(Signal::SIGTERM);
        cluster.coordinator.wait();
        let runs = cluster.runs().to_str().expect("a plain path");
        let output = alone(&["explain", "1", "--runs", runs]);
        assert!(text(&output.stdout).contains(&told), "{told}: {}", text(&output.stdout));
    }
}

#[test]
fn a_users_own_model_in_its_own_program() {
    let spec = "model = \"centroids\"\nepochs = 1\ndataset.source = \"digits\"\n";
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), spec).unwrap();
    let output = Command::new(&binaries::binaries().custom_model)
        .arg("run")
        .arg(file.path())
        .args(["--local", "3"])
        .output()
        .unwrap();
    let expected = expected::digest_with(custom_model::registry(), spec);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&expected.to_string()), "{text}");
}

#[test]
fn a_worker_that_lacks_the_model_is_named_and_the_run_goes_on_without_it() {
    let spec = "model = \"centroids\"\nepochs = 1\ndataset.source = \"digits\"\n";
    let mut cluster = Cluster::start_own();
    cluster.add_worker(2);
    let own = Command::new(&binaries::binaries().custom_model);
    let mut client = Client::start_by(own, spec, &["--coordinator", &cluster.address]);
    let told = loop {
        let event = client.wait_for("worker");
        if event["what"] == "cannot" {
            break event;
        }
    };
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(told["worker"], "test-1");
    assert!(detail.contains("unknown model `centroids`: expected one of mlp, "), "{detail}");
    assert!(detail.ends_with("start your own worker binary"), "{detail}");
    let status = alone(&["status", "--coordinator", &cluster.address]);
    let line = format!("worker test-1 cannot work on the active run: {detail}\n");
    assert!(text(&status.stdout).contains(&line), "{}", text(&status.stdout));
    cluster.add_own_worker(2);
    assert_eq!(client.finish(), expected::digest_with(custom_model::registry(), spec));
    assert_eq!((client.count_worker_events("cannot"), client.count_worker_events("lost")), (1, 0));
    cluster.coordinator.signal(Signal::SIGTERM);
    cluster.coordinator.wait();
    let runs = cluster.runs().to_str().expect("a plain path");
    let account = alone(&["explain", "1", "--runs", runs]);
    let account = text(&account.stdout);
    assert!(account.contains("A worker could not work on it: test-1, "), "{account}");
}

#[test]
fn a_cluster_of_this_host_whose_workers_lack_the_model_says_so() {
    let output = Command::new(&binaries::binaries().custom_model)
        .args(["run", "--model", "centroids", "--epochs", "1", "--local", "2"])
        .args(["--worker-binary"])
        .arg(&binaries::binaries().worker)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("no local worker can work on the run: unknown model `centroids`"),
        "{said}"
    );
}

#[test]
fn any_instruction_set_gives_the_same_bits() {
    let specs = [SOFTMAX, MLP, SPIKING];
    let expected = specs.map(expected::digest);
    let levels = [
        // What rustc builds for unless it is told otherwise.
        ("x86-64", true),
        ("x86-64-v3", is_x86_feature_detected!("avx2")),
        ("x86-64-v4", is_x86_feature_detected!("avx512f")),
    ];
    for (level, available) in levels {
        if !available {
            println!("skipped: this CPU lacks {level}");
            continue;
        }
        let target = binaries::target_folder().join("instruction-sets").join(level);
        let flags = format!("-C target-cpu={level}");
        let coordinator = match level {
            "x86-64" => binaries::binaries().coordinator.clone(),
            _ => binaries::coordinator_with(&target, "carried", &flags),
        };
        for (spec, expected) in specs.iter().zip(&expected) {
            let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            std::fs::write(file.path(), spec).unwrap();
            let output = Command::new(&coordinator)
                .arg("run")
                .arg(file.path())
                .args(["--local", "2", "--json"])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains(&expected.to_string()), "{level}: {text}");
        }
    }
}

/// The vectors that the spiking network is worked with are chosen as it runs:
/// what any other build of the same source does is asked for by name.
#[test]
fn any_vectors_give_the_spiking_network_the_same_bits() {
    let expected = expected::digest(SPIKING);
    for isa in Isa::ALL {
        if !isa.is_available() {
            println!("skipped: this CPU lacks {isa:?}");
            continue;
        }
        let mut registry = Registry::empty();
        registry.register("spiking", ABOUT, move |parameters, shape, seed| {
            let model = Spiking::new(parameters, shape, seed)?.with_isa(isa);
            Ok(Box::new(model.expect("the CPU has it")))
        });
        assert_eq!(expected::digest_with(registry, SPIKING), expected, "{isa:?}");
    }
}
