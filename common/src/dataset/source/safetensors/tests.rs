use proptest::prelude::*;

use super::*;
use crate::dataset::Features;
use crate::dataset::raw::{Places, RawLabels};
use crate::dataset::source::testing::{TO_TRAIN, edited, edits, folder, message};

/// Arrays that Python's library wrote: see `testdata/README.md`.
const ARRAYS: &[u8] = include_bytes!("../testdata/arrays.safetensors");

fn load_bytes(bytes: &[u8]) -> Result<Splits, DatasetError> {
    load(&folder(&[("a.safetensors", bytes)]).path().join("a.safetensors"), TO_TRAIN)
}

/// A file with a header and some bytes behind it.
fn file(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

#[test]
fn arrays_of_another_program() {
    let (train, test) = load_bytes(ARRAYS).unwrap();
    let expected: Vec<f32> = (0..24_u8).map(|value| f32::from(value) / 4.0).collect();
    assert_eq!(train.features, Features::F32(expected));
    assert_eq!(train.shape, [2, 3]);
    assert_eq!(train.labels, RawLabels::Numbers(vec![1.0, 0.0, 1.0, 0.0]));
    assert!(train.label_file.ends_with("a.safetensors (y_train)"), "{}", train.label_file);
    let Places::Bytes { start, size } = train.places else { panic!("{:?}", train.places) };
    assert_eq!((&ARRAYS[start as usize..][..2], size), (&[0, 1][..], 2));
    let test = test.unwrap();
    assert_eq!(test.features, Features::F32(vec![1.0; 12]));
    assert_eq!(test.labels, RawLabels::Numbers(vec![1.0, 0.0]));
}

#[test]
fn one_array_of_any_name() {
    let header = r#"{"pixels":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]}}"#;
    let (train, test) = load_bytes(&file(header, &[7, 9])).unwrap();
    assert_eq!((train.features, test), (Features::U8(vec![7, 9]), None));
    assert_eq!(train.labels, RawLabels::None);
    let header = header.replace("U8", "BF16").replace("[0,2]", "[0,4]");
    let (train, _) = load_bytes(&file(&header, &[0x80, 0x3f, 0x49, 0xc0])).unwrap();
    assert_eq!(train.features, Features::F32(vec![1.0, -3.140_625]));
}

#[test]
fn errors_name_the_place() {
    let x = r#""x":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]}"#;
    let y = r#""y":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}"#;
    let both = file(&format!("{{{x},{y}}}"), &[1, 2, 0, 1, 0]);
    let cases = [
        (both.clone(), "(y), byte 8: expected 2 labels, one for each example, found shape [3]"),
        (both[..both.len() - 1].to_vec(), "(y), byte 8: expected 2 labels"),
        (file(&format!("{{{x}}}"), &[1]), "expected 2 bytes of features"),
        (file(&format!("{{{x}}}"), &[1, 2, 3]), "expected the end of the file, found more bytes"),
        (
            file(&format!("{{{x},{}}}", y.replace("\"y\"", "\"labels\"")), &[1, 2, 0, 1, 0]),
            "expected y beside x (arrays of the file), found labels, x: add it",
        ),
        (
            file(&format!("{{{}}}", x.replace("U8", "F8_E4M3")), &[1, 2]),
            "expected an array of booleans, whole numbers or floats of at least 16 bits, found \
             type F8_E4M3",
        ),
        (file("{}", &[]), "features and labels under one of the names"),
        (b"<html><body>".to_vec(), "found an HTML page: download the file itself"),
        (b"some other text".to_vec(), "byte 0: expected a safetensors file: its header in JSON"),
        (file(&x.replace("[2,1]", "[9,9]"), &[]), "byte 0: expected a safetensors file"),
        (u64::MAX.to_le_bytes().to_vec(), "found a length of 18446744073709551615, above 4194304"),
    ];
    for (bytes, expected) in cases {
        let error = message(load_bytes(&bytes));
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_read_or_refused(edits in edits()) {
        let folder = folder(&[("a.safetensors", &edited(ARRAYS, &edits))]);
        let path = folder.path().join("a.safetensors");
        let _ = load(&path, TO_TRAIN).map_err(|error| error.to_string());
    }
}
