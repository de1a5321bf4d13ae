//! States as safetensors files, which numpy, PyTorch and others can read.
//!
//! ```text
//! u64 little-endian   length of the header
//! header              JSON: name → type, shape, offsets; and string metadata
//! values              little-endian, one tensor after another
//! ```
//!
//! The metadata has a rule for each tensor (`samebit.rule.NAME`) and the
//! state's digest (`samebit.digest`). Equal states with equal metadata make
//! equal files.
//!
//! [`NetworkState::load`] reads such a file as it is. [`FileTensors`] reads one of any program, to be
//! adapted to a model.

pub(super) mod numbers;
mod other;
mod tensors;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::tensor::Metadata;
use safetensors::{Dtype, tensor::TensorInfo};
use serde::Serialize;
use serde::de::IntoDeserializer;

use super::{ElementType, Layout, NetworkState, StateError, TensorLayout};
use crate::digest::Digest;
use crate::limits;
use crate::merge::MergeRule;

use tensors::element_of;
pub(super) use tensors::{FileTensor, misfit_text, own_type};
pub use tensors::{FileTensors, as_file_tensors};

/// Limit of a header, in bytes: far more than [`limits::TENSORS`] tensors and a spec need.
const HEADER_BYTES: u64 = 4 << 20;

/// Prefix of the metadata keys of rules; the tensor's name follows.
const RULE: &str = "samebit.rule.";

/// Metadata key of the state's digest.
const DIGEST: &str = "samebit.digest";

/// One tensor in the header.
#[derive(Serialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl NetworkState {
    /// Reads a safetensors file; rules come from its metadata
    /// (`samebit.rule.NAME`), by default `mean` (f32, f64) or `sum` (u64, i64). If the metadata has a
    /// digest, it is checked.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let file = File::open(path).map_err(|error| file_error(path, error.to_string()))?;
        let (mut file, header) = read_header(path, file)?;
        let (layout, order) = layout_of(path, &header)?;
        let mut state =
            Self::zeros(&layout).map_err(|error| file_error(path, error.to_string()))?;
        let mut payload = Vec::new();
        for (index, segment) in order.iter().flat_map(|place| segments_of(&layout, *place)) {
            let bytes = segment.range.len() * layout.tensors[segment.tensor].element.bytes();
            payload.resize(bytes, 0);
            file.read_exact(&mut payload).map_err(|error| {
                let name = &layout.tensors[segment.tensor].name;
                file_error(path, format!("tensor `{name}`: {error}"))
            })?;
            state
                .write_segment(index, &segment, &payload)
                .map_err(|error| file_error(path, error.to_string()))?;
        }
        check_digest(path, &header, || state.digest())?;
        Ok(state)
    }

    /// Writes a safetensors file under a temporary name, flushes it to disk, and renames it.
    /// `metadata` is added to the rules and the digest.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<(), StateError> {
        let temporary = temporary_name(path);
        let outcome = File::create(&temporary)
            .map(BufWriter::new)
            .and_then(|mut file| {
                self.write_to(&mut file, self.digest(), metadata)?;
                file.into_inner()?.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_folder(path));
        outcome.map_err(|error| {
            // The file may not exist, so this may fail.
            let _ = fs::remove_file(&temporary);
            file_error(path, format!("cannot be written: {error}"))
        })
    }

    /// Writes the bytes of a safetensors file, piece by piece. `digest` is the state's, which
    /// takes long to compute and is often known.
    pub fn write_to(
        &self,
        file: &mut (impl Write + ?Sized),
        digest: Digest,
        metadata: &BTreeMap<String, String>,
    ) -> std::io::Result<()> {
        let layout = self.layout();
        let order = file_order(&layout);
        let header = header(&layout, &order, digest, metadata)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, segment) in order.iter().flat_map(|place| segments_of(&layout, *place)) {
            file.write_all(&self.segment_bytes(&segment))?;
        }
        Ok(())
    }
}

fn header(
    layout: &Layout,
    order: &[usize],
    digest: Digest,
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<Vec<u8>> {
    let mut metadata = metadata.clone();
    for tensor in &layout.tensors {
        metadata.insert(format!("{RULE}{}", tensor.name), tensor.rule.to_string());
    }
    metadata.insert(DIGEST.into(), digest.to_string());

    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut start = 0;
    for tensor in order.iter().map(|place| &layout.tensors[*place]) {
        let end = start + (tensor.elements() * tensor.element.bytes()) as u64;
        let dtype = own_type(tensor.element);
        let entry = Entry { dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        header.insert(tensor.name.clone(), serde_json::to_value(entry)?);
        start = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // Spaces, so that the values begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn file_error(path: &Path, message: String) -> StateError {
    StateError::File { path: path.display().to_string(), message }
}

/// Indexes of the tensors in the order of a file: wider types first, so that all are aligned.
fn file_order(layout: &Layout) -> Vec<usize> {
    let mut order: Vec<usize> = (0..layout.tensors.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(layout.tensors[*place].element.bytes()));
    order
}

/// The state segments of the tensor at an index, numbered.
fn segments_of(layout: &Layout, place: usize) -> impl Iterator<Item = (usize, super::Segment)> {
    let segments = layout.state_segments().into_iter().enumerate();
    segments.filter(move |(_, segment)| segment.tensor == place)
}

/// Reads the header, and checks its length and its tensors' lengths against the file's.
fn read_header(path: &Path, mut file: File) -> Result<(File, Metadata), StateError> {
    let io_error = |error: std::io::Error| file_error(path, error.to_string());
    let file_bytes = file.metadata().map_err(io_error)?.len();
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(other::BYTES as u64).read_to_end(&mut start).map_err(io_error)?;
    // A file of another kind is named as such, wherever it is found to be none of this one.
    let error = |message: String| {
        file_error(
            path,
            match other::kind(&start) {
                Some((what, advice)) => {
                    format!("expected a safetensors file, found {what}: {advice}")
                }
                None => message,
            },
        )
    };
    let Some(length) = start.first_chunk() else {
        return Err(error(format!(
            "expected a safetensors file of at least 8 bytes, found {file_bytes}"
        )));
    };
    let length = u64::from_le_bytes(*length);
    let longest = HEADER_BYTES.min(file_bytes.saturating_sub(8));
    if length > longest {
        return Err(error(format!(
            "expected a safetensors file with a header of at most {longest} bytes, found a length of \
             {length}: the file has another format, or is truncated"
        )));
    }
    let mut header = vec![0; length as usize];
    file.seek(SeekFrom::Start(8)).map_err(io_error)?;
    file.read_exact(&mut header).map_err(io_error)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|reason| error(format!("expected a safetensors header, found: {reason}")))?;
    let expected = (8 + length).saturating_add(header.data_len() as u64);
    if expected != file_bytes {
        return Err(error(format!(
            "expected {expected} bytes, as its header says, found {file_bytes}"
        )));
    }
    Ok((file, header))
}

/// The layout in a header, and the offsets of its tensors in the order of the file.
fn layout_of(path: &Path, header: &Metadata) -> Result<(Layout, Vec<usize>), StateError> {
    let infos: BTreeMap<String, &TensorInfo> = header.tensors().into_iter().collect();
    let mut tensors = Vec::with_capacity(infos.len().min(limits::TENSORS));
    for (name, info) in &infos {
        let Some(element) = element_of(info.dtype) else {
            let message = format!(
                "tensor `{name}`: expected elements of type F32, F64, U64 or I64, found {:?}",
                info.dtype
            );
            return Err(file_error(path, message));
        };
        let shape = info.shape.iter().map(|axis| *axis as u64).collect();
        let rule = rule_given(path, header, name)?.unwrap_or_else(|| default_rule(element));
        tensors.push(TensorLayout { name: name.clone(), shape, element, rule });
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|place| infos[&tensors[*place].name].data_offsets);
    let layout = Layout { tensors };
    layout.validate().map_err(|error| file_error(path, error.to_string()))?;
    Ok((layout, order))
}

fn metadata_of<'a>(header: &'a Metadata, key: &str) -> Option<&'a String> {
    header.metadata().as_ref()?.get(key)
}

/// The rule of a tensor whose file names none.
fn default_rule(element: ElementType) -> MergeRule {
    if element.is_real() { MergeRule::Mean } else { MergeRule::Sum }
}

/// The rule that the metadata of a file gives a tensor.
fn rule_given(path: &Path, header: &Metadata, name: &str) -> Result<Option<MergeRule>, StateError> {
    let Some(text) = metadata_of(header, &format!("{RULE}{name}")) else { return Ok(None) };
    let rule: Result<MergeRule, serde::de::value::Error> =
        serde::Deserialize::deserialize(text.as_str().into_deserializer());
    rule.map(Some).map_err(|_| {
        let message = format!(
            "tensor `{name}`: expected the rule mean, mean_by, sum, max, fold or keep in the \
             metadata `{RULE}{name}`, found {text:?}"
        );
        file_error(path, message)
    })
}

/// Compares the digest in the metadata, if it has one, with that of the tensors.
fn check_digest(
    path: &Path,
    header: &Metadata,
    digest: impl FnOnce() -> Digest,
) -> Result<(), StateError> {
    let Some(expected) = metadata_of(header, DIGEST) else {
        return Ok(());
    };
    let found = digest();
    if *expected == found.to_string() {
        return Ok(());
    }
    let (path, expected) = (path.display().to_string(), expected.clone());
    Err(StateError::Digest { path, expected, found })
}

/// A name beside `path` that no other save uses.
fn temporary_name(path: &Path) -> PathBuf {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let save = SAVES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{save}.temporary", std::process::id()))
}

/// Flushes a rename to disk.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
