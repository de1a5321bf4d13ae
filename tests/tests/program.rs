//! One program: `samebit`, its aliases, and those of users.

use std::path::Path;
use std::process::{Command, Output};

use common::dataset::{DataShape, TargetType};
use common::model::Registry;
use samebit::client::{Client, ClientError, ConnectionError, RunEvent};
use samebit::spec::RunSpec;
use tests::binaries::{binaries, workspace};
use tests::cluster::Cluster;
use tests::expected;

use crate::cluster::SOFTMAX;
use crate::commands::{ENDLESS, text};

fn run(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).output().expect("it starts")
}

/// What a command prints that goes well.
fn printed(program: &Path, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn aliases_have_all_commands_and_their_own_names() {
    let built = binaries();
    let commands = |program: &Path| {
        let help = printed(program, &["--help"]);
        let commands = help.split_once("Commands:").expect("commands").1;
        commands.split_once("Options:").expect("options").0.to_owned()
    };
    assert_eq!(commands(&built.coordinator), commands(&built.samebit));
    assert_eq!(commands(&built.custom_model), commands(&built.samebit));
    let flags = |program: &Path, args: &[&str]| {
        let help = printed(program, &[args, &["--help"]].concat());
        let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(flags(&built.worker, &[]), flags(&built.samebit, &["worker"]));
    assert!(flags(&built.worker, &[]).len() > 5);

    let help = printed(&built.custom_model, &["cancel", "--help"]);
    assert!(help.contains("Examples:\n  custom_model cancel 3\n"), "{help}");
    let version = |program| printed(program, &["-V"]);
    for (program, name) in [
        (&built.samebit, "samebit"),
        (&built.coordinator, "coordinator"),
        (&built.worker, "worker"),
    ] {
        assert!(version(program).starts_with(&format!("{name} 0.")), "{}", version(program));
    }
    let own = version(&built.custom_model);
    assert!(own.starts_with("custom_model (samebit 0."), "{own}");
}

#[test]
fn the_parameters_of_every_model_are_listed() {
    let registry = Registry::standard();
    let shape = DataShape::new(64, TargetType::Classes(10));
    for (model, _) in registry.list() {
        let listed = printed(&binaries().samebit, &["models", model]);
        let parameters = registry.parameters(model, shape).expect("it says which it has");
        assert_eq!(listed.lines().count(), parameters.len() + 1, "{listed}");
        for (line, one) in listed.lines().skip(1).zip(&parameters) {
            let texts = [one.name, &one.default, &one.range, one.unit, one.about];
            assert!(texts.iter().all(|text| line.contains(text)), "{line}");
            assert!(!one.about.is_empty(), "{model}: nothing is said of {}", one.name);
        }
    }
    let own = printed(&binaries().custom_model, &["models", "centroids"]);
    assert_eq!(own, "centroids has no parameters\n");
    let larger = printed(&binaries().samebit, &["models", "spiking", "--features", "784"]);
    assert!(larger.contains("31.875"), "{larger}");
    let unknown = run(&binaries().samebit, &["models", "centroids"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("unknown model `centroids`: expected one of mlp"));
}

#[test]
fn a_client_submits_follows_and_fetches() {
    let mut cluster = Cluster::start().with_workers(2, 1);
    let mut client = Client::connect(&cluster.address).unwrap();
    // They join one after another.
    while client.status().unwrap().workers.len() < 2 {}
    let submit = |client: &mut Client, spec| {
        client.submit(&Registry::standard(), RunSpec::from_toml(spec).unwrap(), None).unwrap()
    };
    let run = submit(&mut client, SOFTMAX);
    let events: Vec<RunEvent> = client.follow(run).unwrap().map(Result::unwrap).collect();
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:?}") };
    let fetched = client.fetch(run).unwrap();
    assert_eq!((*digest, fetched.state.digest()), (expected::digest(SOFTMAX), *digest));
    assert_eq!(fetched.spec.to_toml(), RunSpec::from_toml(SOFTMAX).unwrap().to_toml());

    // A run that is left in the middle of its events is in nobody's way.
    let endless = submit(&mut client, ENDLESS);
    let is_round = |event: &Result<RunEvent, _>| matches!(event, Ok(RunEvent::Round { .. }));
    assert!(client.follow(endless).unwrap().any(|event| is_round(&event)));
    client.cancel(endless).unwrap();
    let last = client.follow(endless).unwrap().last().expect("events").unwrap();
    assert!(matches!(last, RunEvent::Cancelled { .. }), "{last:?}");
    let unknown = client.fetch(samebit::client::RunId(77)).unwrap_err();
    assert!(unknown.to_string().contains("run 77 is unknown"), "{unknown}");

    cluster.coordinator.signal(nix::sys::signal::Signal::SIGKILL);
    cluster.coordinator.wait();
    let gone = Client::connect(&cluster.address).unwrap_err();
    assert!(matches!(gone, ClientError::Connection(ConnectionError::Connect { .. })), "{gone}");
}

#[test]
fn the_public_surface_is_small() {
    // CI compares the listing with the code (`public_surface` in `.ci/run`).
    let listing = workspace().join("samebit/public-api.txt");
    let listing = std::fs::read_to_string(listing).expect("a listing");
    assert!((50..=150).contains(&listing.lines().count()), "{} items", listing.lines().count());
}

#[test]
fn a_program_that_is_no_worker_is_named_at_once() {
    let samebit = binaries().samebit.clone();
    // It takes the command `worker` before the flags of one.
    let args = ["run", "--local", "1", "--worker-binary", samebit.to_str().unwrap()];
    let output = run(&samebit, &args);
    assert_eq!(output.status.code(), Some(3));
    let error = text(&output.stderr);
    assert!(error.contains("worker local-1 does not accept its flags"), "{error}");
    assert!(!error.contains("restarting it"), "{error}");
}
