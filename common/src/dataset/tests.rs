#[cfg(target_os = "linux")]
mod memory;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::limits;

fn spec(source: &str) -> DatasetSpec {
    DatasetSpec::new(source)
}

/// Reads all of a split through its chunks, as a worker does.
fn through_chunks(examples: &Examples) -> ExampleBuffer {
    let manifest = examples.manifest();
    manifest.validate().unwrap();
    let (mut read, mut copied) = (ExampleBuffer::default(), ExampleBuffer::default());
    let mut copy = vec![0; manifest.example_bytes()];
    for example in 0..manifest.examples {
        let index = manifest.chunk_of(example);
        let chunk = examples.chunk(index);
        manifest.check_chunk(index, &chunk).unwrap();
        manifest.read_example(&chunk, example, &mut read);
        manifest.copy_example(&chunk, example, &mut copy);
        manifest.read_copy(&copy, &mut copied);
    }
    assert_eq!(bits(&read), bits(&copied));
    read
}

fn gathered(examples: &Examples) -> ExampleBuffer {
    let dataset = Dataset { train: examples.clone(), test: examples.clone() };
    let mut gathered = ExampleBuffer::default();
    let all: Vec<u64> = (0..examples.len()).collect();
    dataset.gather(Split::Test, &all, &mut gathered).unwrap();
    gathered
}

fn bits(examples: &ExampleBuffer) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let of = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (of(&examples.features), examples.classes.clone(), of(&examples.vectors))
}

#[test]
fn digits_are_embedded() {
    let digits = Dataset::load(&spec("digits")).unwrap();
    assert_eq!((digits.train.len(), digits.test.len()), (1438, 359));
    assert_eq!(
        (digits.train.shape(), digits.train.target_type()),
        (&[8, 8][..], TargetType::Classes(10))
    );
    assert_eq!(digits.test.labels()[..5], [4, 9, 4, 9, 4]);
    let mut first = ExampleBuffer::default();
    digits.gather(Split::Train, &[0], &mut first).unwrap();
    assert_eq!(first.classes, [0]);
    assert_eq!(first.features[..8], [0.0, 0.0, 0.3125, 0.8125, 0.5625, 0.0625, 0.0, 0.0]);
    // The data's identity: a change of it changes the digest of every run.
    let digest = "1f5a92ab2e07078af4f34f2c94735886cfa3586b2ccd1f8455708fea0abaf4c2";
    assert_eq!(digits.train.manifest().digest().to_string(), digest);
    let digest = "5aa58f1c9b92c9af988d7b885616cc0db15f19e89cf3bfafca0de003e8e08453";
    assert_eq!(digits.test.manifest().digest().to_string(), digest);
}

#[test]
fn every_source_that_loads_is_described() {
    let names: Vec<_> = sources().iter().map(|(name, _)| *name).collect();
    let all = [
        "digits",
        "csv:FILE",
        "idx:FOLDER",
        "npy:FOLDER",
        "npz:FILE",
        "safetensors:FILE",
        "parquet:PATH",
    ];
    assert_eq!(names, all);
    for name in ["", "digit", "digits:", "idx", "idx:", "csv:", "http://host/x"] {
        let error = Dataset::load(&spec(name)).unwrap_err();
        assert!(matches!(error, DatasetError::Source(_)), "{name}: {error}");
    }
}

#[test]
fn a_scale_in_the_spec_takes_the_place_of_the_sources() {
    let digits = Dataset::load(&DatasetSpec { scale: Some(4.0), ..spec("digits") }).unwrap();
    let mut first = ExampleBuffer::default();
    digits.gather(Split::Train, &[0], &mut first).unwrap();
    assert_eq!(first.features[2..4], [1.25, 3.25]);
}

#[test]
fn examples_that_do_not_exist_are_an_error() {
    let digits = Dataset::load(&spec("digits")).unwrap();
    for example in [359, u64::MAX] {
        let result = digits.gather(Split::Test, &[0, example], &mut ExampleBuffer::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("of the Test split below 359"), "{error}");
    }
}

#[test]
fn an_empty_split_has_no_chunks() {
    let empty = Examples::new(Features::U8(vec![]), vec![], 3, 2, 1.0).unwrap();
    let manifest = empty.manifest();
    manifest.validate().unwrap();
    assert!(empty.is_empty() && manifest.chunks.is_empty());
    assert_eq!(manifest.chunk_bytes(0), 0);
    assert!(manifest.check_chunk(0, &[]).is_err());
}

#[test]
fn examples_that_do_not_agree_are_refused() {
    let wide = limits::PAYLOAD_BYTES as u32 / 4;
    let cases = [
        (vec![1.0; 5], vec![0, 1], 2, 2, 1.0, "expected 4 feature values (2 examples of 2)"),
        (vec![1.0; 4], vec![0, 2], 2, 2, 1.0, "expected labels below 2, found 2 of example 1"),
        (vec![1.0, f32::NAN], vec![0], 2, 2, 1.0, "found NaN (example 0, feature 1)"),
        (vec![1.0, 1e30], vec![0], 2, 2, 1e-20, "divided by 0.00000000000000000001 are finite"),
        (vec![], vec![], 0, 2, 1.0, "features of an example from 1"),
        (vec![], vec![], 1, 0, 1.0, "classes from 1"),
        (vec![], vec![], 1, 1, 0.0, "a scale that is finite"),
        (vec![], vec![], 1, 1, f32::NAN, "a scale that is finite"),
        (vec![], vec![], wide, 1, 1.0, "bytes of an example from 1 to 1048576"),
        (vec![], vec![], u32::MAX, 1, 1.0, "features of an example from 1"),
    ];
    for (features, labels, width, classes, scale, expected) in cases {
        let made = Examples::new(Features::F32(features), labels, width, classes, scale);
        let error = made.expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn manifests_from_a_peer_are_checked() {
    type Change = fn(&mut SplitManifest);
    let cases: [(Change, &str); 14] = [
        (|m| m.examples += 1_000_000, "chunks, found 1"),
        (|m| m.examples = u64::MAX, "examples from 0"),
        (|m| m.features = 0, "features of an example"),
        (|m| m.features = u32::MAX, "features of an example"),
        (|m| m.shape = vec![8, 7], "a shape of 64 features, found 56 in [8, 7]"),
        (|m| m.shape = vec![u32::MAX; 3], "a shape of 64 features"),
        (|m| m.shape = vec![1; 9], "axes of an example from 1 to 8"),
        (|m| m.targets = TargetType::Classes(limits::CLASSES + 1), "classes from 1"),
        (|m| m.targets = TargetType::Vector(0), "numbers in a target from 1"),
        (|m| m.scale = f32::INFINITY, "a scale"),
        (|m| m.scale = 1e-40, "a scale"),
        (|m| m.chunk_examples = 0, "examples in a chunk"),
        (|m| m.chunk_examples = u32::MAX, "examples in a chunk"),
        (|m| (m.examples, m.chunk_examples) = (limits::EXAMPLES, 1), "chunks from 0 to 16384"),
    ];
    let digits = Dataset::load(&spec("digits")).unwrap();
    for (change, expected) in cases {
        let mut manifest = digits.train.manifest();
        change(&mut manifest);
        let error = manifest.validate().expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn chunks_from_a_peer_are_checked() {
    let good = Examples::new(Features::F32(vec![0.5; 6]), vec![0, 1, 1], 2, 2, 1.0).unwrap();
    let (manifest, chunk) = (good.manifest(), good.chunk(0));
    manifest.check_chunk(0, &chunk).unwrap();

    let check = |index, bytes: &[u8], expected: &str| {
        let error = manifest.check_chunk(index, bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check(1, &chunk, "a chunk below 1, found 1");
    check(0, &chunk[1..], "36 bytes in chunk 0, found 35");
    check(0, &[&chunk[..], &[0]].concat(), "36 bytes in chunk 0, found 37");
    check(0, &[&[1], &chunk[1..]].concat(), "of chunk 0, found");

    // A digest that fits does not make the content right.
    let label = [&chunk[..24], &2u32.to_le_bytes(), &chunk[28..]].concat();
    let feature = [&f32::NAN.to_le_bytes(), &chunk[4..]].concat();
    let target = [&chunk[..28], &f32::NAN.to_le_bytes(), &chunk[32..]].concat();
    let (classes, vector) = (TargetType::Classes(2), TargetType::Vector(1));
    for (bytes, targets, expected) in [
        (label, classes, "labels below 2"),
        (feature, classes, "finite features"),
        (target, vector, "finite targets in chunk 0, found NaN"),
    ] {
        let chunks = vec![Digest::of(&bytes)];
        let manifest = SplitManifest { chunks, targets, ..manifest.clone() };
        let error = manifest.check_chunk(0, &bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn large_splits_take_several_chunks() {
    let width = 100_000;
    let labels: Vec<u32> = (0..25).map(|at| at % 3).collect();
    let values = (0..25 * width).map(|at| at as u8).collect();
    let examples = Examples::new(Features::U8(values), labels, width, 3, 255.0).unwrap();
    let manifest = examples.manifest();
    assert_eq!((manifest.chunk_examples, manifest.chunks.len()), (10, 3));
    assert_eq!(manifest.chunk_bytes(2), 5 * 100_004);
    assert_eq!(bits(&through_chunks(&examples)), bits(&gathered(&examples)));
}

proptest! {
    #[test]
    fn chunks_and_memory_give_the_same_bits(
        bytes in prop::collection::vec(any::<u8>(), 12),
        floats in prop::collection::vec(-1e6f32..1e6, 12),
        labels in prop::collection::vec(0..5u32, 4),
        numbers in prop::collection::vec(any::<f32>().prop_filter("finite", |it| it.is_finite()), 8),
        scale in 1e-3f32..1e6,
    ) {
        let targets = [
            TargetValues::None,
            TargetValues::Classes { labels, count: 5 },
            TargetValues::Vectors { values: numbers, width: 2 },
        ];
        for features in [Features::U8(bytes), Features::F32(floats)] {
            for targets in &targets {
                let (features, targets) = (features.clone(), targets.clone());
                let shape = vec![3, 1];
                let examples = Examples::with_targets(features, targets, shape, scale).unwrap();
                let found = through_chunks(&examples);
                prop_assert_eq!(bits(&found), bits(&gathered(&examples)));
                match examples.targets() {
                    TargetValues::None => prop_assert!(found.classes.is_empty()),
                    TargetValues::Classes { labels, .. } => prop_assert_eq!(&found.classes, labels),
                    TargetValues::Vectors { values, .. } => prop_assert_eq!(&found.vectors, values),
                }
                prop_assert_eq!(examples.chunk(0).len(), examples.manifest().chunk_bytes(0));
            }
        }
    }
}

#[test]
fn the_identity_covers_everything() {
    type Change = fn(&mut SplitManifest);
    let changes: [Change; 10] = [
        |m| m.examples += 1,
        |m| m.shape = vec![4, 16],
        |m| m.shape = vec![64],
        |m| m.targets = TargetType::Classes(9),
        |m| m.targets = TargetType::Vector(10),
        |m| m.targets = TargetType::None,
        |m| m.element = FeatureType::F32,
        |m| m.scale = 1.0,
        |m| m.chunk_examples += 1,
        |m| m.chunks[0].0[0] ^= 1,
    ];
    let digits = Dataset::load(&spec("digits")).unwrap().test.manifest();
    for change in changes {
        let mut other = digits.clone();
        change(&mut other);
        assert_ne!(digits.digest(), other.digest());
    }
}
