//! [`Examples`]: one split in memory, and its chunks.

use bytes::Bytes;
use rayon::prelude::*;

use super::error::{DatasetError, invalid};
use super::features::Features;
use super::manifest::{SplitManifest, SplitSize, example_bytes, values};
use super::targets::{ExampleBuffer, TargetType, TargetValues};
use crate::digest::Digest;
use crate::limits;

/// Examples of one split. The constructors check that the fields agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    features: Features,
    targets: TargetValues,
    /// The shape of one example.
    shape: Vec<u32>,
    /// Features of one example.
    width: u32,
    scale: f32,
}

impl Examples {
    /// Examples of `width` features with a class each, as [`Examples::with_targets`] checks them.
    pub fn new(
        features: Features,
        labels: Vec<u32>,
        width: u32,
        classes: u32,
        scale: f32,
    ) -> Result<Self, DatasetError> {
        let targets = TargetValues::Classes { labels, count: classes };
        Self::with_targets(features, targets, vec![width], scale)
    }

    /// Checks that counts agree, classes are in their range and other targets finite, and features
    /// are finite, also when divided by `scale`. `shape` is that of one example, as `[28, 28]`.
    pub fn with_targets(
        features: Features,
        targets: TargetValues,
        shape: Vec<u32>,
        scale: f32,
    ) -> Result<Self, DatasetError> {
        let width = u32::try_from(values(&shape)).unwrap_or(u32::MAX);
        let examples = Self { features, targets, shape, width, scale };
        // The limits for a manifest from a peer hold here as well.
        examples.header().validate_but_chunks()?;
        let found = examples.features.len();
        let count = match &examples.targets {
            TargetValues::Classes { labels, .. } => labels.len() as u64,
            _ => examples.len(),
        };
        if found as u64 != count * u64::from(width) {
            let all = count * u64::from(width);
            let expected = format!("{all} feature values ({count} examples of {width})");
            return Err(invalid(expected, found));
        }
        examples.targets.check(count)?;
        let is_finite = |value: f32| (value / scale).is_finite();
        if let Some((at, value)) = examples.features.first_not(width as usize, is_finite) {
            let (example, feature) = (at / width as usize, at % width as usize);
            let found = format!("{value} (example {example}, feature {feature})");
            return Err(invalid(format!("features that divided by {scale} are finite"), found));
        }
        Ok(examples)
    }

    /// Number of examples.
    pub fn len(&self) -> u64 {
        self.features.len() as u64 / u64::from(self.width.max(1))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Features of one example.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The shape of one example, as `[28, 28]`.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// What each example has as its target.
    pub fn target_type(&self) -> TargetType {
        self.targets.target_type()
    }

    /// The divisor of feature values.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The feature values, `[examples, width]`, not scaled.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The targets of all examples.
    pub fn targets(&self) -> &TargetValues {
        &self.targets
    }

    /// The class of each example; empty if they have none.
    pub fn labels(&self) -> &[u32] {
        match &self.targets {
            TargetValues::Classes { labels, .. } => labels,
            _ => &[],
        }
    }

    /// Appends the scaled features and the target of one example; `None` if
    /// there is no such example.
    pub(super) fn read(&self, example: u64, into: &mut ExampleBuffer) -> Option<()> {
        let at = usize::try_from(example).ok().filter(|_| example < self.len())?;
        let first = into.features.len();
        self.features.append(at, self.width as usize, &mut into.features);
        into.features[first..].iter_mut().for_each(|value| *value /= self.scale);
        self.targets.read(at, into);
        Some(())
    }

    /// The split as its chunks' digests. Each chunk's bytes are
    /// [`Examples::chunk`]'s, so that only some need be in memory at a time.
    pub fn manifest(&self) -> SplitManifest {
        let mut manifest = self.header();
        let chunks = self.len().div_ceil(u64::from(manifest.chunk_examples)) as usize;
        let chunks = (0..chunks).into_par_iter();
        // One buffer a thread stays in its cache.
        let digests = chunks.map_init(Vec::new, |chunk, index| {
            chunk.clear();
            self.write_chunk(index, chunk);
            Digest::of(chunk)
        });
        manifest.chunks = digests.collect();
        manifest
    }

    /// The bytes of chunk `index` of [`Examples::manifest`]: all features of
    /// its examples, then all targets, little-endian: classes as u32, numbers as f32.
    ///
    /// # Panics
    /// If the manifest has no such chunk.
    pub fn chunk(&self, index: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(self.header().chunk_bytes(index));
        self.write_chunk(index, &mut bytes);
        bytes.into()
    }

    fn write_chunk(&self, index: usize, bytes: &mut Vec<u8>) {
        let header = self.header();
        let chunk_examples = header.chunk_examples as usize;
        let (first, examples) = (index * chunk_examples, self.len() as usize);
        assert!(first < examples, "chunk {index} of {examples} examples does not exist");
        let rows = first..(first + chunk_examples).min(examples);
        self.features.write(rows.clone(), self.width as usize, bytes);
        self.targets.write(rows, bytes);
    }

    /// The size of the split and of its chunks.
    pub fn size(&self) -> SplitSize {
        self.header().size()
    }

    /// The manifest without its chunks: each holds as many examples as fit.
    fn header(&self) -> SplitManifest {
        let (element, targets) = (self.features.element(), self.target_type());
        let bytes = example_bytes(self.width, element, targets);
        let chunk_examples = limits::PAYLOAD_BYTES as u64 / bytes.max(1);
        SplitManifest {
            examples: self.len(),
            features: self.width,
            shape: self.shape.clone(),
            targets,
            element,
            scale: self.scale,
            chunk_examples: chunk_examples as u32,
            chunks: Vec::new(),
        }
    }
}
