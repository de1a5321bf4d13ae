//! What workers and clients say who have the wrong keys, and how they end.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use common::keys::{Keys, Member};
use rustls::crypto::ring::default_provider;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tests::binaries::binaries;
use tests::client::Client;
use tests::expected;
use tests::logged::Logged;

use super::raw::{Proof, proof_of};
use super::{KeyFiles, command, coordinator, expired, status, text};
use crate::cluster::SOFTMAX;

/// Exit code of bad input: the keys file itself.
const BAD_INPUT: i32 = 2;
/// Exit code of who is refused, or refuses.
const FAILED: i32 = 3;

/// `coordinator status` ends with this code, and says this.
fn assert_client(address: &str, keys: Option<&Path>, code: i32, words: &str) {
    let output = command(&["status"], address, keys);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.starts_with("error: ") && error.contains(words), "{words:?}: {error}");
}

/// A worker ends with this code, and says this.
fn assert_worker(address: &str, keys: Option<&Path>, words: &'static str) {
    let flags: Vec<&str> = keys.iter().flat_map(|keys| ["--keys", text(keys)]).collect();
    let mut worker = Logged::worker("w", address, &flags);
    let says = |line: &Value| line["message"].as_str().is_some_and(|line| line.contains(words));
    worker.log.wait_for(says).expect("it says why");
    assert_eq!(worker.wait(), Some(FAILED));
}

/// The coordinator says this of somebody.
fn assert_logged(coordinator: &Logged, words: &'static str) {
    let says = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("refused: ") && message.contains(words)
    };
    coordinator.log.wait_for(says).expect("the coordinator says so too");
}

#[test]
fn without_keys_or_with_those_of_another_cluster() {
    let files = KeyFiles::new();
    let (ours, foreign) = (files.new_cluster("ours.pem"), files.new_cluster("foreign.pem"));
    let (mut coordinator, address) = coordinator(&ours);
    assert_client(&address, None, FAILED, "the coordinator refuses: this coordinator asks for");
    assert_worker(&address, None, "refused by the coordinator: this coordinator asks for");
    assert_logged(&coordinator, "give --keys FILE");
    let words = "it belongs to another cluster than the keys file";
    assert_client(&address, Some(foreign.path()), FAILED, words);
    assert_worker(&address, Some(foreign.path()), words);
    assert_logged(&coordinator, "it belongs to another cluster: its keys file has another");
    assert_eq!(status(&address, Some(ours.path()))["refused"], 4);
    coordinator.leave();
}

#[test]
fn with_keys_where_the_coordinator_has_none() {
    let files = KeyFiles::new();
    let keys = files.new_cluster("cluster.pem");
    let (mut coordinator, address) = Logged::coordinator(&[]);
    let words = "it does not speak TLS, as it runs without keys";
    assert_client(&address, Some(keys.path()), FAILED, words);
    assert_worker(&address, Some(keys.path()), words);
    assert_logged(&coordinator, "this coordinator has no keys");
    // Nobody else can reach it: that is no reason to warn.
    let status = status(&address, None);
    assert_eq!((&status["refused"], &status["insecure"]), (&2.into(), &false.into()), "{status}");
    coordinator.leave();
}

#[test]
fn a_file_for_a_worker_is_of_no_use_to_a_client_and_the_other_way_round() {
    let files = KeyFiles::new();
    let ours = files.new_cluster("ours.pem");
    let export = |member: Member, name: &str| {
        files.write(ours.exported(member).expect("it is there").at(&files.path(name)))
    };
    let for_worker = export(Member::Worker, "worker.pem");
    let for_client = export(Member::Client, "client.pem");
    let (mut coordinator, address) = coordinator(&ours);
    let mut worker = Logged::worker("w", &address, &["--keys", text(for_worker.path())]);
    let submit = ["--coordinator", &address, "--keys", text(for_client.path())];
    assert_eq!(Client::start(SOFTMAX, &submit).finish(), expected::digest(SOFTMAX));
    assert_client(&address, Some(for_worker.path()), BAD_INPUT, "expected an identity of a client");
    let error = bad_keys(&binaries().worker, &["--coordinator", &address], &for_client);
    assert!(error.contains("an identity of a worker, found only: client"), "{error}");
    worker.leave();
    coordinator.leave();
}

/// What a program says that ends because of its keys file.
fn bad_keys(binary: &Path, args: &[&str], keys: &Keys) -> String {
    let mut command = Command::new(binary);
    command.args(args).arg("--keys").arg(keys.path());
    let Output { status, stderr, .. } = command.output().expect("it starts");
    let error = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(BAD_INPUT), "{error}");
    error
}

/// Says it before anybody is asked: the port is nobody's.
fn assert_bad_keys(keys: &Keys, words: &str) {
    let binaries = binaries();
    let nobody = ["--coordinator", "127.0.0.1:1"];
    for (binary, args) in [
        (&binaries.coordinator, &["serve", "--listen", "127.0.0.1:0"][..]),
        (&binaries.coordinator, &[&["status"][..], &nobody].concat()),
        (&binaries.coordinator, &[&["run"][..], &nobody].concat()),
        (&binaries.worker, &nobody),
    ] {
        let error = bad_keys(binary, args, keys);
        assert!(error.contains(words), "{args:?}: {error}");
    }
}

#[test]
fn keys_that_expired_or_that_others_can_read_are_no_keys() {
    let files = KeyFiles::new();
    let [old, _] = expired(&files);
    assert_bad_keys(&old, &format!("`coordinator keys renew {}`", old.path().display()));
    let keys = files.new_cluster("cluster.pem");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    assert_bad_keys(&keys, &format!("`chmod 600 {}`", keys.path().display()));
}

/// Answers with a certificate that is not a coordinator's, or not of today.
fn impostor((certificate, key): Proof) -> String {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a proof");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let session = ServerConnection::new(config.clone()).expect("a session");
            let mut heard = [0; 1024];
            // It is found out, and left.
            let _ = StreamOwned::new(session, socket).read(&mut heard);
        }
    });
    address
}

#[test]
fn whoever_is_no_coordinator_is_not_believed() {
    let files = KeyFiles::new();
    let [old, keys] = expired(&files);
    for member in [Member::Worker, Member::Client] {
        let address = impostor(proof_of(&keys, member));
        let words = "the peer is not a coordinator";
        assert_client(&address, Some(keys.path()), FAILED, words);
        assert_worker(&address, Some(keys.path()), words);
    }
    // One that is to be renewed is waited for.
    let address = impostor(proof_of(&old, Member::Coordinator));
    assert_client(&address, Some(keys.path()), FAILED, "its certificate expired on");
    let mut worker = Logged::worker("patient", &address, &["--keys", text(keys.path())]);
    let says = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("its certificate expired on") && message.contains("trying again")
    };
    worker.log.wait_for(says).expect("it waits");
    worker.leave();
}

#[test]
fn keys_are_made_shown_renewed_and_exported() {
    let files = KeyFiles::new();
    let path = files.path("cluster.pem");
    let file = text(&path);
    let keys = |args: &[&str]| {
        let output = Command::new(&binaries().coordinator).arg("keys").args(args).output();
        let output = output.expect("the command runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    let (code, _) = keys(&["new", file, "--days", "3"]);
    assert_eq!(code, Some(0));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let fingerprint = Keys::load(&path).expect("keys").fingerprint().to_string();
    let (code, said) = keys(&["new", file]);
    assert!(code == Some(BAD_INPUT) && said.contains("exists already"), "{said}");
    let (code, said) = keys(&["new", file, "--if-missing"]);
    assert!(code == Some(0) && said.contains(&fingerprint), "{said}");
    let (code, said) = keys(&["show", file]);
    assert!(code == Some(0) && said.contains(&fingerprint) && !said.contains("-----"), "{said}");
    assert_eq!(keys(&["renew", file]).0, Some(0));
    let worker = files.path("worker.pem");
    assert_eq!(keys(&["export", file, text(&worker), "--role", "worker"]).0, Some(0));
    let (code, said) = keys(&["show", text(&worker)]);
    assert!(code == Some(0) && said.contains(&fingerprint) && !said.contains("client"), "{said}");
    let (code, said) = keys(&["renew", text(&worker)]);
    assert!(code == Some(BAD_INPUT) && said.contains("lacks the authority's key"), "{said}");
    let (code, said) = keys(&["new", text(&files.path("no/such/folder.pem"))]);
    assert!(code == Some(FAILED) && said.contains("No such file"), "{said}");

    // A setting shows where the keys are, and nothing of them.
    let output = Command::new(&binaries().coordinator)
        .args(["serve", "--print-config", "--keys", file])
        .output()
        .expect("the command runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains(&format!("keys = \"{file}\"  # flag --keys")), "{said}");
    assert!(!said.contains("PRIVATE") && !said.contains("-----"), "{said}");
}
