//! [`SplitManifest`]: one split by the digests of its chunks.

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, invalid};
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

/// Bytes of a label in a chunk.
const LABEL_BYTES: u64 = 4;

/// Bytes of one example in a chunk.
pub(super) fn example_bytes(features: u32, element: FeatureType) -> u64 {
    u64::from(features) * element.bytes() as u64 + LABEL_BYTES
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
    /// Number of classes.
    pub classes: u32,
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
        range("classes", self.classes.into(), 1, limits::CLASSES.into())?;
        let example_bytes = example_bytes(self.features, self.element);
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
            outputs: self.classes,
        }
    }

    /// Bytes of an example in its chunk.
    pub fn example_bytes(&self) -> usize {
        example_bytes(self.features, self.element) as usize
    }

    /// The index of the chunk with example `index`.
    pub fn chunk_of(&self, index: u64) -> usize {
        (index / u64::from(self.chunk_examples.max(1))) as usize
    }

    /// Bytes that chunk `index` must have; 0 past the last.
    pub fn chunk_bytes(&self, index: usize) -> usize {
        let bytes = example_bytes(self.features, self.element);
        self.examples_of_chunk(index).saturating_mul(bytes) as usize
    }

    /// Examples that chunk `index` holds.
    fn examples_of_chunk(&self, index: usize) -> u64 {
        let first = (index as u64).saturating_mul(self.chunk_examples.into());
        self.examples.saturating_sub(first).min(self.chunk_examples.into())
    }

    /// Checks a chunk's bytes as they came from a peer: length, digest, label
    /// range, finite features. The manifest is a valid one.
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
        let labels = bytes.len() - self.examples_of_chunk(index) as usize * LABEL_BYTES as usize;
        let (features, labels) = bytes.split_at(labels);
        if let Some(label) = words(labels).find(|label| *label >= self.classes) {
            return Err(invalid(format!("labels below {} in chunk {index}", self.classes), label));
        }
        if self.element == FeatureType::F32 {
            let finite = |value: &f32| (value / self.scale).is_finite();
            if let Some(value) = words(features).map(f32::from_bits).find(|value| !finite(value)) {
                return Err(invalid(format!("finite features in chunk {index}"), value));
            }
        }
        Ok(())
    }

    /// Appends the scaled features and the label of `example` (its place in
    /// the split), of the chunk that holds it and whose bytes were checked
    /// before.
    pub fn read_example(
        &self,
        chunk: &[u8],
        example: u64,
        features: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) {
        let (values, label) = self.example_of(chunk, example);
        self.read(values, label, features, labels);
    }

    /// Copies the bytes of `example` out of its chunk, as
    /// [`read_example`](Self::read_example) would read them: its features, then its
    /// label, [`example_bytes`](Self::example_bytes) together.
    ///
    /// # Panics
    /// If `copy` has another length.
    pub fn copy_example(&self, chunk: &[u8], example: u64, copy: &mut [u8]) {
        let (values, label) = self.example_of(chunk, example);
        let (to_values, to_label) = copy.split_at_mut(values.len());
        to_values.copy_from_slice(values);
        to_label.copy_from_slice(label);
    }

    /// Appends the scaled features and the label of an example that
    /// [`copy_example`](Self::copy_example) has copied.
    pub fn read_copy(&self, copy: &[u8], features: &mut Vec<f32>, labels: &mut Vec<u32>) {
        let (values, label) = copy.split_at(copy.len() - LABEL_BYTES as usize);
        self.read(values, label, features, labels);
    }

    /// The bytes of the features and of the label of an example in its chunk.
    fn example_of<'a>(&self, chunk: &'a [u8], example: u64) -> (&'a [u8], &'a [u8]) {
        let place = (example % u64::from(self.chunk_examples)) as usize;
        let row = self.features as usize * self.element.bytes();
        let examples = chunk.len() / (row + LABEL_BYTES as usize);
        let label = examples * row + place * LABEL_BYTES as usize;
        (&chunk[place * row..(place + 1) * row], &chunk[label..label + LABEL_BYTES as usize])
    }

    fn read(&self, values: &[u8], label: &[u8], features: &mut Vec<f32>, labels: &mut Vec<u32>) {
        match self.element {
            FeatureType::U8 => features.extend(scale_bytes(values, self.scale)),
            FeatureType::F32 => {
                features.extend(words(values).map(|bits| f32::from_bits(bits) / self.scale));
            }
        }
        labels.extend(words(label));
    }

    /// Digest of the manifest: the identity of the data.
    pub fn digest(&self) -> Digest {
        let mut header = b"samebit split 1\n".to_vec();
        header.extend(self.examples.to_le_bytes());
        header.extend(self.features.to_le_bytes());
        header.extend(self.classes.to_le_bytes());
        header.push(self.element.bytes() as u8);
        header.extend(self.scale.to_bits().to_le_bytes());
        header.extend(self.chunk_examples.to_le_bytes());
        Digest::of_digests(&header, &self.chunks)
    }
}

/// Feature bytes divided by the scale in f32. All scaling is done here.
pub(super) fn scale_bytes(bytes: &[u8], scale: f32) -> impl Iterator<Item = f32> + '_ {
    bytes.iter().map(move |byte| f32::from(*byte) / scale)
}

/// Little-endian 32-bit words.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
