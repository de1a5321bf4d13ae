//! What tests of sources share: folders, and changed files.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Reading, Splits};
use crate::dataset::DatasetError;
use crate::spec::TargetKind;

/// Data to train on, with classes.
pub(super) const TO_TRAIN: Reading = Reading { targets: TargetKind::Class, to_train: true };

/// A folder with files; a name may have folders.
pub(super) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// The message of an error, which must be there.
pub(super) fn message(result: Result<Splits, DatasetError>) -> String {
    result.unwrap_err().to_string()
}

/// A change of a file: what to do, at which place, with which byte.
pub(super) type Edit = (u8, prop::sample::Index, u8);

pub(super) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((0..6_u8, any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

/// A file after some changes. Half of them are in its first bytes, where headers are.
pub(super) fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (kind, index, byte) in edits {
        let span = if kind % 2 == 0 { bytes.len() } else { bytes.len().min(96) };
        let at = index.index(span + 1).min(bytes.len().saturating_sub(1));
        match kind / 2 {
            _ if bytes.is_empty() => bytes.push(*byte),
            0 => bytes[at] ^= byte,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}
