//! [`SplitManifest`]: one split by the digests of its chunks.

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, invalid};
use super::targets::{ExampleBuffer, TargetType};
use crate::digest::Digest;
use crate::limits;

/// Type of a feature value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    /// One byte.
    U8,
    /// Four bytes, little-endian.
    F32,
}

impl FeatureType {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
        }
    }
}

/// Bytes of one example in a chunk.
pub(super) fn example_bytes(features: u32, element: FeatureType, targets: TargetType) -> u64 {
    u64::from(features) * element.bytes() as u64 + targets.bytes()
}

/// The size of a split and of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitSize {
    /// Number of examples.
    pub examples: u64,
    /// Examples in every chunk but the last.
    pub chunk_examples: u64,
    /// Bytes of an example in its chunk.
    pub example_bytes: u64,
    /// Scores that a model gives for an example.
    pub outputs: u32,
}

impl SplitSize {
    /// A split of examples of one byte and one score each, in one chunk.
    pub fn of_one_chunk(examples: u64) -> Self {
        Self { examples, chunk_examples: examples.max(1), example_bytes: 1, outputs: 1 }
    }
}

/// One split as its chunks' digests, as it is submitted with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitManifest {
    /// Number of examples.
    pub examples: u64,
    /// Features of one example.
    pub features: u32,
    /// The shape of one example, as `[28, 28]`: it has as many values as there are features.
    pub shape: Vec<u32>,
    /// What each example has as its target.
    pub targets: TargetType,
    /// Type of the feature values in the chunks.
    pub element: FeatureType,
    /// The divisor of feature values, in f32.
    pub scale: f32,
    /// Examples in every chunk but the last.
    pub chunk_examples: u32,
    /// Digest of each chunk's bytes, in order. An empty split has none.
    pub chunks: Vec<Digest>,
}

impl SplitManifest {
    /// Checks counts and bounds, as they came from a peer.
    pub fn validate(&self) -> Result<(), DatasetError> {
        self.validate_but_chunks()?;
        let chunks = self.examples.div_ceil(u64::from(self.chunk_examples));
        if self.chunks.len() as u64 != chunks {
            return Err(invalid(format!("{chunks} chunks"), self.chunks.len()));
        }
        Ok(())
    }

    /// [`SplitManifest::validate`] before there are any chunks.
    pub(super) fn validate_but_chunks(&self) -> Result<(), DatasetError> {
        let range = |name: &str, value: u64, least: u64, most: u64| {
            if value < least || value > most {
                return Err(invalid(format!("{name} from {least} to {most}"), value));
            }
            Ok(())
        };
        range("examples", self.examples, 0, limits::EXAMPLES)?;
        range("features of an example", self.features.into(), 1, limits::FEATURES.into())?;
        range("axes of an example", self.shape.len() as u64, 1, limits::DIMENSIONS as u64)?;
        let values = values(&self.shape);
        if values != u64::from(self.features) {
            let expected = format!("a shape of {} features", self.features);
            return Err(invalid(expected, format!("{values} in {:?}", self.shape)));
        }
        self.targets.check()?;
        let example_bytes = self.example_bytes() as u64;
        range("bytes of an example", example_bytes, 1, limits::PAYLOAD_BYTES as u64)?;
        let most = limits::PAYLOAD_BYTES as u64 / example_bytes;
        range("examples in a chunk", self.chunk_examples.into(), 1, most)?;
        let chunks = self.examples.div_ceil(self.chunk_examples.into());
        range("chunks", chunks, 0, limits::DATASET_CHUNKS as u64)?;
        // The largest byte must stay finite; f32 features are checked one by one.
        if !(self.scale > 0.0 && self.scale.is_finite() && (255.0 / self.scale).is_finite()) {
            return Err(invalid("a scale that is finite and well above 0", self.scale));
        }
        Ok(())
    }

    /// The size of the split and of its chunks.
    pub fn size(&self) -> SplitSize {
        SplitSize {
            examples: self.examples,
            chunk_examples: self.chunk_examples.into(),
            example_bytes: self.example_bytes() as u64,
            outputs: self.targets.outputs(),
        }
    }

    /// Bytes of an example in its chunk.
    pub fn example_bytes(&self) -> usize {
        example_bytes(self.features, self.element, self.targets) as usize
    }

    /// Checks that the examples of another split are of the same kind, unless one has none.
    pub fn check_alike(&self, other: &Self) -> Result<(), DatasetError> {
        if self.examples == 0 || other.examples == 0 {
            return Ok(());
        }
        if self.shape != other.shape {
            let expected = format!("examples of one shape in both splits, {:?}", self.shape);
            return Err(invalid(expected, format!("{:?} in the other", other.shape)));
        }
        if self.targets.with(other.targets).is_none() {
            let expected = format!("targets of one kind in both splits, {}", self.targets);
            return Err(invalid(expected, format!("{} in the other", other.targets)));
        }
        Ok(())
    }

    /// The index of the chunk with example `index`.
    pub fn chunk_of(&self, index: u64) -> usize {
        (index / u64::from(self.chunk_examples.max(1))) as usize
    }

    /// Bytes that chunk `index` must have; 0 past the last.
    pub fn chunk_bytes(&self, index: usize) -> usize {
        self.examples_of_chunk(index).saturating_mul(self.example_bytes() as u64) as usize
    }

    /// Examples that chunk `index` holds.
    fn examples_of_chunk(&self, index: usize) -> u64 {
        let first = (index as u64).saturating_mul(self.chunk_examples.into());
        self.examples.saturating_sub(first).min(self.chunk_examples.into())
    }

    /// Checks a chunk's bytes as they came from a peer: length, digest, finite features, and
    /// classes in their range or finite numbers as targets. The manifest is a valid one.
    pub fn check_chunk(&self, index: usize, bytes: &[u8]) -> Result<(), DatasetError> {
        let Some(digest) = self.chunks.get(index) else {
            return Err(invalid(format!("a chunk below {}", self.chunks.len()), index));
        };
        if bytes.len() != self.chunk_bytes(index) {
            let expected = format!("{} bytes in chunk {index}", self.chunk_bytes(index));
            return Err(invalid(expected, bytes.len()));
        }
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(invalid(format!("digest {digest} of chunk {index}"), found));
        }
        let targets = self.examples_of_chunk(index) as usize * self.targets.bytes() as usize;
        let (features, targets) = bytes.split_at(bytes.len() - targets);
        match self.targets {
            TargetType::None => {}
            TargetType::Classes(count) => {
                if let Some(label) = words(targets).find(|label| *label >= count) {
                    return Err(invalid(format!("labels below {count} in chunk {index}"), label));
                }
            }
            TargetType::Vector(_) => {
                if let Some(value) = floats(targets).find(|value| !value.is_finite()) {
                    return Err(invalid(format!("finite targets in chunk {index}"), value));
                }
            }
        }
        if self.element == FeatureType::F32 {
            let finite = |value: &f32| (value / self.scale).is_finite();
            if let Some(value) = floats(features).find(|value| !finite(value)) {
                return Err(invalid(format!("finite features in chunk {index}"), value));
            }
        }
        Ok(())
    }

    /// Appends the scaled features and the target of `example` (its place in
    /// the split), of the chunk that holds it and whose bytes were checked
    /// before.
    pub fn read_example(&self, chunk: &[u8], example: u64, into: &mut ExampleBuffer) {
        let (values, target) = self.example_of(chunk, example);
        self.read(values, target, into);
    }

    /// Copies the bytes of `example` out of its chunk, as
    /// [`read_example`](Self::read_example) would read them: its features, then its
    /// target, [`example_bytes`](Self::example_bytes) together.
    ///
    /// # Panics
    /// If `copy` has another length.
    pub fn copy_example(&self, chunk: &[u8], example: u64, copy: &mut [u8]) {
        let (values, target) = self.example_of(chunk, example);
        let (to_values, to_target) = copy.split_at_mut(values.len());
        to_values.copy_from_slice(values);
        to_target.copy_from_slice(target);
    }

    /// Appends the scaled features and the target of an example that
    /// [`copy_example`](Self::copy_example) has copied.
    pub fn read_copy(&self, copy: &[u8], into: &mut ExampleBuffer) {
        let (values, target) = copy.split_at(copy.len() - self.targets.bytes() as usize);
        self.read(values, target, into);
    }

    /// The bytes of the features and of the target of an example in its chunk.
    fn example_of<'a>(&self, chunk: &'a [u8], example: u64) -> (&'a [u8], &'a [u8]) {
        let place = (example % u64::from(self.chunk_examples)) as usize;
        let row = self.features as usize * self.element.bytes();
        let target = self.targets.bytes() as usize;
        let first = chunk.len() / (row + target) * row + place * target;
        (&chunk[place * row..(place + 1) * row], &chunk[first..first + target])
    }

    fn read(&self, values: &[u8], target: &[u8], into: &mut ExampleBuffer) {
        match self.element {
            FeatureType::U8 => into.features.extend(scale_bytes(values, self.scale)),
            FeatureType::F32 => {
                into.features.extend(floats(values).map(|value| value / self.scale));
            }
        }
        match self.targets {
            TargetType::None => {}
            TargetType::Classes(_) => into.classes.extend(words(target)),
            TargetType::Vector(_) => into.vectors.extend(floats(target)),
        }
    }

    /// Digest of the manifest: the identity of the data.
    pub fn digest(&self) -> Digest {
        let mut header = b"samebit split 2\n".to_vec();
        header.extend(self.examples.to_le_bytes());
        header.extend((self.shape.len() as u32).to_le_bytes());
        self.shape.iter().for_each(|length| header.extend(length.to_le_bytes()));
        let (kind, count) = self.targets.code();
        header.push(kind);
        header.extend(count.to_le_bytes());
        header.push(self.element.bytes() as u8);
        header.extend(self.scale.to_bits().to_le_bytes());
        header.extend(self.chunk_examples.to_le_bytes());
        Digest::of_digests(&header, &self.chunks)
    }
}

/// Feature bytes divided by the scale in f32.
fn scale_bytes(bytes: &[u8], scale: f32) -> impl Iterator<Item = f32> + '_ {
    bytes.iter().map(move |byte| f32::from(*byte) / scale)
}

/// Values of an example of this shape.
pub(super) fn values(shape: &[u32]) -> u64 {
    shape.iter().fold(1, |values: u64, length| values.saturating_mul((*length).into()))
}

/// Little-endian single-precision numbers.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    words(bytes).map(f32::from_bits)
}

/// Little-endian 32-bit words.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
