//! `examples/python_worker`, which follows `docs/PROTOCOL.md` and shares no code with
//! the workers in Rust: it works beside them, and alone, and gives the same bits.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use tests::binaries::workspace;
use tests::cluster::Cluster;
use tests::expected;
use tests::python;

use crate::cluster::SOFTMAX;

/// Most lines of the example: one that needs more says that the protocol is too much.
const LINES: usize = 400;

/// Rounds of several epochs, short last ones, replicas without examples, and a merge
/// rule of the user's.
const OTHER: &str = r#"
model = "softmax"
seed = 3
replicas = 5
batch_size = 97
update_interval = 2
rounds = 5
[parameters]
learning_rate = 0.1
weight_decay = 0.001
[dataset]
source = "digits"
[merge]
bias = "sum"
[evaluation]
shard_size = 100
split = "train"
"#;

fn example() -> PathBuf {
    workspace().join("examples/python_worker")
}

/// A Python that has the example's packages, in a virtual environment that is made once.
fn make_python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_worker");
    python::environment(&folder, &example().join("requirements.txt"))
}

/// The Python to run the example with, if there is one here.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    python::or_skip(PYTHON.get_or_init(make_python))
}

/// Adds a worker in Python.
fn add_worker(cluster: &mut Cluster, python: &Path, name: &str) {
    let mut command = Command::new(python);
    command.arg(example().join("worker.py"));
    command.args([&cluster.address, name]).env("PYTHONDONTWRITEBYTECODE", "1");
    cluster.add_other_worker(command);
}

#[test]
fn alone_it_gives_the_bits_of_ours() {
    let Some(python) = python() else { return };
    let mut cluster = Cluster::start();
    add_worker(&mut cluster, python, "python");
    assert_eq!(cluster.submit(OTHER).finish(), expected::digest(OTHER));
    let worker = &mut cluster.workers[0];
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success(), "it leaves with a word");
}

/// Examples as f32, in three chunks of which two are a window.
#[test]
fn it_shuffles_in_windows_as_ours_do() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wide.csv");
    let row = |row: usize| {
        let values = (0..200).map(|column| format!("{}.5", (row * 7 + column * 3) % 17));
        values.collect::<Vec<_>>().join(",") + &format!(",{}\n", row % 3)
    };
    std::fs::write(&file, (0..3000).map(row).collect::<String>()).expect("room");
    let spec = |window: u32| {
        let dataset = format!("source = \"csv:{}\"\nshuffle_window = {window}", file.display());
        format!(
            "model = \"softmax\"\nreplicas = 3\nbatch_size = 50\nupdate_interval = 4\n\
             rounds = 7\n[dataset]\n{dataset}\n[evaluation]\nsplit = \"train\"\n"
        )
    };
    let expected = expected::digest(&spec(2));
    assert_ne!(expected, expected::digest(&spec(64)));
    let mut cluster = Cluster::start();
    add_worker(&mut cluster, python, "python");
    assert_eq!(cluster.submit(&spec(2)).finish(), expected);
}

#[test]
fn beside_ours_every_shard_is_the_same() {
    let Some(python) = python() else { return };
    let mut cluster = Cluster::start().with_workers(1, 2);
    add_worker(&mut cluster, python, "python");
    // Two workers compute every shard, one of them in Python.
    for spec in [SOFTMAX, OTHER] {
        let mut client = cluster.submit_when(&format!("audit = 1.0\n{spec}"), 2);
        let finished = client.wait_for("finished");
        assert_eq!(finished["digest"], expected::digest(spec).to_string());
        assert_eq!(finished["unaudited"], 0, "{finished}");
        assert!(finished["audited"].as_u64() > Some(0), "{finished}");
    }
}

#[test]
fn what_it_cannot_do_is_done_by_others() {
    let Some(python) = python() else { return };
    let mut cluster = Cluster::start();
    add_worker(&mut cluster, python, "python");
    let spec = crate::cluster::MLP;
    let mut client = cluster.submit(spec);
    let cannot = loop {
        let event = client.wait_for("worker");
        if event["what"] == "cannot" {
            break event;
        }
    };
    assert_eq!(cannot["worker"], "python");
    assert!(cannot["detail"].as_str().is_some_and(|it| it.contains("`softmax`")), "{cannot}");
    cluster.add_worker(2);
    assert_eq!(client.finish(), expected::digest(spec));
}

/// The run that the protocol's document shows, and the digest that it gives for it.
fn documented_run() -> (String, String) {
    let document = std::fs::read_to_string(workspace().join("docs/PROTOCOL.md")).expect("UTF-8");
    let section = document.split("### 13.9 ").nth(1).expect("section 13.9");
    let after = |start: &str| section.split(start).nth(1).expect(start).to_owned();
    let spec = after("```toml\n").split("```").next().expect("an end").to_owned();
    (spec, after("final digest = ").lines().next().expect("a line").to_owned())
}

#[test]
fn the_documented_run_has_the_documented_digest() {
    let (spec, digest) = documented_run();
    assert_eq!(expected::digest(&spec).to_string(), digest);
    let Some(python) = python() else { return };
    let mut cluster = Cluster::start();
    add_worker(&mut cluster, python, "python");
    assert_eq!(cluster.submit(&spec).finish().to_string(), digest);
}

#[test]
fn it_is_as_short_as_it_says() {
    let files = std::fs::read_dir(example()).expect("the example is there").flatten();
    let files =
        files.map(|file| file.path()).filter(|it| it.extension().is_some_and(|it| it == "py"));
    let lines = |file: PathBuf| std::fs::read_to_string(file).expect("UTF-8").lines().count();
    let lines: usize = files.map(lines).sum();
    assert!((100..=LINES).contains(&lines), "{lines} lines of Python, expected at most {LINES}");
}
