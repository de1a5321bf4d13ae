use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array1, array};
use ndarray_npy::WriteNpyExt;
use tempfile::TempDir;

use super::*;
use crate::spec::{LabelColumns, Missing, Normalise};

/// A folder of small files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self(folder)
    }

    /// Loads a source whose path is in this folder.
    fn load(&self, spec: &DatasetSpec) -> Result<(Dataset, Schema), String> {
        let folder = self.0.path();
        let loaded = load(spec, folder, None, true);
        let folder = format!("{}/", folder.display());
        loaded.map_err(|error| error.to_string().replace(&folder, ""))
    }
}

fn csv(text: &str) -> Folder {
    Folder::new(&[("data.csv", text.into())])
}

fn csv_spec() -> DatasetSpec {
    DatasetSpec::new("csv:data.csv")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(magic: u32, header: &[u32], body: &[u8]) -> Vec<u8> {
    let words = [&[magic], header].concat();
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(body);
    bytes
}

/// Three images of 2 × 1 pixels, and a test image.
fn images() -> Folder {
    Folder::new(&[
        ("train-images-idx3-ubyte", idx(0x803, &[3, 2, 1], &[0, 51, 102, 153, 204, 255])),
        ("train-labels-idx1-ubyte.gz", packed(&idx(0x801, &[3], &[0, 2, 1]))),
        ("t10k-images-idx3-ubyte", idx(0x803, &[1, 2, 1], &[7, 8])),
        ("t10k-labels-idx1-ubyte", idx(0x801, &[1], &[4])),
    ])
}

fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

/// Thirty examples of two features, sorted by their three classes.
fn sorted() -> String {
    let row = |at: usize| format!("{at},{}.5,{}\n", at % 4, ["x", "y", "z"][at / 10]);
    "a,b,kind\n".to_owned() + &(0..30).map(row).collect::<String>()
}

#[test]
fn a_source_is_split_scaled_and_described() {
    let folder = images();
    let (data, schema) = folder.load(&DatasetSpec::new("idx:.")).unwrap();
    assert_eq!(data.train.features(), &Features::U8(vec![0, 51, 102, 153, 204, 255]));
    assert_eq!((data.train.labels(), data.test.labels()), (&[0, 2, 1][..], &[3][..]));
    // The labels have a gap, so they are mapped.
    assert_eq!(schema.classes, ["0", "1", "2", "4"]);
    assert_eq!(
        schema.understood,
        "idx:.: 4 examples, 2 × 1 features, 0, 1, 2, 4, 3 to train and 1 to test"
    );
}

#[test]
fn whole_numbers_and_names_become_classes() {
    let (data, schema) = csv(&sorted()).load(&csv_spec()).unwrap();
    assert_eq!(
        (data.train.len(), data.test.len(), data.train.target_type()),
        (30, 0, TargetType::Classes(3))
    );
    assert_eq!(schema.classes, ["x", "y", "z"]);
    assert_eq!(
        schema.understood,
        "data.csv: 30 examples, 2 features, label \"kind\" (last column; x, y, z), no test split \
         (dataset.test_examples=0.2 holds one out)"
    );
    assert_eq!(schema.warnings.len(), 1, "{:?}", schema.warnings);
}

#[test]
fn a_number_of_classes_fits_their_names() {
    let folder = csv(&sorted());
    let with = |classes| folder.load(&DatasetSpec { classes: Some(classes), ..csv_spec() });
    assert_eq!(with(3).unwrap().1.classes.len(), 3);
    for classes in [2, 5] {
        assert_eq!(
            with(classes).unwrap_err(),
            format!(
                "csv:data.csv, all examples: expected `dataset.classes` left out, or 3, as the \
                 labels are no numbers of classes but x, y, z, found {classes}"
            )
        );
    }
    let text = sorted().replace("x\n", "1.0\n").replace("y\n", "01\n");
    let (_, schema) = csv(&text).load(&csv_spec()).unwrap();
    assert!(schema.warnings[1].contains("\"01\" and \"1.0\" differ only"), "{schema:?}");
}

#[test]
fn test_examples_are_held_out_by_class_or_at_the_end() {
    let folder = csv(&sorted());
    let held_out = |test_examples, split| {
        let spec = DatasetSpec { test_examples: Some(test_examples), split, ..csv_spec() };
        folder.load(&spec).map(|(data, schema)| (data.test.labels().to_vec(), schema.understood))
    };
    let (labels, line) = held_out(TestExamples::Share(0.2), SplitBy::Stratified).unwrap();
    assert_eq!(labels, [0, 0, 1, 1, 2, 2]);
    assert!(line.ends_with("x, y, z), split 24/6 by class"), "{line}");
    let (labels, line) = held_out(TestExamples::Count(4), SplitBy::Last).unwrap();
    assert_eq!(labels, [2, 2, 2, 2]);
    assert!(line.ends_with("split 26/4 at the end"), "{line}");
    assert_eq!(held_out(TestExamples::Count(30), SplitBy::Last).unwrap().0.len(), 30);
    assert_eq!(
        held_out(TestExamples::Count(31), SplitBy::Last).unwrap_err(),
        "csv:data.csv, all examples: expected `test_examples` of at most 30, the number of training \
         examples, found 31"
    );
    let seed = |split_seed| {
        let split = SplitBy::Stratified;
        let test_examples = Some(TestExamples::Count(6));
        let spec = DatasetSpec { test_examples, split, split_seed, ..csv_spec() };
        folder.load(&spec).unwrap().0
    };
    assert_eq!(seed(7), seed(7));
    assert_ne!(seed(7), seed(8));
}

#[test]
fn training_examples_are_held_out_in_place_of_a_sources_own_test_split() {
    let spec = |count| DatasetSpec {
        test_examples: Some(TestExamples::Count(count)),
        classes: Some(5),
        ..DatasetSpec::new("idx:.")
    };
    let folder = images();
    let (data, _) = folder.load(&spec(2)).unwrap();
    assert_eq!(data.train.features(), &Features::U8(vec![0, 51]));
    assert_eq!(data.test.features(), &Features::U8(vec![102, 153, 204, 255]));
    assert!(folder.load(&spec(0)).unwrap().0.test.is_empty());
    let digits = |test_examples| {
        let spec = DatasetSpec { test_examples, ..DatasetSpec::new("digits") };
        folder.load(&spec).unwrap().0
    };
    let (all, held_out) = (digits(None), digits(Some(TestExamples::Count(100))));
    assert_eq!((all.train.len(), all.test.len(), all.train.scale()), (1438, 359, 16.0));
    assert_eq!((held_out.train.len(), held_out.test.len()), (1338, 100));
    assert_eq!(held_out.test.labels(), &all.train.labels()[1338..]);
}

#[test]
fn a_test_split_may_be_a_file_of_its_own() {
    let test = "kind,b,a\nz,7.25,3\nx,1.5,4\n";
    let folder = Folder::new(&[("data.csv", sorted().into()), ("test.csv", test.into())]);
    let spec = DatasetSpec { test_source: Some("csv:test.csv".into()), ..csv_spec() };
    let (data, schema) = folder.load(&spec).unwrap();
    assert_eq!(data.test.features(), &Features::F32(vec![3.0, 7.25, 4.0, 1.5]));
    assert_eq!(data.test.labels(), [2, 0]);
    assert!(schema.understood.ends_with("30 to train and 2 to test"), "{}", schema.understood);
    let spec = DatasetSpec { test_source: Some("npy:.".into()), ..csv_spec() };
    assert!(folder.load(&spec).unwrap_err().contains("`dataset.test_source` of the kind"));
}

#[test]
fn features_are_scaled_by_the_training_split_alone() {
    let folder = csv("0,0\n10,1\n0,0\n10,1\n0,0\n10,1\n0,0\n10,1\n0,0\n10,1\n40,0\n");
    let spec = DatasetSpec {
        normalise: Normalise::Minmax,
        test_examples: Some(TestExamples::Count(1)),
        ..csv_spec()
    };
    let (data, schema) = folder.load(&spec).unwrap();
    assert_eq!(data.test.features(), &Features::F32(vec![4.0]));
    assert_eq!((data.train.scale(), &schema.warnings[..]), (1.0, &[][..]));
    // Other data is scaled in the same way.
    let other = csv("20,1\n0,0\n");
    let (data, _) = load(&csv_spec(), other.0.path(), Some(&schema), true).unwrap();
    assert_eq!(data.train.features(), &Features::F32(vec![2.0, 0.0]));
    let plain = DatasetSpec { normalise: Normalise::None, ..spec };
    let (_, schema) = folder.load(&plain).unwrap();
    assert!(schema.warnings.is_empty(), "{:?}", schema.warnings);
    let far = csv(&"0,0\n255,1\n".repeat(5));
    let (_, schema) = far.load(&csv_spec()).unwrap();
    assert!(schema.warnings[0].starts_with("features reach 255"), "{:?}", schema.warnings);
}

#[test]
fn later_data_is_read_as_the_first_was() {
    let (_, schema) = csv(&sorted()).load(&csv_spec()).unwrap();
    let schema = Schema::from_json(&schema.to_json().unwrap()).unwrap();
    let again = |text: &str| {
        let folder = csv(text);
        let loaded = load(&csv_spec(), folder.0.path(), Some(&schema), true);
        let name = format!("{}/", folder.0.path().display());
        loaded.map(|(data, _)| data).map_err(|error| error.to_string().replace(&name, ""))
    };
    // Without the last class, and with columns in another order.
    let data = again("kind,b,a\ny,1.5,2\nx,3.5,4\n").unwrap();
    assert_eq!(
        (data.train.labels(), data.train.target_type()),
        (&[1, 0][..], TargetType::Classes(3))
    );
    assert_eq!(data.train.features(), &Features::F32(vec![2.0, 1.5, 4.0, 3.5]));
    let numbers = sorted().replace('x', "0").replace('y', "1").replace('z', "2");
    let (_, schema) = csv(&numbers).load(&csv_spec()).unwrap();
    let first = csv("a,b,kind\n1,2,0\n3,4,1\n");
    let (data, _) = load(&csv_spec(), first.0.path(), Some(&schema), true).unwrap();
    assert_eq!(
        (data.train.labels(), data.train.target_type()),
        (&[0, 1][..], TargetType::Classes(3))
    );
    let error = again("a,b,kind\n1,2,w\n").unwrap_err();
    assert_eq!(error, "data.csv, line 2: expected a label that is known: x, y, z, found \"w\"");
    let error = again("1,2,3,x\n").unwrap_err();
    assert!(error.contains("expected 3 columns, as the training examples have"), "{error}");
}

#[test]
fn later_data_may_be_a_test_split_alone() {
    let features = npy(&array![[1.0f64, 2.5], [-3.0, 4.0]]);
    let labels = npy(&Array1::from(vec![0i64, 1]));
    let named = |split: &str| {
        let name = |what: &str| format!("{what}_{split}.npy");
        [(name("x"), features.clone()), (name("y"), labels.clone())]
    };
    let folder = |files: &[(String, Vec<u8>)]| {
        let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
        Folder::new(&files)
    };
    let spec = DatasetSpec::new("npy:.");
    let (_, known) = folder(&named("train")).load(&spec).unwrap();
    let alone = folder(&named("test"));
    let error = alone.load(&spec).unwrap_err();
    assert!(error.contains("expected features and labels under one of the names"), "{error}");
    let load = |labels| load(&spec, alone.0.path(), Some(&known), labels).unwrap().0;
    assert_eq!((load(true).train.len(), load(false).train.len()), (2, 2));
    // Beside data of its own, too.
    let own = folder(&named("train"));
    let other = format!("npy:{}", alone.0.path().display());
    let both = own.load(&DatasetSpec { test_source: Some(other), ..spec.clone() }).unwrap().0;
    assert_eq!((both.train.len(), both.test.len()), (2, 2));
}

#[test]
fn sources_are_told_by_their_names() {
    let arrays: Vec<(&str, Vec<u8>)> = vec![
        ("x_train.npy", npy(&array![[1.0f64, 2.5], [-3.0, 4.0]])),
        ("y_train.npy", npy(&Array1::from(vec![3i64, 1]))),
    ];
    let (data, schema) = Folder::new(&arrays).load(&DatasetSpec::new("npy:.")).unwrap();
    assert_eq!(data.train.features(), &Features::F32(vec![1.0, 2.5, -3.0, 4.0]));
    assert_eq!(
        (data.train.labels(), &schema.classes[..]),
        (&[1, 0][..], &["1".into(), "3".into()][..])
    );
    let folder = csv(&sorted());
    let path = folder.0.path().join("data.csv");
    let (_, schema) = folder.load(&DatasetSpec::new(path.display().to_string())).unwrap();
    assert_eq!(schema.classes.len(), 3);
    for source in ["nowhere", "csv:", "iris", "sql:x"] {
        let error = folder.load(&DatasetSpec::new(source)).unwrap_err();
        assert!(error.starts_with("unknown dataset source"), "{error}");
    }
    let only = Folder::new(&[arrays[0].clone()]).load(&DatasetSpec::new("npy:."));
    assert!(only.unwrap_err().contains("if the model learns without labels, set"));
}

#[test]
fn files_are_read_whatever_they_are_packed_in() {
    let text = sorted();
    let (expected, _) = csv(&text).load(&csv_spec()).unwrap();
    let utf16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [packed(text.as_bytes()), utf16, [b"\xef\xbb\xbf", text.as_bytes()].concat()] {
        let folder = Folder::new(&[("data.csv", bytes)]);
        assert_eq!(folder.load(&csv_spec()).unwrap().0, expected);
    }
    let (head, rest) = text.split_at(text.find("15,").unwrap());
    let parts = [("p1.csv", head.into()), ("p2.csv", format!("a,b,kind\n{rest}").into())];
    let folder = Folder::new(&parts);
    assert_eq!(folder.load(&DatasetSpec::new("csv:p*.csv")).unwrap().0, expected);
}

#[test]
fn examples_to_predict_need_no_labels_and_all_stay() {
    let (_, schema) = csv(&sorted()).load(&csv_spec()).unwrap();
    let load = |text: &str, missing: Missing| {
        let folder = csv(text);
        let spec = DatasetSpec { missing, ..csv_spec() };
        let loaded = Dataset::load_unlabelled(&spec, folder.0.path(), Some(&schema));
        let name = format!("{}/", folder.0.path().display());
        loaded.map_err(|error| error.to_string().replace(&name, ""))
    };
    // Without the label, with labels that nobody knows, and with empty ones.
    for text in
        ["b,a\n1.5,2\n3.5,4\n", "a,b,kind\n2,1.5,w\n4,3.5,v\n", "a,b,kind\n2,1.5,\n4,3.5,\n"]
    {
        let (data, read) = load(text, Missing::Drop).unwrap();
        assert_eq!(data.train.features(), &Features::F32(vec![2.0, 1.5, 4.0, 3.5]), "{text}");
        let classes = TargetType::Classes(3);
        assert_eq!((data.train.labels(), data.train.target_type()), (&[0, 0][..], classes));
        assert_eq!((read.class(2), read.targets), ("z".to_owned(), classes));
        assert!(read.understood.contains("2 examples"), "{}", read.understood);
        assert!(read.understood.contains("labels are not read"), "{}", read.understood);
    }
    // A prediction has a row for each example.
    let error = load("a,b\n2,\n4,3.5\n", Missing::Drop).unwrap_err();
    assert!(error.starts_with("data.csv, line 2: expected a value in column 2"), "{error}");
}

/// Twenty houses: two features, a price and an age.
fn houses() -> String {
    let row = |at: usize| format!("{},{},{}.25,{}\n", at % 5, at % 3, at, 100 - at);
    "rooms,floor,price,age\n".to_owned() + &(0..20).map(row).collect::<String>()
}

fn vector_spec(label: &[&str]) -> DatasetSpec {
    let names = label.iter().map(|name| (*name).to_owned()).collect();
    let label = (!label.is_empty()).then_some(LabelColumns::Several(names));
    DatasetSpec { targets: TargetKind::Vector, label, ..csv_spec() }
}

#[test]
fn columns_of_numbers_are_targets() {
    let folder = csv(&houses());
    let (data, schema) = folder.load(&vector_spec(&["price"])).unwrap();
    assert_eq!(data.train.target_type(), TargetType::Vector(1));
    assert_eq!(data.train.width(), 3);
    assert_eq!(
        schema.understood,
        "data.csv: 20 examples, 3 features, target \"price\" (number), no test split \
         (dataset.test_examples=0.2 holds one out)"
    );
    assert!(schema.warnings.iter().any(|it| it.starts_with("targets reach 19.25, far from -1")));
    let spec = DatasetSpec {
        test_examples: Some(TestExamples::Count(4)),
        split: SplitBy::Stratified,
        ..vector_spec(&["age", "price"])
    };
    let (data, schema) = folder.load(&spec).unwrap();
    assert_eq!(schema.target_names(), ["price", "age"]);
    let line = "2 features, targets \"price\", \"age\" (numbers), split 16/4 at random";
    assert!(schema.understood.ends_with(line), "{}", schema.understood);
    let TargetValues::Vectors { values, width: 2 } = data.test.targets() else {
        panic!("{:?}", data.test.targets())
    };
    assert!(values.chunks(2).all(|target| target[0] - 0.25 + target[1] == 100.0), "{values:?}");
    let (_, schema) = folder.load(&vector_spec(&[])).unwrap();
    assert!(schema.understood.contains("target \"age\" (last column; number)"));
    // Later files are read in the same way, with the targets or without.
    let (_, schema) = folder.load(&spec).unwrap();
    let schema = Schema::from_json(&schema.to_json().unwrap()).unwrap();
    for (text, expected) in [
        ("age,price,floor,rooms\n7,2.5,1,3\n", [2.5, 7.0]),
        ("floor,rooms\n1,3\n", [0.0, 0.0]),
        ("3,1\n", [0.0, 0.0]),
    ] {
        let folder = csv(text);
        let is_labelled = text.contains("price");
        let (data, _) = load(&csv_spec(), folder.0.path(), Some(&schema), is_labelled).unwrap();
        assert_eq!(data.train.features(), &Features::U8(vec![3, 1]), "{text}");
        let values = expected.to_vec();
        assert_eq!(data.train.targets(), &TargetValues::Vectors { values, width: 2 }, "{text}");
        // What is evaluated has targets.
        let evaluated = load(&csv_spec(), folder.0.path(), Some(&schema), true);
        let error = evaluated.err().map(|error| error.to_string());
        let is_refused =
            error.is_some_and(|error| error.contains("`coordinator predict` needs none"));
        assert_eq!(is_refused, !is_labelled, "{text}");
    }
}

#[test]
fn targets_that_are_no_numbers_are_refused() {
    let load = |text: &str, spec: &DatasetSpec| csv(text).load(spec).unwrap_err();
    let kinds = houses().replace("age", "kind").replace("100", "new");
    let error = load(&kinds, &vector_spec(&["kind"]));
    assert!(error.starts_with("data.csv, line 2: expected a finite number in column 4"), "{error}");
    assert!(error.contains("`dataset.targets` is \"vector\"") && error.ends_with("found \"new\""));
    let error = load(&sorted(), &vector_spec(&[]));
    assert!(
        error.contains("a column of numbers to predict: name it by `dataset.label`"),
        "{error}"
    );
    assert!(error.ends_with("found texts in \"kind\""), "{error}");
    let gap = houses().replace("19.25,81", "19.25,");
    let error = load(&gap, &vector_spec(&["age"]));
    assert!(error.contains("line 21: expected a target in column 4 (\"age\")"), "{error}");
    let spec = DatasetSpec { missing: Missing::Drop, ..vector_spec(&["price", "age"]) };
    let (data, _) = csv(&gap).load(&spec).unwrap();
    assert_eq!((data.train.len(), data.train.target_type()), (19, TargetType::Vector(2)));
    // A label that looks like a number to predict.
    let error = load(&houses(), &csv_spec());
    assert!(error.contains("--set dataset.targets=vector"), "{error}");
    let spec = DatasetSpec { label: Some("price".into()), ..csv_spec() };
    let (_, schema) = csv(&houses()).load(&spec).unwrap();
    assert!(schema.warnings.iter().any(|it| it.contains("--set dataset.targets=vector")));
}

#[test]
fn data_without_labels_loads_where_none_are_needed() {
    let none = |source: &str| DatasetSpec { targets: TargetKind::None, ..DatasetSpec::new(source) };
    let (data, schema) = csv("a,b\n1,2\n3,4\n").load(&none("csv:data.csv")).unwrap();
    assert_eq!(data.train.features(), &Features::U8(vec![1, 2, 3, 4]));
    assert_eq!((data.train.len(), data.train.targets()), (2, &TargetValues::None));
    assert!(schema.understood.contains("2 features, no labels, no test split"));
    let (data, schema) = images().load(&none("idx:.")).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (3, 1));
    assert!(schema.understood.contains("2 × 1 features, no labels, 3 to train"));
    let arrays = [("x_train.npy", npy(&array![[1.0f64, 2.5], [-3.0, 4.0]]))];
    let folder = Folder::new(&arrays);
    assert_eq!(folder.load(&none("npy:.")).unwrap().0.train.len(), 2);
    let error = folder.load(&DatasetSpec::new("npy:.")).unwrap_err();
    assert!(error.contains("set `dataset.targets` to \"none\""), "{error}");
    let error = folder.load(&DatasetSpec { targets: TargetKind::Vector, ..none("npy:.") });
    assert!(error.unwrap_err().contains("expected labels of its examples"));
    let test = ("x_test.npy", npy(&array![[1.0f64, 2.5]]));
    let folder = Folder::new(&[arrays[0].clone(), ("y_train.npy", Vec::new()), test]);
    assert_eq!(folder.load(&none("npy:.")).unwrap().0.test.len(), 1);
}

#[test]
fn arrays_of_numbers_are_targets() {
    let features = || ("x_train.npy", npy(&array![[1u8], [2], [3]]));
    let load = |targets: Vec<u8>, kind| {
        let folder = Folder::new(&[features(), ("y_train.npy", targets)]);
        folder.load(&DatasetSpec { targets: kind, ..DatasetSpec::new("npy:.") })
    };
    let fortran = {
        use ndarray::ShapeBuilder;
        ndarray::Array2::from_shape_vec((3, 2).f(), vec![1i16, 3, 5, 2, 4, 6]).unwrap()
    };
    for (targets, values, width) in [
        (npy(&array![0.5f64, -1.5, 2.0]), vec![0.5, -1.5, 2.0], 1),
        (npy(&array![[1u8], [0], [255]]), vec![1.0, 0.0, 255.0], 1),
        (npy(&array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]]), vec![1., 2., 3., 4., 5., 6.], 2),
        (npy(&fortran), vec![1., 2., 3., 4., 5., 6.], 2),
        (npy(&array![true, false, true]), vec![1.0, 0.0, 1.0], 1),
    ] {
        let (data, _) = load(targets, TargetKind::Vector).unwrap();
        assert_eq!(data.train.targets(), &TargetValues::Vectors { values, width });
    }
    for (targets, expected) in [
        (npy(&array![1.0f64, f64::NAN, 2.0]), "y_train.npy, byte 136: expected a finite number"),
        (npy(&array![1e300f64, 0.0, 2.0]), "y_train.npy, byte 128: expected a finite number"),
        (npy(&array![[1.0f64, 2.0]]), "expected 3 labels, one for each example"),
    ] {
        let error = load(targets, TargetKind::Vector).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// Without the feature, the error says what to do.
#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_is_known_without_its_feature() {
    let error = Folder::new(&[("x.parquet", b"PAR1".to_vec())])
        .load(&DatasetSpec::new("parquet:x.parquet"));
    let error = error.unwrap_err();
    for part in ["cargo build --features parquet", "pandas.read_parquet(path).to_csv"] {
        assert!(error.contains(part), "{error}");
    }
}

/// The names of a file stand for its numbers, in its order.
#[test]
fn classes_that_a_file_names_keep_their_numbers() {
    let rows = "1,2,0\n3,4,1\n5,6,0\n".repeat(4);
    let folder = csv(&format!("12,2,pear,apple\n{rows}"));
    let (data, schema) = folder.load(&csv_spec()).unwrap();
    assert_eq!(schema.classes, ["pear", "apple"]);
    assert_eq!(data.train.labels()[..3], [0, 1, 0]);
    let (again, _) = load(&csv_spec(), folder.0.path(), Some(&schema), true).unwrap();
    assert_eq!(again, data);
    let of = |label: &str| {
        let rows = rows.replace(",1\n", &format!(",{label}\n"));
        csv(&format!("12,2,pear,apple\n{rows}")).load(&csv_spec()).unwrap_err()
    };
    let expected = "data.csv, line 3: expected a label from 0 to 1, as 2 classes have names, found";
    assert_eq!(of("2"), format!("{expected} 2"));
    assert_eq!(of("-1"), format!("{expected} -1"));
    let none = rows.replace(",1\n", ",-1\n").replace(",0\n", ",-1\n");
    let error = csv(&format!("12,2,pear,apple\n{none}")).load(&csv_spec()).unwrap_err();
    assert!(error.contains("expected"), "{error}");
}

#[test]
fn a_test_split_of_labels_that_stand_for_none_is_no_class() {
    let rows = "1,2,0\n3,4,1\n5,6,0\n".repeat(4);
    let hidden = "1,2,-1\n3,4,-1\n";
    let files = [
        ("train.csv", format!("12,2,pear,apple\n{rows}").into_bytes()),
        ("test.csv", hidden.as_bytes().to_vec()),
    ];
    let spec = DatasetSpec {
        test_source: Some("csv:test.csv".into()),
        ..DatasetSpec::new("csv:train.csv")
    };
    let error = Folder::new(&files).load(&spec).unwrap_err();
    assert!(error.starts_with("test.csv, ") && error.contains("test_examples=0.2"), "{error}");
    let spec = DatasetSpec { test_examples: Some(TestExamples::Count(2)), ..spec };
    let (_, schema) = Folder::new(&files).load(&spec).unwrap();
    assert_eq!(schema.classes, ["pear", "apple"]);
}
