//! A bit flips in a small file of a runs folder while no coordinator runs: the
//! run ends in its digest all the same, or is set aside by name.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tests::client::{Client, Next};
use tests::cluster::Cluster;
use tests::expected;

/// Bits that are flipped, each in a folder of its own.
const FLIPS: u64 = 50;

/// Files up to so many bytes are small; the history is none.
const SMALL_BYTES: u64 = 16 << 10;

/// Every round has a checkpoint.
const FLAGS: [&str; 4] = ["--checkpoint-every", "1", "--resume-wait", "0"];

const SPEC: &str = r#"
model = "softmax"
seed = 7
replicas = 4
batch_size = 10
update_interval = 3
rounds = 12
dataset.source = "digits"
"#;

/// How far a run came whose folder is damaged.
#[derive(Clone, Copy, Debug)]
enum Reached {
    Accepted,
    Begun,
    Finished,
}

/// Leaves a runs folder with one run.
fn prepare(folder: &Path, reached: Reached) {
    let mut cluster = Cluster::start_in(folder, "127.0.0.1:0", &FLAGS);
    let spec = folder.join("spec.toml");
    fs::write(&spec, SPEC).expect("a spec can be written");
    let mut client = Client::submit_in(folder, &cluster.address, &spec);
    if matches!(reached, Reached::Accepted) {
        // It waits for workers.
        let run = folder.join("runs/1/run.json");
        while !run.exists() {
            let next = client.next_within(std::time::Duration::from_millis(10));
            assert!(!matches!(next, Next::End), "{:?}", client.events);
        }
    } else {
        cluster.add_worker(1);
        for _ in 0..5 {
            client.wait_for("round");
        }
        // Which a damaged submission is restored from.
        client.wait_for("checkpoint");
    }
    if matches!(reached, Reached::Finished) {
        client.finish();
    }
    cluster.coordinator.signal(Signal::SIGKILL);
    cluster.coordinator.wait();
}

/// The records of a folder's run.
fn records(runs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(runs.join("1")).expect("a folder").flatten();
    let entries = entries.map(|entry| entry.path());
    let is_small = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "json")
            && fs::metadata(path).is_ok_and(|about| about.len() <= SMALL_BYTES)
    };
    let mut records: Vec<PathBuf> = entries.filter(is_small).collect();
    records.sort();
    records
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

#[test]
fn a_bit_that_flips_in_a_record_changes_no_digest() {
    let expected = expected::digest(SPEC).to_string();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let all = [Reached::Accepted, Reached::Begun, Reached::Finished].map(|reached| {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path(), reached);
        (reached, folder)
    });
    let (mut ended, mut set_aside) = (0, 0);
    for flip in 0..FLIPS {
        let (reached, template) = &all[(flip % 3) as usize];
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        copy(&template.path().join("runs"), &runs);
        let records = records(&runs);
        let record = &records[(random.next_u64() % records.len() as u64) as usize];
        let mut bytes = fs::read(record).unwrap();
        let bit = random.next_u64() % (8 * bytes.len() as u64);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        fs::write(record, bytes).unwrap();

        let mut cluster = Cluster::start_in(folder.path(), "127.0.0.1:0", &FLAGS);
        cluster.add_worker(1);
        let mut client = Client::follow_in(folder.path(), &cluster.address, 1);
        while client.next_event().is_some() {}
        let status = client.wait();
        let what = format!("{reached:?}, bit {bit} of {}", record.display());
        match client.events.last() {
            Some(last) if status.success() => {
                assert_eq!(last["digest"], expected, "{what}: {last}");
                ended += 1;
            }
            last => {
                let log = fs::read_to_string(folder.path().join("follower.log")).unwrap();
                let said = format!("{log}\n{last:?}");
                assert!(said.contains("run.json"), "{what}: {said}");
                set_aside += 1;
            }
        }
        cluster.coordinator.signal(Signal::SIGTERM);
        cluster.coordinator.wait();
    }
    println!("{ended} ended in their digest, {set_aside} were set aside");
    assert!(ended > FLIPS / 2 && set_aside > 0);
}
