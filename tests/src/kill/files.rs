//! Files of a run: records that are damaged, and final states, which must be
//! equal to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::binaries::binaries;
use crate::client::Client;

/// Where followers write the final state, each to a file that none wrote before.
const FINAL: &str = "final";

/// The file that a run of this spec writes where nothing happens; made once for
/// each.
pub(super) fn reference(spec: &str) -> Arc<Vec<u8>> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());
    // Others that ask wait: they may ask for the same.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = known.get(spec) {
        return bytes.clone();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spec.toml");
    let output = folder.path().join("final.safetensors");
    fs::write(&path, spec).expect("a spec can be written");
    let status = Command::new(&binaries().coordinator)
        .args(["run", "--local", "1", "--quiet", "--output"])
        .args([&output, &path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("a run starts");
    assert!(status.success(), "the reference ended with {status}");
    let bytes = Arc::new(fs::read(output).expect("the reference wrote its state"));
    known.insert(spec.to_owned(), bytes.clone());
    bytes
}

/// Follows a run, and brings its final state home.
pub(super) fn follow(folder: &Path, address: &str, run: u64) -> Client {
    let number = finals(folder).len();
    // It is there from now on, so that the next one takes another.
    let path = folder.join(format!("{FINAL}-{number}"));
    fs::write(&path, "").expect("a file can be written");
    Client::follow_to(folder, address, run, &path)
}

/// That the last two that followed a run to its end brought home what the
/// reference is.
pub(super) fn compare(folder: &Path, reference: &[u8]) -> Result<(), String> {
    let finals = finals(folder);
    for name in finals.iter().rev().take(2) {
        let found = fs::read(folder.join(name)).map_err(|error| error.to_string())?;
        if found != reference {
            let (found, expected) = (found.len(), reference.len());
            return Err(format!(
                "{name} has {found} bytes, and other ones than the {expected} of the reference"
            ));
        }
    }
    Ok(())
}

fn finals(folder: &Path) -> Vec<String> {
    let names = names(folder);
    let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with(FINAL)).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

/// Flips a bit of a record of a run; not if there is no manifest that it could be
/// restored from.
pub(super) fn damage(runs: &Path, run: u64, place: u64) -> bool {
    let folder = runs.join(run.to_string());
    let mut records = names(&folder);
    records.retain(|name| name.ends_with(".json"));
    records.sort();
    let is_manifest = |name: &String| name.starts_with("round-");
    if !records.iter().any(is_manifest) || records.iter().any(|name| name == "outcome.json") {
        return false;
    }
    let path = folder.join(&records[(place % records.len() as u64) as usize]);
    let mut bytes = fs::read(&path).expect("a record can be read");
    let bit = (place / 1000) % (8 * bytes.len() as u64);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    fs::write(&path, bytes).expect("a record can be written");
    true
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
