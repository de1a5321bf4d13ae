//! Files of other programs: see `testdata/README.md`.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::dataset::load::load;
use crate::dataset::source::testing::{edited, edits, folder};
use crate::dataset::{Features, TargetType};
use crate::spec::Missing;

const PNG: &[u8] = include_bytes!("../testdata/png.parquet");
const JPEG: &[u8] = include_bytes!("../testdata/jpeg.parquet");
const LISTS: &[u8] = include_bytes!("../testdata/lists.parquet");
const TABLE: &[u8] = include_bytes!("../testdata/table.parquet");
const CSV: &[u8] = include_bytes!("../testdata/table.csv");

/// The same table as other programs write it.
const TABLES: [(&str, &[u8]); 6] = [
    ("pandas", TABLE),
    ("gzip", include_bytes!("../testdata/table-gzip.parquet")),
    ("zstd", include_bytes!("../testdata/table-zstd.parquet")),
    ("v2", include_bytes!("../testdata/table-v2.parquet")),
    ("polars", include_bytes!("../testdata/table-polars.parquet")),
    ("duckdb", include_bytes!("../testdata/table-duckdb.parquet")),
];

/// The dataset and what is said of it, or the error, without the folder's name.
fn understood(
    spec: &DatasetSpec,
    folder: &Path,
) -> Result<(crate::dataset::Dataset, Schema), String> {
    let name = format!("{}/", folder.display());
    load(spec, folder, None, true).map_err(|error| error.to_string().replace(&name, ""))
}

fn spec(source: &str) -> DatasetSpec {
    DatasetSpec { missing: Missing::Drop, ..DatasetSpec::new(source) }
}

#[test]
fn a_table_has_the_bits_of_its_csv() {
    let folder = folder(&[("x", CSV)]);
    let (expected, schema) = understood(&spec("csv:x"), folder.path()).unwrap();
    assert_eq!(expected.train.len(), 29);
    for (program, bytes) in TABLES {
        std::fs::write(folder.path().join("x"), bytes).unwrap();
        let (found, found_schema) = understood(&spec("parquet:x"), folder.path()).unwrap();
        assert_eq!(found, expected, "{program}");
        assert_eq!(found_schema, schema, "{program}");
    }
    assert_eq!(
        schema.understood,
        "x: 29 examples, 6 features, label \"species\" (by its name; setosa, versicolor, \
         virginica), no test split (dataset.test_examples=0.2 holds one out); \"color\" becomes 2 \
         features, one each text; \"seen\" has 30 different texts and is left out; left out: 1 \
         example with missing values"
    );
}

#[test]
fn errors_of_a_table_name_the_row() {
    let folder = folder(&[("table.parquet", TABLE), ("x.parquet", b"PAR1....PAR1")]);
    let error = |spec: DatasetSpec| understood(&spec, folder.path()).unwrap_err();
    let plain = || DatasetSpec::new("parquet:table.parquet");
    assert_eq!(
        error(plain()),
        "table.parquet, row 7: expected a value in column 1 (\"length\"), or `dataset.missing` \
         set to \"drop\" or \"mean\", found none"
    );
    let unknown = error(DatasetSpec { label: Some("kind".into()), ..plain() });
    assert!(unknown.starts_with("table.parquet, columns: expected `dataset.label` to be"));
    let damaged = error(DatasetSpec::new("parquet:x.parquet"));
    assert!(damaged.starts_with("x.parquet, byte 4: expected a whole Parquet file"), "{damaged}");
    let mixed = DatasetSpec { test_source: Some("csv:table.csv".into()), ..plain() };
    assert!(error(mixed).contains("`dataset.test_source` of the kind of `dataset.source`"));
    let brotli = include_bytes!("../testdata/table-brotli.parquet");
    std::fs::write(folder.path().join("x.parquet"), brotli).unwrap();
    assert_eq!(
        error(DatasetSpec::new("parquet:x.parquet")),
        "x.parquet, column \"length\": expected Parquet data that can be read, found Parquet \
         error: pages packed by BROTLI: write the file with snappy, zstd or gzip"
    );
    std::fs::write(folder.path().join("x.parquet"), "<html>").unwrap();
    let error = error(DatasetSpec::new("parquet:x.parquet"));
    assert!(error.contains("byte 0: expected a file of data, found an HTML page"), "{error}");
}

#[test]
fn images_as_hugging_face_has_them() {
    let (first, second) =
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet");
    let files = [(first, PNG), (second, PNG), ("data/test-00000-of-00001.parquet", PNG)];
    let folder = folder(&files);
    let path = folder.path().display().to_string();
    let (data, schema) = understood(&DatasetSpec::new(path.clone()), folder.path()).unwrap();
    let line = schema.understood.replace(&path, "FOLDER");
    assert_eq!(
        line,
        "FOLDER: 60 examples, 8 × 8 features, label \"label\" (by its name; zero, one, two), 40 to \
         train and 20 to test"
    );
    assert_eq!(
        (schema.scale, &schema.shape[..], data.train.target_type()),
        (255.0, &[8, 8][..], TargetType::Classes(3))
    );
    let expected: Vec<u8> = (0..20_u8)
        .flat_map(|row| (0..64_u8).map(move |at| 40 * (row % 3) + (at % 8) * (row / 3)))
        .collect();
    assert_eq!(data.test.features(), &Features::U8(expected.clone()));
    assert_eq!(data.train.features(), &Features::U8(expected.repeat(2)));
    let labels: Vec<u32> = (0..20).map(|row| row % 3).collect();
    assert_eq!(data.test.labels(), labels);
}

#[test]
fn images_of_jpeg_and_of_other_shapes() {
    let folder = folder(&[("a.parquet", JPEG), ("b.parquet", PNG)]);
    let (data, schema) = understood(&DatasetSpec::new("parquet:a.parquet"), folder.path()).unwrap();
    assert_eq!(schema.shape, [8, 8, 3]);
    assert_eq!(data.train.labels(), [0, 1, 2, 0, 1, 2]);
    let error = understood(&DatasetSpec::new("parquet:?.parquet"), folder.path()).unwrap_err();
    assert_eq!(
        error,
        "b.parquet, row 0: expected an image of shape [8, 8, 3], as the first one, found [8, 8]"
    );
    let other = DatasetSpec { label: Some("kind".into()), ..DatasetSpec::new("parquet:a.parquet") };
    let error = understood(&other, folder.path()).unwrap_err();
    assert_eq!(
        error,
        "a.parquet, columns: expected `dataset.label` to be one of the columns label, found \"kind\""
    );
}

#[test]
fn lists_are_features() {
    let folder = folder(&[("x.parquet", LISTS)]);
    let (data, schema) = understood(&spec("parquet:x.parquet"), folder.path()).unwrap();
    assert!(schema.understood.contains("9 examples, 4 features, label \"y\" (by its name; "));
    let Features::F32(values) = data.train.features() else { panic!("{schema:?}") };
    assert_eq!(values[4..12], [1.0, 0.25, 1.0, 0.5, 0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn a_state_reads_other_files_as_its_own() {
    let folder = folder(&[("x.parquet", PNG), ("t.parquet", TABLE)]);
    for source in ["parquet:x.parquet", "parquet:t.parquet"] {
        let (data, schema) = understood(&spec(source), folder.path()).unwrap();
        let schema = Schema::from_json(&schema.to_json().unwrap()).unwrap();
        let (again, _) = load(&spec(source), folder.path(), Some(&schema), true).unwrap();
        assert_eq!(again, data);
    }
}

/// At least 500 changed files; the variable PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(500), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn changed_files_are_read_or_refused(
        which in 0..9_usize,
        edits in edits(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        has_flips: bool,
        tail: bool,
    ) {
        let all = TABLES.iter().map(|(_, bytes)| *bytes).chain([PNG, JPEG, LISTS]);
        let bytes = all.collect::<Vec<_>>()[which];
        // The metadata is at the end.
        let cut = if tail { bytes.len() * 2 / 3 } else { 0 };
        let mut bytes = bytes.to_vec();
        if has_flips {
            // Most of these leave the file with both its ends.
            let span = bytes.len() - cut;
            flips.iter().for_each(|(at, by)| bytes[cut + at.index(span)] ^= by);
        } else {
            let changed = edited(&bytes[cut..], &edits);
            bytes.splice(cut.., changed);
        }
        let folder = folder(&[("x", &bytes)]);
        let _ = understood(&spec("parquet:x"), folder.path());
    }
}
