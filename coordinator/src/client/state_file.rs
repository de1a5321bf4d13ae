//! State files, which `--output` writes, and `--initial-state`, `evaluate` and `plot` read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use common::dataset::Schema;
use common::spec::RunSpec;
use common::state::{FileTensors, NetworkState, StateError};

use super::connection::Fetched;
use super::destination;
use crate::runs::History;

/// Metadata key of the model's name.
const MODEL: &str = "samebit.model";
/// Metadata key of the model's parameters, as TOML.
const PARAMETERS: &str = "samebit.parameters";
/// Metadata key of the whole spec, as TOML.
const SPEC: &str = "samebit.spec";
/// Metadata key of what the data means, as JSON.
const SCHEMA: &str = "samebit.schema";
/// Metadata key of the digest of the training examples, which the schema has, too.
const DATA: &str = "samebit.data";
/// Metadata key of the run's history, as JSON.
const HISTORY: &str = "samebit.history";

/// Limit of the header of a safetensors file, in bytes.
const HEADER_BYTES: u64 = 16 << 20;

/// Digits of a digest in a file name.
const KEPT_DIGITS: usize = 12;

/// Most files of one digest in a folder: equal states may have different metadata.
const KEPT_FILES: usize = 100;

/// The tensors of a state's file, and its metadata.
#[derive(Clone, Debug)]
pub struct StateFile {
    /// The tensors, as the file has them.
    pub tensors: FileTensors,
    /// The spec of its run, if the file has it.
    pub spec: Option<RunSpec>,
    /// What the data means that it was trained on, if the file has it.
    pub schema: Option<Schema>,
    /// The path of the file.
    path: PathBuf,
    /// The history of its run, as stored in the file.
    history: Option<String>,
}

impl StateFile {
    /// Reads a file, which other programs may have written.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let tensors = FileTensors::load(path)?;
        let mut metadata = read_metadata(path)?;
        let spec = metadata
            .get(SPEC)
            .map(|text| RunSpec::from_toml(text))
            .transpose()
            .map_err(|error| file_error(path, format!("metadata `{SPEC}`: {error}")))?;
        let schema = metadata.get(SCHEMA).map(|text| Schema::from_json(text)).transpose();
        let schema =
            schema.map_err(|error| file_error(path, format!("metadata `{SCHEMA}`: {error}")))?;
        Ok(Self { tensors, spec, schema, path: path.to_owned(), history: metadata.remove(HISTORY) })
    }

    /// The state, without a model: its tensors as f32 and u64. With a sentence about each that has
    /// another type in the file.
    pub fn into_state(self) -> Result<(NetworkState, Vec<String>), StateError> {
        self.tensors.into_state()
    }

    /// The history of the run. It is parsed on demand, as most commands do not need it.
    pub fn history(&self) -> Result<History, StateError> {
        let Some(text) = &self.history else {
            let message = "expected the history of a run, found none: use a file that `coordinator \
                           run --output` or `coordinator follow --output` wrote";
            return Err(file_error(&self.path, message.into()));
        };
        History::from_json(text)
            .map_err(|error| file_error(&self.path, format!("metadata `{HISTORY}`: {error}")))
    }

    /// Writes `state`, the result of `spec`, and the run's history. Equal runs write equal
    /// files. Writing to a device or pipe may block.
    pub fn save(path: &Path, fetched: &Fetched) -> Result<(), StateError> {
        let Fetched { state, .. } = fetched;
        let (digest, metadata) = (state.digest(), metadata(fetched)?);
        destination::write(path, |out| state.write_to(out, digest, &metadata))
            .map_err(|error| unwritable(path, &error))
    }

    /// Writes a state that could not be written to its destination to a new file in the
    /// current folder, or in the folder for temporary files.
    pub fn keep(fetched: &Fetched) -> Result<PathBuf, StateError> {
        Self::keep_in(Path::new(""), fetched)
            .or_else(|_| Self::keep_in(&std::env::temp_dir(), fetched))
    }

    /// Writes a new file in a folder. A file that is there already stays as it is: if it has the same
    /// bytes, as after an equal run, nothing is left to do, and otherwise the name gets a number.
    fn keep_in(folder: &Path, fetched: &Fetched) -> Result<PathBuf, StateError> {
        let Fetched { state, .. } = fetched;
        let (digest, metadata) = (state.digest(), metadata(fetched)?);
        let name = format!("samebit-{}", &digest.to_string()[..KEPT_DIGITS]);
        let content = |out: &mut dyn Write| state.write_to(out, digest, &metadata);
        for number in 1..=KEPT_FILES {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let path = folder.join(format!("{name}{number}.safetensors"));
            match destination::create(&path, content) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(unwritable(&path, &error));
                }
                Err(_) if destination::has(&path, content) => return Ok(path),
                Err(_) => {}
            }
        }
        let message = format!("expected fewer than {KEPT_FILES} files {name}*: remove some");
        Err(file_error(folder, message))
    }
}

fn metadata(fetched: &Fetched) -> Result<BTreeMap<String, String>, StateError> {
    let Fetched { spec, schema, history, .. } = fetched;
    let mut metadata = BTreeMap::from([
        (MODEL.to_owned(), spec.model.clone()),
        (PARAMETERS.to_owned(), spec.parameters.to_string()),
        (SPEC.to_owned(), spec.to_toml()),
        (HISTORY.to_owned(), history.to_json()),
    ]);
    if let Some(schema) = schema {
        let text = schema.to_json().map_err(|error| StateError::File {
            path: SCHEMA.into(),
            message: error.to_string(),
        })?;
        metadata.insert(SCHEMA.to_owned(), text);
        if let Some(data) = &schema.data {
            metadata.insert(DATA.to_owned(), data.train.to_string());
        }
    }
    Ok(metadata)
}

/// The `__metadata__` of a safetensors file: 8 bytes of length, little-endian,
/// then a JSON object.
fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, StateError> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(default, rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    let io = |error: io::Error| file_error(path, error.to_string());
    let mut file = File::open(path).map_err(io)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES {
        let message = format!("expected a header of at most {HEADER_BYTES} bytes, found {length}");
        return Err(file_error(path, message));
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(io)?;
    let header: Header = serde_json::from_slice(&text)
        .map_err(|error| file_error(path, format!("expected a JSON header, found {error}")))?;
    Ok(header.metadata)
}

/// Checks that a state could be written to `path` now, so that a long run does not fail at
/// its end.
pub fn check_output(path: &Path) -> Result<(), StateError> {
    destination::check(path).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> StateError {
    file_error(path, format!("cannot be written: {error}"))
}

fn file_error(path: &Path, message: String) -> StateError {
    StateError::File { path: path.display().to_string(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_history_and_one_without_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let spec = RunSpec::from_toml(RunSpec::example()).unwrap();
        let state = NetworkState::default();
        let history = History { confusion: vec![3, 0, 1, 2], ..History::default() };
        let json = r#"{"understood":"","shape":[4],"scale":1.0,"targets":{"classes":2}}"#;
        let schema = Some(Schema::from_json(json).unwrap());
        let fetched = Fetched { state, spec, schema, history };
        StateFile::save(&path, &fetched).unwrap();
        let Fetched { state, schema, history, .. } = fetched;
        assert_eq!(StateFile::load(&path).unwrap().schema, schema);
        assert_eq!(StateFile::load(&path).unwrap().history().unwrap(), history);

        state.save(&path, &BTreeMap::new()).unwrap();
        let error = StateFile::load(&path).unwrap().history().unwrap_err().to_string();
        assert!(error.contains("found none") && error.contains("run --output"), "{error}");
        let metadata = BTreeMap::from([(HISTORY.to_owned(), "{}".to_owned())]);
        state.save(&path, &metadata).unwrap();
        let error = StateFile::load(&path).unwrap().history().unwrap_err().to_string();
        assert!(error.contains("samebit.history") && error.contains("missing field"), "{error}");
    }

    #[test]
    fn a_state_that_was_kept_before_is_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let spec = RunSpec::from_toml(RunSpec::example()).unwrap();
        let mut fetched = Fetched {
            state: NetworkState::default(),
            spec,
            schema: None,
            history: History::default(),
        };
        let first = StateFile::keep_in(folder.path(), &fetched).unwrap();
        let bytes = std::fs::read(&first).unwrap();
        assert_eq!(StateFile::keep_in(folder.path(), &fetched).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // The same state of another run.
        fetched.spec.seed += 1;
        let second = StateFile::keep_in(folder.path(), &fetched).unwrap();
        assert!(second != first && second.display().to_string().ends_with("-2.safetensors"));
        assert_eq!(StateFile::keep_in(folder.path(), &fetched).unwrap(), second);
        assert_eq!(std::fs::read(&first).unwrap(), bytes);
    }

    #[test]
    fn headers_are_bounded_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(read_metadata(&path).unwrap_err().to_string().contains("at most"));
        std::fs::write(&path, [2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']).unwrap();
        assert_eq!(read_metadata(&path).unwrap(), BTreeMap::new());
        std::fs::write(&path, [3]).unwrap();
        assert!(read_metadata(&path).is_err());
    }
}
