//! Files as people have them.

mod forms;

use proptest::prelude::*;

use super::*;
use crate::dataset::columns::Role;
use crate::dataset::raw::{Raw, RawLabels};

fn file(text: &str) -> TextFile {
    TextFile::new("some.csv".into(), text.into(), None)
}

fn load(text: &str, choices: Choices<'_>) -> Result<(Plan, Raw), String> {
    let files = [file(text)];
    let plan = Plan::infer(&files, &choices).map_err(|error| error.to_string())?;
    let table = Table::read(&files, &plan, &choices).map_err(|error| error.to_string())?;
    Ok((plan, table.raw))
}

fn floats(raw: &Raw) -> Vec<f32> {
    let mut all = Vec::new();
    raw.features.each_example(raw.width(), |row| all.extend_from_slice(row));
    all
}

fn labels(raw: &Raw) -> String {
    match &raw.labels {
        RawLabels::Texts(texts) => {
            let names: Vec<&str> = texts.names().iter().map(String::as_str).collect();
            texts.each(&names).join(" ")
        }
        RawLabels::Numbers(numbers) => format!("{numbers:?}"),
        RawLabels::Vectors { values, width } => format!("{values:?} by {width}"),
        RawLabels::None => String::new(),
    }
}

/// Ten examples of two features, `a` or `b`.
fn rows(separator: &str, point: &str) -> String {
    let row = |at: usize| {
        let label = if at.is_multiple_of(2) { "a" } else { "b" };
        format!("{at}{point}5{separator}{}{separator}{label}\n", at * 7 % 10)
    };
    (0..10).map(row).collect()
}

#[test]
fn one_table_in_many_forms_is_the_same() {
    let rows = rows(",", ".");
    let (_, expected) = load(&rows, Choices::default()).unwrap();
    assert_eq!(
        (floats(&expected)[2..4].to_vec(), expected.shape.clone()),
        (vec![1.5, 7.0], vec![2])
    );
    assert_eq!(labels(&expected), "a b a b a b a b a b");
    let indexed = rows.lines().enumerate().map(|(at, row)| format!("{at},{row}\n"));
    let quoted = rows.replace('\n', "\"\n").replace(',', "\",\"").replace("\n", "\n\"");
    let quoted = format!("\"{}", quoted.trim_end_matches('"'));
    let r = rows.lines().enumerate().map(|(at, row)| format!("\"{}\",{row}\n", at + 1));
    for text in [
        format!("x,z,kind\n{rows}"),
        format!("x,z,kind\n{}x,z,kind\n{}", &rows[..40], &rows[40..]),
        rows.replace('\n', "\r\n"),
        rows.replace('\n', "\r"),
        rows.replace('\n', ",\n"),
        rows.replace(',', ";"),
        rows.replace(',', "\t"),
        rows.replace(',', "   "),
        super::tests::rows(";", ","),
        format!("# a comment\n\n{rows}\n\n,,\n"),
        format!(",x,z,kind\n{}", indexed.collect::<String>()),
        format!("x,z,kind\n{}", r.collect::<String>()),
        format!("10,2,a,b\n{rows}"),
        quoted,
    ] {
        let (_, found) = load(&text, Choices::default()).expect(&text);
        assert_eq!(floats(&found), floats(&expected), "{text}");
        assert_eq!(labels(&found), labels(&expected), "{text}");
    }
}

#[test]
fn labels_are_found_by_name_and_place() {
    let rows: String =
        (0..20).map(|at| format!("{},{}.25,{}\n", at % 2, at * 3, 1 + at / 10)).collect();
    let why = |header: &str, choices: Choices<'_>| {
        load(&format!("{header}{rows}"), choices).map(|(plan, _)| plan.label)
    };
    let none = Choices::default();
    assert_eq!(why("", none), Ok(Some((2, Why::LastOfTwo))));
    assert_eq!(why("p,q,r\n", none), Ok(Some((2, Why::LastOfTwo))));
    assert_eq!(why("Class,q,r\n", none), Ok(Some((0, Why::Name))));
    let label = |label: &str| why("p,q,r\n", Choices { label: &[label.to_owned()], ..none });
    assert_eq!(label("p"), Ok(Some((0, Why::Chosen))));
    assert_eq!(label("first"), Ok(Some((0, Why::Chosen))));
    assert_eq!(label("q"), Ok(Some((1, Why::Chosen))));
    let error = label("s").unwrap_err();
    assert!(error.contains("`dataset.label`") && error.contains("one of p, q, r"), "{error}");
    let error = why("p,target,r\n", none).unwrap_err();
    assert!(error.contains("\"target\" with 20 different values in 20 examples"), "{error}");
    assert!(error.contains("--set dataset.label=NAME"), "{error}");
    // The last column has one value only.
    let first: String = (0..20).map(|at| format!("{},{}.5,0\n", at % 2, at)).collect();
    assert_eq!(load(&first, none).map(|(plan, _)| plan.label), Ok(Some((0, Why::First))));
    let one: String = (0..20).map(|at| format!("{at},{},0\n", at * 2)).collect();
    let error = load(&format!("a,b,label\n{one}"), none).unwrap_err();
    assert!(error.contains("\"label\" with one value in 20 examples"), "{error}");
}

#[test]
fn a_known_header_is_no_example_even_alone() {
    let rows: String = (0..20).map(|at| format!("{},{},{}\n", at, at % 3, at % 2)).collect();
    let (plan, _) = load(&format!("0,1,2\n{rows}"), Choices::default()).unwrap();
    let read = |text: &str| Table::read(&[file(text)], &plan, &Choices::default());
    for text in ["0,1,2\n", "0,1\n"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.ends_with("expected examples, found none"), "{text}: {error}");
    }
    let error = read("1,0\n7,2\n").unwrap_err().to_string();
    assert!(error.ends_with("or an example of other numbers, found 1, 0"), "{error}");
    assert_eq!(floats(&read("1,5\n7,2\n").unwrap().raw), [1.0, 5.0, 7.0, 2.0]);
}

/// The examples of another file, by the plan of earlier ones.
fn read(plan: &Plan, text: &str, labels: bool) -> Result<Raw, String> {
    let choices = Choices { labels, ..Choices::default() };
    let table = Table::read(&[file(text)], &plan.clone().of_earlier(), &choices);
    table.map(|table| table.raw).map_err(|error| error.to_string())
}

impl Plan {
    fn of_earlier(self) -> Self {
        Self { is_known: true, ..self }
    }
}

#[test]
fn no_row_is_taken_for_a_header_that_is_none() {
    let long: String = (0..20).map(|at| format!("0.{at:06},1.{at:06},{}\n", at % 2)).collect();
    let (plan, raw) = load(&long, Choices::default()).unwrap();
    assert_eq!(floats(&raw).len(), 40);
    assert_eq!(floats(&read(&plan, "0.123456,0.654321\n0.5,0.25\n", false).unwrap()).len(), 4);
    assert_eq!(floats(&read(&plan, "0.123456,0.654321\n", false).unwrap()).len(), 2);
    let named = format!("a,b,c\n{long}");
    let (plan, _) = load(&named, Choices::default()).unwrap();
    for text in ["0.123456,0.654321\n", "a,b\n0.123456,0.654321\n", "0.1,0.2,9\n"] {
        assert_eq!(floats(&read(&plan, text, false).unwrap()).len(), 2, "{text}");
    }
    // Texts that the columns have are values; others are names.
    let text: String = (0..20)
        .map(|at| {
            format!("{},{},{}\n", ["red", "bluex"][at % 2], ["large", "small"][at % 2], at % 2)
        })
        .collect();
    let (plan, _) = load(&text, Choices::default()).unwrap();
    for text in ["bluex,small\nred,large\n", "red,large\nred,large\n"] {
        assert_eq!(floats(&read(&plan, text, false).unwrap()).len(), 8, "{text}");
    }
}

#[test]
fn a_first_column_of_texts_is_a_feature_or_the_label() {
    let row = |at: usize| format!("{},{at}.5,{}\n", ["M", "F", "I"][at % 3], at % 4);
    let text: String = (0..60).map(row).collect();
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!((plan.label, raw.shape), (Some((2, Why::LastOfTwo)), vec![4]));
    let (plan, _) = load(&format!(",length,rings\n{text}"), Choices::default()).unwrap();
    assert_eq!(plan.columns[0].width(), 3);
    // Names of rows, as R writes them.
    let rows: String = (0..60).map(|at| format!("row {at},{at}.5,{}\n", at % 2)).collect();
    let (plan, _) = load(&format!(",length,kind\n{rows}"), Choices::default()).unwrap();
    assert_eq!(plan.columns[0].role, Role::Ignored);
}

#[test]
fn every_row_of_a_file_is_an_example_or_an_error() {
    let row = |at: usize| format!("{},{},{}\n", ["#ff0000", "red", "blue"][at % 3], at % 5, at % 2);
    let text: String = (0..60).map(row).collect();
    let (plan, raw) =
        load(&format!("# colors, by hand\ncolor,v,label\n{text}"), Choices::default()).unwrap();
    assert_eq!(floats(&raw).len(), 60 * 4);
    let new = read(&plan, "color,v\nred,1\n#ff0000,2\nblue,3\n", false).unwrap();
    assert_eq!(floats(&new).len(), 3 * 4);
    let new = read(&plan, "color,v\n# no color\nred,1\n", false).unwrap();
    assert_eq!(floats(&new).len(), 4);
    let error = read(&plan, "color,v\nred,1\n,\nblue,3\n", false).unwrap_err();
    assert!(error.contains("line 3: expected a value in column 1"), "{error}");
    assert!(error.contains("as each example to predict has its row"), "{error}");
    assert!(!error.contains("\"drop\""), "{error}");
}

#[test]
fn files_of_one_table_have_their_columns_in_any_order() {
    let first: String = (0..20).map(|at| format!("1,100,{}\n", at % 2)).collect();
    let second: String = (0..20).map(|at| format!("100,,{}\n", at % 2)).collect();
    let files = [file(&format!("a,b,label\n{first}")), file(&format!("b,a,label\n{second}"))];
    let choices = Choices { missing: Missing::Mean, ..Choices::default() };
    let plan = Plan::infer(&files, &choices).unwrap();
    let mean = |at: usize| match &plan.columns[at].role {
        Role::Number { missing } => *missing,
        other => panic!("{other:?}"),
    };
    assert_eq!((mean(0), mean(1)), (Some(1.0), Some(100.0)));
    let other = |text: &str| {
        let files = [
            file(&format!("a,b,label\n{first}")),
            TextFile::new("2.csv".into(), text.into(), None),
        ];
        Plan::infer(&files, &Choices::default()).unwrap_err().to_string()
    };
    let error = other(&format!("b,a,label\n{first}1,x,0\n"));
    assert!(error.starts_with("2.csv, line 22: expected a finite number"), "{error}");
    let error = other(&format!("b,a,kind\n{first}"));
    assert!(error.starts_with("2.csv, line 1: expected the names of some.csv"), "{error}");
}

#[test]
fn what_is_missing_is_no_class_and_no_text() {
    let numbers: String = (0..59).map(|at| format!("{at}.5,{}\n", at % 2)).collect();
    for missing in ["nan", "null", "None", "N/A"] {
        let error = load(&format!("a,label\n{numbers}1,{missing}\n"), Choices::default());
        let error = error.unwrap_err();
        assert!(error.contains("line 61: expected a value in column 2"), "{error}");
        assert!(error.contains("set to \"drop\", found none"), "{error}");
    }
    // These words may be texts among texts.
    let texts: String = (0..60).map(|at| format!("{at}.5,{}\n", ["None", "x"][at % 2])).collect();
    let (_, raw) = load(&format!("a,label\n{texts}"), Choices::default()).unwrap();
    assert!(labels(&raw).starts_with("None x None"));
    let error = load(&format!("a,label\n{texts}1,nan\n"), Choices::default()).unwrap_err();
    assert!(error.contains("line 62: expected a value in column 2"), "{error}");
}

#[test]
fn texts_become_features() {
    let row = |at: usize| {
        let color = ["red", "blue", "green"][at % 3];
        format!("{color},{},name {at},{}\n", at % 7, at % 2)
    };
    let text = "color,size,name,label\n".to_owned() + &(0..30).map(row).collect::<String>();
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!(raw.shape, [4]);
    assert_eq!(floats(&raw)[..8], [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(
        plan.notes,
        [
            "\"color\" becomes 3 features, one each text",
            "\"name\" has 30 different texts and is left out"
        ]
    );
    // Another file may have its columns in another order, and no label.
    let other = [file("size,color\n3,green\n4,red\n")];
    let table = Table::read(&other, &plan, &Choices::default()).unwrap();
    assert_eq!(floats(&table.raw), [0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 1.0, 4.0]);
    assert_eq!(table.raw.labels, RawLabels::None);
    let other = [file("size,color\n3,pink\n4,red\n")];
    let error = Table::read(&other, &plan, &Choices::default()).unwrap_err().to_string();
    assert!(error.starts_with("some.csv, line 2: expected one of the texts"), "{error}");
    assert!(error.ends_with("(\"color\"): blue, green, red, found \"pink\""), "{error}");
    let error = Table::read(&[file("a,b\n1,2\n")], &plan, &Choices::default()).unwrap_err();
    assert!(error.to_string().contains("a column \"color\""), "{error}");
}

#[test]
fn a_column_of_too_many_texts_is_left_out_or_refused() {
    let text: String = (0..300).map(|at| format!("{},t{at},{}\n", at % 7, at % 2)).collect();
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!(raw.shape, [1]);
    assert_eq!(plan.notes, ["column 2 has 300 different texts and is left out"]);
    // All columns are wanted.
    let error = load(&text, Choices { ignore: Some(&[]), ..Choices::default() }).unwrap_err();
    assert_eq!(
        error,
        "some.csv, line 1: expected at most 256 different texts in column 2, or the column in \
         `dataset.ignore`, found more"
    );
}

#[test]
fn missing_values_are_refused_or_handled_as_asked() {
    let mut text: String = (0..20).map(|at| format!("{},{},{}\n", at % 5, at, at % 2)).collect();
    text += "?,3,1\n4,NA,0\n";
    let error = load(&text, Choices::default()).unwrap_err();
    assert_eq!(
        error,
        "some.csv, line 21: expected a value in column 1, or `dataset.missing` set to \
         \"drop\" or \"mean\", found none"
    );
    let with = |missing| load(&text, Choices { missing, ..Choices::default() }).unwrap();
    let (_, dropped) = with(Missing::Drop);
    assert_eq!(floats(&dropped).len(), 40);
    let (plan, mean) = with(Missing::Mean);
    assert_eq!(floats(&mean)[40..], [44.0 / 21.0, 3.0, 4.0, 193.0 / 21.0]);
    assert!(matches!(plan.columns[0].role, Role::Number { missing: Some(_) }));
    let error = load(
        &text.replace("4,NA,0", "4,4,"),
        Choices { missing: Missing::Mean, ..Choices::default() },
    );
    assert!(error.unwrap_err().contains("line 22: expected a value in column 3"));
}

#[test]
fn errors_name_their_place() {
    let good: String = (0..20).map(|at| format!("{at}.5,{},{}\n", at * 2 % 7, at % 2)).collect();
    let load = |text: String| load(&text, Choices::default()).unwrap_err();
    let error = load(format!("a,b,c\n{good}5.l,2,1\n"));
    let expected = "some.csv, line 22: expected a finite number in column 1 (\"a\"), as on other \
                    lines, found \"5.l\"";
    assert_eq!(error, expected);
    assert!(load(format!("{good}1e39,2,1\n")).contains("line 21: expected a finite number"));
    let error = load(format!("{good}1,2\n"));
    assert_eq!(error, "some.csv, line 21: expected 3 fields, as on other lines, found 2");
    assert!(load(String::new()).contains("expected examples"));
    assert!(load("a,b,c\n".into()).contains("expected examples, found a header"));
    assert!(load("1\n2\n3\n".into()).contains("at least two columns"));
    let ignore = ["d".to_owned()];
    let choices = Choices { ignore: Some(&ignore), ..Choices::default() };
    let error = super::tests::load(&format!("a,b,c\n{good}"), choices).unwrap_err();
    assert!(error.contains("`dataset.ignore`") && error.contains("found \"d\""), "{error}");
}

#[test]
fn columns_are_left_out_as_told() {
    let good: String = (0..20).map(|at| format!("{at},{}.5,{}\n", at % 7, at % 2)).collect();
    let text = format!("id,x,c\n{good}");
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!(
        (raw.shape, &plan.notes[..]),
        (vec![1], &["\"id\" numbers the examples and is left out".to_owned()][..])
    );
    let load = |ignore: &[&str]| {
        let ignore: Vec<String> = ignore.iter().map(|it| (*it).to_owned()).collect();
        let choices = Choices { ignore: Some(&ignore), ..Choices::default() };
        super::tests::load(&text, choices).map(|(_, raw)| raw.shape)
    };
    assert_eq!(load(&[]), Ok(vec![2]));
    assert_eq!(load(&["x"]), Ok(vec![1]));
    assert!(load(&["x", "id"]).unwrap_err().contains("a column of features"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a,;\t \".#\n-]{0,200}") {
        let _ = load(&text, Choices::default());
        let _ = load(&text, Choices { missing: Missing::Mean, ..Choices::default() });
    }
}
