//! Every command that a `--help` or a document shows does what it says: it is gathered
//! where it stands, and typed.
//!
//! It is typed in a folder that has what the examples name (`my.toml`, `runs` with runs
//! 1 to 3, `cluster.pem`, a small `mnist`, …), beside a cluster of four workers. Addresses
//! of other hosts become that cluster's, and what takes long is made short: see [`SHIMS`].

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::binaries::{binaries, workspace};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::examples::{Example, examples};

/// Examples that are typed at the same time.
const AT_ONCE: usize = 4;

/// Commands that are not typed here, by how they begin, and what does it instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("docker compose", "docker/test.sh"),
    ("cargo build", "this test's own build, and `readme`"),
    ("cargo test", "whoever runs this"),
    ("cargo run --release -p tests --bin bench", "the settings of `bench` are its own test's"),
    ("cargo bench", "nobody: it measures for minutes"),
    (".ci/run --peers", "nobody: it measures for half an hour"),
    ("tests/links.sh", "nobody: it makes network namespaces, and measures for minutes"),
    ("tc qdisc", "nobody: it is the host's network, and followed by a measurement"),
    ("target/debug/kill_test", "`kill`"),
];

/// Programs that stand before ours in the path.
///
/// `coordinator`: a run has two rounds and few neurons, new keys go to another file than
/// the one that all use, and a coordinator is stopped once it listens. `worker`: it goes
/// on until the folder is left. `samebit` is one of these two.
const SHIMS: &[(&str, &str)] = &[
    (
        "samebit",
        r#"case "$1" in
worker) shift && exec worker "$@" ;;
*) exec coordinator "$@" ;;
esac"#,
    ),
    (
        "coordinator",
        r#"case "$1 $2" in
"serve --config"|"serve --help") exec "$REAL/coordinator" "$@" ;;
serve*)
    shift
    SAMEBIT_RUNS=$(mktemp -d -p .) "$REAL/coordinator" serve "$@" >served 2>&1 &
    server=$!
    until grep -q '^listening on' served; do
        kill -0 $server 2>/dev/null || { cat served >&2; exit 1; }
        sleep 0.02
    done
    kill $server && wait $server ;;
"keys new") shift 3; exec "$REAL/coordinator" keys new "new-$$.pem" "$@" ;;
"run "*)
    short='--set rounds=2'
    case "$*" in *spiking*) short="$short --set parameters.neurons=10" ;; esac
    exec "$REAL/coordinator" "$@" $short ;;
*) exec "$REAL/coordinator" "$@" ;;
esac"#,
    ),
    (
        "worker",
        r#"case "$*" in *--print-config*|*--help*) exec "$REAL/worker" "$@" ;; esac
"$REAL/worker" "$@" >worked-$$ 2>&1 </dev/null &
worker=$!
echo $worker >>pids
until grep -q 'connected to' worked-$$; do
    kill -0 $worker 2>/dev/null || { cat worked-$$ >&2; exit 1; }
    sleep 0.02
done"#,
    ),
];

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &place)
        } else {
            fs::copy(entry.path(), place).expect("a copy");
        }
    }
}

/// `coordinator LINE` in a folder, which must go well.
fn coordinator(folder: &Path, line: &str) {
    let mut command = Command::new(&binaries().coordinator);
    let output = command.args(line.split(' ')).current_dir(folder).output().expect("it runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What the examples name.
fn prepare(folder: &Path) {
    let write = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, text).expect("a scratch folder can be written to");
    };
    write("my.toml", b"model = \"softmax\"\nrounds = 2\ndataset.source = \"digits\"\n");
    write("coordinator.toml", b"log_level = \"debug\"\n");
    write("worker.toml", b"log_level = \"debug\"\n");
    write("small/none", b"");
    let packed = fs::read(workspace().join("common/src/dataset/digits.csv.gz")).expect("digits");
    let mut digits = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut digits).expect("a text");
    write("digits.csv", &digits);
    for (split, images) in [("train", 64), ("t10k", 32)] {
        let (pixels, labels) = images_and_labels(images);
        for place in ["mnist", "data/mnist"] {
            write(&format!("{place}/{split}-images-idx3-ubyte"), &pixels);
            write(&format!("{place}/{split}-labels-idx1-ubyte"), &labels);
        }
    }
    for (program, script) in SHIMS {
        shim(folder, program, script);
    }
    if !Command::new("jq").arg("--version").output().is_ok_and(|output| output.status.success()) {
        shim(folder, "jq", "cat >/dev/null");
    }
    coordinator(folder, "keys new cluster.pem");
    let run = "run --local 1 --quiet --rounds 2 --model";
    coordinator(folder, &format!("{run} softmax --output digits.safetensors"));
    coordinator(folder, &format!("{run} softmax --dataset idx:mnist --output mnist.safetensors"));
    coordinator(folder, &format!("{run} mlp --output mlp.safetensors"));
    for name in ["penguins.csv", "new.csv"] {
        fs::copy(workspace().join("tests/data/penguins.csv"), folder.join(name)).expect("a copy");
    }
    let penguins = "--dataset penguins.csv --set dataset.missing=mean";
    coordinator(folder, &format!("{run} softmax {penguins} --output penguins.safetensors"));
    copy_file(folder, "digits.safetensors", "other.safetensors");
    for _ in 1..=3 {
        let run = "run --local 2 --model softmax --rounds 25 --quiet --runs finished";
        coordinator(folder, run);
        cancelled(&folder.join("cancelled"));
    }
}

fn copy_file(folder: &Path, from: &str, to: &str) {
    fs::copy(folder.join(from), folder.join(to)).expect("a copy");
}

/// Images of 28 × 28 pixels and their labels, as MNIST's files have them.
fn images_and_labels(count: u32) -> (Vec<u8>, Vec<u8>) {
    let header = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let (mut images, mut labels): (Vec<u8>, Vec<u8>) =
        (header(&[0x803, count, 28, 28]), header(&[0x801, count]));
    for image in 0..count {
        labels.push((image % 10) as u8);
        let row_of = |pixel: u32| pixel / 28 / 3;
        images.extend((0..28 * 28).map(|pixel| if row_of(pixel) == image % 10 { 255 } else { 0 }));
    }
    (images, labels)
}

fn shim(folder: &Path, program: &str, script: &str) {
    let path = folder.join("bin").join(program);
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
}

/// Adds a run that was cancelled to a folder of runs.
fn cancelled(runs: &Path) {
    let spec = "model = \"softmax\"\nrounds = 100_000_000\ndataset.source = \"digits\"\n";
    let runs = runs.to_str().expect("a plain path");
    let mut client = Client::start(spec, &["--local", "1", "--runs", runs]);
    client.wait_for("round");
    kill(Pid::from_raw(client.id() as i32), Signal::SIGINT).expect("it is there");
    assert_eq!(client.wait().code(), Some(130));
}

/// Types an example beside a cluster of its own; gives what went wrong.
fn type_in(prepared: &Path, example: &Example) -> Result<(), String> {
    let text = &example.text;
    let scene = tempfile::tempdir().expect("a folder");
    let folder = scene.path();
    copy(prepared, folder);
    let goes_on = text.contains("resume") && !text.contains("--fork");
    fs::rename(folder.join(if goes_on { "cancelled" } else { "finished" }), folder.join("runs"))
        .expect("runs");
    let state = match text {
        _ if text.contains("layer1") => "mlp.safetensors",
        _ if text.contains("mnist") => "mnist.safetensors",
        _ if text.contains("new.csv") => "penguins.safetensors",
        _ => "digits.safetensors",
    };
    copy_file(folder, state, "final.safetensors");
    let keys = folder.join("cluster.pem");
    let with_keys = ["--keys", keys.to_str().expect("a plain path")];
    let cluster = if text.contains("--keys") || text.contains("SAMEBIT_KEYS") {
        Cluster::start_in(folder, "127.0.0.1:0", &with_keys)
    } else {
        Cluster::start_in(folder, "127.0.0.1:0", &[]).with_workers(4, 1)
    };
    let mut line = String::new();
    for part in text.split_inclusive('\n') {
        let listens = part.contains("serve");
        let address = if listens { "127.0.0.1:0" } else { &cluster.address };
        let part = part.replace("10.0.0.1:7700", address).replace("127.0.0.1:7800", address);
        line += &part.replace("head:7700", address);
    }
    let line = line.replace("/srv/samebit/runs", "runs").replace("/keys/", "");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", &line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("REAL", binaries().coordinator.parent().expect("a folder"))
        .env("SAMEBIT_COORDINATOR", &cluster.address)
        .env("SAMEBIT_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    for worker in fs::read_to_string(folder.join("pids")).unwrap_or_default().lines() {
        // It may have gone with its cluster.
        let _ = kill(Pid::from_raw(worker.parse().expect("a number")), Signal::SIGKILL);
    }
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn every_example_does_what_it_says() {
    let mut all = examples();
    for (prefix, _) in ELSEWHERE {
        let is_there = all.iter().any(|example| example.text.starts_with(prefix));
        assert!(is_there, "no example begins with {prefix:?} any more");
    }
    all.retain(|example| !ELSEWHERE.iter().any(|(prefix, _)| example.text.starts_with(prefix)));
    // What stands in several places is typed once.
    all.sort_by(|one, other| one.text.cmp(&other.text));
    all.dedup_by(|one, other| one.text == other.text);
    assert!(all.len() > 60, "only {} examples were found", all.len());
    let prepared = tempfile::tempdir().expect("a folder");
    prepare(prepared.path());
    let (left, wrong) = (Mutex::new(all), Mutex::new(Vec::new()));
    let next = || left.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(example) = next() {
                    if let Err(error) = type_in(prepared.path(), &example) {
                        let Example { place, text } = example;
                        let text = format!("{place}: {text}\n{error}");
                        wrong.lock().expect("nobody panics with it").push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{} examples go wrong:\n\n{}", wrong.len(), wrong.join("\n"));
}
