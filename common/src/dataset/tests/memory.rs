//! The memory that loading takes, measured in a process of its own.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;

use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::dataset::Dataset;
use crate::memory;
use crate::spec::DatasetSpec;

/// Unpacked size of the files.
const SIZE: usize = 48 << 20;

/// Names the folder of a child process, and its dataset as TOML.
const FOLDER: &str = "SAMEBIT_TEST_LOAD_FOLDER";
const DATASET: &str = "SAMEBIT_TEST_LOAD_DATASET";

/// Most memory for an unpacked size, in bytes.
fn most(unpacked: usize) -> u64 {
    3 * unpacked as u64 + (64 << 20)
}

/// What a child process runs; nothing if this is no child process.
#[test]
fn child() {
    let (Some(folder), Ok(text)) = (std::env::var_os(FOLDER), std::env::var(DATASET)) else {
        return;
    };
    let spec: DatasetSpec = toml::from_str(&text).unwrap();
    let loaded = Dataset::load_as(&spec, Path::new(&folder), None);
    let loaded = match &loaded {
        Ok((data, _)) => format!("{} examples", data.train.len() + data.test.len()),
        Err(error) => format!("error: {error}"),
    };
    println!("loaded {loaded}, peak {} bytes", memory::peak());
}

/// Loads a dataset in a process of its own: what it says, and its peak of memory.
fn load(folder: &Path, dataset: &str) -> (String, u64) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dataset::tests::memory::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(DATASET, dataset)
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let said = output.split_once("loaded ").and_then(|(_, rest)| rest.split_once(", peak "));
    let (loaded, rest) = said.unwrap_or_else(|| panic!("{dataset}: {output}"));
    let peak = rest.split_once(" bytes").unwrap().0.parse().unwrap();
    (loaded.to_owned(), peak)
}

#[track_caller]
fn check(folder: &Path, dataset: &str, unpacked: usize, expected: &str) {
    let (loaded, peak) = load(folder, dataset);
    println!("{dataset:60} {:6.2} of the unpacked size", peak as f64 / unpacked as f64);
    assert!(loaded.contains(expected), "{dataset}: {loaded}");
    assert!(peak <= most(unpacked), "{dataset}: {peak} of {unpacked}, {} allowed", most(unpacked));
    // Where the system reports nothing, nothing is tested.
    assert!(peak > 0 || cfg!(not(target_os = "linux")));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("data.csv", SimpleFileOptions::default()).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

/// All ways to pack a file that begins with `head` and repeats `body`.
fn packed(head: &[u8], body: &[u8], times: usize) -> Vec<(&'static str, Vec<u8>)> {
    let plain = [head, &body.repeat(times)].concat();
    let joined = |pack: &dyn Fn(&[u8]) -> Vec<u8>| [pack(head), pack(body).repeat(times)].concat();
    vec![
        (".gz", joined(&gzip)),
        (".bz2", joined(&bzip2)),
        (".xz", joined(&xz)),
        (".zst", joined(&zstd)),
        (".zip", zip(&plain)),
        ("", plain),
    ]
}

/// Repeats of a body of about 1 MiB.
fn repeated(row: impl Fn(usize) -> String) -> (Vec<u8>, usize) {
    let mut body = String::new();
    (0..)
        .take_while(|at| {
            body += &row(*at);
            body.len() < 1 << 20
        })
        .count();
    let times = SIZE / body.len();
    (body.into_bytes(), times)
}

#[test]
fn tables_take_three_times_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = |at: usize| {
        let pixel = |feature: usize| if feature.is_multiple_of(3) { at * feature % 256 } else { 0 };
        let row: Vec<String> = (0..200).map(|feature| pixel(feature).to_string()).collect();
        format!("{},{}\n", row.join(","), at % 10)
    };
    let flowers = |at: usize| {
        format!(
            "{}.{},{}.5,1.4,0.2,{}\n",
            at % 8,
            at % 10,
            at % 3,
            ["setosa", "versicolor"][at % 2]
        )
    };
    let narrow = |at: usize| format!("{},{}\n", at * 7 % 10, at % 2);
    // One value that no byte has, after all others.
    let late = |at: usize| format!("{},{}\n", if at == 0 { -1 } else { 1 }, at % 2);
    // Each text becomes 150 features, with a number of four bytes each.
    let texts = |at: usize| {
        let text = |column: usize| format!("t{:02x},", at * (2 * column + 1) % 150);
        format!("0.5,{}{}\n", (0..30).map(text).collect::<String>(), at % 2)
    };
    let tables: [(&str, &dyn Fn(usize) -> String); 5] = [
        ("pixels", &pixels),
        ("flowers", &flowers),
        ("narrow", &narrow),
        ("late", &late),
        ("texts", &texts),
    ];
    for (name, row) in tables {
        let (body, times) = repeated(row);
        for (end, bytes) in packed(b"", &body, times) {
            // All ways for one table, and another one for each of the others.
            if name != "flowers" && !matches!(end, "" | ".gz") {
                continue;
            }
            let file = format!("{name}.csv{end}");
            fs::write(folder.path().join(&file), bytes).unwrap();
            let dataset = format!("source = \"csv:{file}\"\nlabel = \"last\"");
            let held_out = "\ntest_examples = 0.2\nsplit = \"stratified\"";
            check(folder.path(), &(dataset.clone() + held_out), body.len() * times, " examples");
            if name == "flowers" {
                let scaled = format!("{dataset}{held_out}\nnormalise = \"standard\"");
                check(folder.path(), &scaled, body.len() * times, " examples");
            }
            fs::remove_file(folder.path().join(&file)).unwrap();
        }
    }
}

/// A header of NumPy's.
fn npy(descr: &str, fortran: bool, shape: &str) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn arrays_take_three_times_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let examples = SIZE / 1024;
    let labels: Vec<u8> = (0..examples).map(|at| (at % 10) as u8).collect();
    fs::write(
        folder.path().join("y_train.npy"),
        [npy("|u1", false, &format!("{examples},")), labels.clone()].concat(),
    )
    .unwrap();
    let body: Vec<u8> = (0..1 << 20).map(|at| (at % 63) as u8).collect();
    let times = SIZE >> 20;
    let held_out = "test_examples = 0.2\nsplit = \"stratified\"";
    for (descr, fortran, width) in
        [("<f4", false, 256), ("<f8", true, 128), ("|u1", true, 1024), ("<f2", false, 512)]
    {
        let head = npy(descr, fortran, &format!("{examples}, {width}"));
        for (end, bytes) in packed(&head, &body, times) {
            if descr != "<f4" && !end.is_empty() {
                continue;
            }
            // Packed or not, it has this name.
            fs::write(folder.path().join("x_train.npy"), bytes).unwrap();
            let dataset = format!("source = \"npy:.\" # {descr}{end}\n{held_out}");
            check(folder.path(), &dataset, SIZE, &format!("{examples} examples"));
        }
    }
    let word = |word: usize| (word as u32).to_be_bytes();
    let head = [&[0, 0, 8, 1][..], &word(examples)].concat();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), [head, labels].concat()).unwrap();
    let head = [&[0, 0, 8, 3][..], &word(examples), &word(32), &word(32)].concat();
    for (end, bytes) in packed(&head, &body, times) {
        let file = folder.path().join(format!("train-images-idx3-ubyte{end}"));
        fs::write(&file, bytes).unwrap();
        let dataset = format!("source = \"idx:.\" # {end}\n{held_out}");
        check(folder.path(), &dataset, SIZE, &format!("{examples} examples"));
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn records_without_an_end_take_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let quote = format!("a,b\n1,0\n\"{}", "x\n".repeat(SIZE / 2));
    let columns = ["1,2\n3,4\n", &",".repeat(SIZE)].concat();
    let end = |at: usize| if at.is_multiple_of(9999) { '\n' } else { ',' };
    let texts: String = (1..SIZE / 6).map(|at| format!("t{at:05x}{}", end(at))).collect();
    for (name, text) in [("quote", quote), ("columns", columns), ("texts", texts)] {
        fs::write(folder.path().join("x.csv"), &text).unwrap();
        check(folder.path(), &format!("source = \"csv:x.csv\" # {name}"), text.len(), "expected ");
    }
}
