//! Records on disk: a JSON object with a record and its digest, so that damaged records are
//! recognised.
//!
//! ```json
//! { "format": 2, "digest": "<64 hexadecimal digits>", "record": { … } }
//! ```
//!
//! The digest is SHA-256 over a header with the record's kind and over the bytes of `record`
//! in the file.

use std::path::Path;

use common::digest::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{FORMAT, RunsError};

/// A type of record.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// The kind, which is part of the digest: one kind is never read as another.
    const KIND: &'static str;
}

/// Only the version, ignoring all other fields.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    format: u32,
    digest: Digest,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// A record as it stands in its file.
pub(super) fn seal<T: Record>(record: &T) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::to_string_pretty(record)?;
    let digest = digest(T::KIND, &record);
    let record = RawValue::from_string(record)?;
    serde_json::to_vec_pretty(&Sealed { format: FORMAT, digest, record: &record })
}

/// The record of a file, which must be intact.
pub(super) fn open<T: Record>(path: &Path, content: &[u8]) -> Result<T, RunsError> {
    let damaged = |found: &dyn std::fmt::Display| RunsError::DamagedRecord {
        path: path.display().to_string(),
        expected: T::KIND,
        found: found.to_string(),
    };
    let version: Versioned = serde_json::from_slice(content).map_err(|error| damaged(&error))?;
    if version.format != FORMAT {
        let (path, found) = (path.display().to_string(), version.format);
        return Err(RunsError::Format { path, found });
    }
    let sealed: Sealed<'_> = serde_json::from_slice(content).map_err(|error| damaged(&error))?;
    let found = digest(T::KIND, sealed.record.get());
    if found != sealed.digest {
        return Err(damaged(&format!("digest {found} instead of {}", sealed.digest)));
    }
    serde_json::from_str(sealed.record.get()).map_err(|error| damaged(&error))
}

/// The digest of a record's text.
fn digest(kind: &str, text: &str) -> Digest {
    Digest::of(format!("samebit-record-{FORMAT}\n{kind}\n{text}").as_bytes())
}
