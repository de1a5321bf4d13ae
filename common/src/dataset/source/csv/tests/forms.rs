//! Quotes, comments, headers and numbers that are easily mistaken: none of them may take an example
//! away or give it other values without a word.

use super::*;

/// Twenty lines of two numbers and a label.
fn rows() -> String {
    (0..20).map(|at| format!("{at}.5,{}.25,{}\n", at * 3, ["a", "b"][at % 2])).collect()
}

fn without_label() -> Choices<'static> {
    Choices { targets: TargetKind::None, ..Choices::default() }
}

fn notes(text: &str) -> Vec<String> {
    let (plan, _) = load(text, Choices::default()).unwrap();
    plan.notes.into_iter().chain(plan.warnings).collect()
}

#[test]
fn a_quote_that_nothing_ends_is_an_error_on_its_line() {
    let fails = |text: &str, line: u64| {
        let error = load(text, Choices::default()).unwrap_err();
        let start = format!("some.csv, line {line}: expected another quote that ends the field");
        assert!(error.starts_with(&start), "{text}: {error}");
    };
    let rows = rows();
    // To the end of the file, and to a later quote.
    fails(&format!("{rows}1,2,\"a\n{rows}"), 21);
    fails(&format!("{rows}1,2,\"a\n{rows}3,4,\"b\"\n{rows}"), 21);
    fails(&format!("{rows}1,\"2\n\",\"a"), 22);
    fails(&format!("\"x,y,z\n{rows}"), 1);
    fails(&format!("x,y,z\r\n{}1,2,\"a\r\n{}", rows.replace('\n', "\r\n"), rows), 22);
    // Quotes inside a field, and ends of lines between two, are none.
    for text in [
        "1,2,5\"\n1,2,a\"b\n",
        "1,2,\"a\nb\"\n",
        "1,2,\"a\"\"\nb\" \n",
        "1,2,\"\"\"a\"\n1,2,\"a\"b\n",
    ] {
        assert!(load(&format!("{rows}{text}"), Choices::default()).is_ok(), "{text}");
    }
}

#[test]
fn names_in_a_comment_are_names() {
    let label = |text: String| load(&text, Choices::default()).map(|(plan, _)| plan.label);
    let rows: String = (0..20).map(|at| format!("{},{at}.5,{}\n", at % 2, at % 4)).collect();
    for comment in ["#label,a,b", "# label, a, b", "# by hand\n#label,a,b"] {
        assert_eq!(label(format!("{comment}\n{rows}")), Ok(Some((0, Why::Name))), "{comment}");
    }
    // No names: other numbers of fields, numbers, and a line between.
    for comment in ["# label, a", "# label,1,2", "#label,a,b\n"] {
        let found = label(format!("{comment}\n{rows}"));
        assert_eq!(found, Ok(Some((2, Why::LastOfTwo))), "{comment}");
    }
    // Another file may lack them, or have other words.
    let (plan, _) = load(&format!("#label,a,b\n{rows}"), Choices::default()).unwrap();
    for text in ["1,2,3\n", "#label,a,b\n1,2,3\n", "# made, by, hand\n1,2,3\n"] {
        let raw = read(&plan, text, true).unwrap();
        assert_eq!((floats(&raw), labels(&raw)), (vec![2.0, 3.0], "1".into()), "{text}");
    }
}

#[test]
fn a_first_line_that_begins_with_a_mark_may_be_an_example() {
    let row = |at: usize| format!("{},{at}.5,{}\n", ["#ff0000", "red"][at % 2], at % 4);
    let text: String = (0..20).map(row).collect();
    assert_eq!(floats(&load(&text, Choices::default()).unwrap().1).len(), 20 * 3);
    // The only one.
    let rows: String = (0..20).map(|at| format!("red,{at}.5,{}\n", at % 4)).collect();
    let (_, raw) = load(&format!("# colors\n#ff0000,3,1\n{rows}"), Choices::default()).unwrap();
    assert_eq!(floats(&raw).len(), 21 * 3);
    // In a table of texts.
    let rows: String = (0..20).map(|at| format!("red,{},y\n", ["S", "L"][at % 2])).collect();
    let (_, raw) = load(&format!("#00ff00,S,y\n{rows}"), without_label()).unwrap();
    assert_eq!(raw.len(), 21);
}

#[test]
fn a_first_line_may_name_the_separator() {
    let (_, expected) = load(&rows(), Choices::default()).unwrap();
    for (start, separator) in [("sep=;\n", ";"), ("\"SEP=|\"\r\n", "|"), ("sep=\t\n", "\t")] {
        let text = format!("{start}p{separator}q{separator}r\n{}", rows().replace(',', separator));
        let (plan, raw) = load(&text, Choices::default()).unwrap();
        assert_eq!((floats(&raw), plan.columns[2].name.as_str()), (floats(&expected), "r"));
        let error = load(&format!("{text}1{separator}2\n"), Choices::default()).unwrap_err();
        assert!(error.starts_with("some.csv, line 23: expected 3 fields"), "{error}");
    }
}

#[test]
fn a_row_that_does_not_fit_is_no_header() {
    // Training examples without a header.
    let (plan, _) = load(&rows(), Choices::default()).unwrap();
    for row in ["5.l,3,a\n", "5.l,3\n"] {
        let error = read(&plan, &format!("{row}{row}"), false).unwrap_err();
        let expected = "some.csv, line 1: expected a finite number in column 1, found \"5.l\"";
        assert_eq!(error, expected, "{row}");
    }
    // Texts above all numbers name them.
    assert_eq!(floats(&read(&plan, "x,y\n1,2\n", false).unwrap()), [1.0, 2.0]);
    let text: String =
        (0..20).map(|at| format!("{},{}\n", ["red", "blue"][at / 2 % 2], at % 2)).collect();
    let (plan, _) = load(&text, Choices::default()).unwrap();
    for text in ["pink\nred\n", "pink,1\nred,0\n", "pink\n"] {
        let error = read(&plan, text, false).unwrap_err();
        assert!(error.starts_with("some.csv, line 1: expected one of the texts"), "{error}");
    }
    let error = load(&format!("5.l,1,a\n{}", rows()), Choices::default()).unwrap_err();
    assert!(error.starts_with("some.csv, line 1: expected a finite number"), "{error}");
}

#[test]
fn a_repeated_header_is_no_example() {
    let rows: String = (0..40)
        .map(|at| format!("{},{}\n", ["red", "blue"][at / 2 % 2], ["yes", "no"][at % 2]))
        .collect();
    let text = format!("color,label\n{rows}");
    let (plan, raw) = load(&format!("{text}{text}"), Choices::default()).unwrap();
    assert_eq!((raw.len(), raw.width()), (80, 2));
    assert_eq!(plan.columns[1].name, "label");
    let files = [file(&text), file("color,label\nred,yes\n"), file(&text)];
    let plan = Plan::infer(&files, &Choices::default()).unwrap();
    let raw = Table::read(&files, &plan, &Choices::default()).unwrap().raw;
    assert_eq!((raw.len(), raw.width()), (81, 2));
}

#[test]
fn columns_have_numbers() {
    let rows: String = (0..20).map(|at| format!("{at}.5,{},{}.25\n", at % 2, at * 3)).collect();
    let label = |header: &str, name: &str| {
        let label = [name.to_owned()];
        let choices = Choices { label: &label, ..Choices::default() };
        load(&format!("{header}{rows}"), choices).map(|(plan, _)| plan.label)
    };
    for (header, name) in [("", "2"), ("", "column 2"), ("p,q,r\n", "column 2"), ("p,2,r\n", "2")] {
        assert_eq!(label(header, name), Ok(Some((1, Why::Chosen))), "{header}{name}");
    }
    let error = label("", "4").unwrap_err();
    assert!(error.contains("or the number of a column, from 1 to 3, as the file has"), "{error}");
    for (header, name) in [("", "0"), ("p,q,r\n", "2"), ("p,q,r\n", "column 4"), ("", "column x")] {
        assert!(label(header, name).is_err(), "{header}{name}");
    }
    let ignore = ["column 3".to_owned()];
    let choices = Choices { ignore: Some(&ignore), ..Choices::default() };
    assert_eq!(load(&rows, choices).unwrap().1.width(), 1);
}

#[test]
fn a_column_that_is_left_out_is_no_label() {
    let rows: String = (0..20).map(|at| format!("{at}.5,{},{}\n", at % 2, at % 4)).collect();
    let with = |header: &str, ignore: &[&str], label: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let (ignore, label) = (owned(ignore), owned(label));
        let choices = Choices { ignore: Some(&ignore), label: &label, ..Choices::default() };
        load(&format!("{header}{rows}"), choices).map(|(plan, raw)| (plan.label, raw.width()))
    };
    assert_eq!(with("", &["last"], &[]), Ok((Some((1, Why::Last)), 1)));
    assert_eq!(with("p,q,label\n", &["label"], &[]), Ok((Some((1, Why::Last)), 1)));
    assert_eq!(with("p,q,r\n", &["r"], &["last"]), Ok((Some((1, Why::Chosen)), 1)));
    let error = with("p,q,label\n", &["label", "p"], &["label"]).unwrap_err();
    let expected = "some.csv, line 1: expected columns in `dataset.ignore` that are not in \
                    `dataset.label`, too, found column 3 (\"label\")";
    assert_eq!(error, expected);
}

#[test]
fn decimal_commas_are_read_wherever_they_are_clear() {
    let (_, expected) = load(&rows(), Choices::default()).unwrap();
    let commas = rows().replace(',', ";").replace('.', ",");
    for separator in [";", "\t", "|"] {
        let text = commas.replace(';', separator);
        let (plan, raw) = load(&text, Choices::default()).unwrap();
        assert_eq!(floats(&raw), floats(&expected), "{text}");
        assert_eq!(plan.notes, ["numbers have decimal commas"]);
    }
    // Beside commas, points separate thousands, and a point alone may do both.
    let text = format!("{commas}1.234,5;1.234.567;a\n");
    assert_eq!(floats(&load(&text, Choices::default()).unwrap().1)[40..], [1234.5, 1_234_567.0]);
    let prices: String = (0..20).map(|at| format!("{at},5;{};a\n", [850, 1250][at % 2])).collect();
    for (text, line, column) in [
        (format!("{commas}1.234;2;a\n"), 21, 1),
        (format!("1.234;2;a\n1;2;b\n{commas}"), 1, 1),
        (format!("p;q;label\n{}", prices.replace("1250", "1.250")), 3, 2),
    ] {
        let error = load(&text, without_label()).unwrap_err();
        let start = format!(
            "some.csv, line {line}: expected numbers without points between thousands in column {column}"
        );
        assert!(error.starts_with(&start), "{error}");
    }
    let other = format!("{}1.5;2.5;a\n3;2.234;b\n", commas.replace(",25", ""));
    assert_eq!(floats(&load(&other, Choices::default()).unwrap().1)[40..], [1.5, 2.5, 3.0, 2.234]);
    // Where other numbers have points, commas are none.
    let text: String =
        (0..20).map(|at| format!("{at}.5;{},250;{}\n", at % 3 + 1, at % 2)).collect();
    assert!(notes(&text)[1].contains("look like numbers, such as \"1,250\""));
    // Between quotes, as pandas writes them.
    let quoted: String = rows()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            format!(
                "\"{}\",\"{}\",{}\n",
                fields[0].replace('.', ","),
                fields[1].replace('.', ","),
                fields[2]
            )
        })
        .collect();
    assert_eq!(floats(&load(&quoted, Choices::default()).unwrap().1), floats(&expected));
    // With three digits behind each comma, they may be thousands.
    let thousands: String = (10..30).map(|at| format!("{at},500\t{at}\t{}\n", at % 2)).collect();
    assert_eq!(load(&thousands, Choices::default()).unwrap().0.notes.len(), 1);
    assert!(notes(&thousands)[1].contains("look like numbers, such as \"10,500\""));
}

#[test]
fn texts_that_look_like_numbers_are_told() {
    for (field, others) in [("$3", "$4.50"), ("42%", "7 %"), ("\"1,500\"", "\"2,500\"")] {
        let row = |at: usize| format!("{},{at}.5,{}\n", [field, others][at / 2 % 2], at % 2);
        let text: String = (0..20).map(row).collect();
        let found = notes(&text).join("\n");
        let expected = format!("such as {:?}, and is no number", field.trim_matches('"'));
        assert!(found.contains(&expected), "{found}");
    }
    // So many that the column is left out.
    let text: String = (0..600).map(|at| format!("${at}.50,{at},{}\n", at % 2)).collect();
    let found = notes(&text);
    assert!(found[0].contains("left out") && found[1].contains("\"$0.50\""), "{found:?}");
    let text: String = (0..20).map(|at| format!("t{},{at}.5,{}\n", at / 2 % 2, at % 2)).collect();
    assert_eq!(notes(&text), ["column 1 becomes 2 features, one each text"]);
}

#[test]
fn a_header_that_counts_is_told() {
    let rows: String = (0..20).map(|at| format!("{at}.5,{},{}\n", at % 7, at % 2)).collect();
    assert_eq!(
        notes(&format!("0,1,2\n{rows}")),
        ["the first line counts the columns and is no example"]
    );
    assert_eq!(notes(&format!("0,1,label\n{rows}")), [""; 0]);
}

#[test]
fn the_separator_is_the_one_that_gives_numbers() {
    let load = |row: &dyn Fn(usize) -> String| {
        let text: String = (0..40).map(row).collect();
        load(&text, Choices::default()).map(|(_, raw)| (floats(&raw)[..3].to_vec(), raw.width()))
    };
    let label = |at: usize| ["yes", "no"][at % 2];
    // Decimal commas between blanks, and other signs in texts of columns.
    let found = load(&|at| format!("{},5 {},25 {}\n", at % 4, at % 3, label(at)));
    assert_eq!(found, Ok((vec![0.5, 0.25, 1.5], 2)));
    let found =
        load(&|at| format!("{},{},{}\n", at % 5, ["a|b|c", "d|e|f"][at / 2 % 2], label(at)));
    assert_eq!(found, Ok((vec![0.0, 1.0, 0.0], 3)));
    let found = load(&|at| format!("{},{},5,{}\n", ["a;b", "a;d"][at / 2 % 2], at % 5, label(at)));
    assert_eq!(found, Ok((vec![1.0, 0.0, 0.0], 4)));
    let found = load(&|at| format!("very red apple,green pear {},{}\n", at % 2, label(at)));
    assert_eq!(found.unwrap().1, 3);
}

#[test]
fn blanks_before_a_quote_are_of_no_field() {
    let row =
        |at: usize| format!("{at}.5, \"{} , x\",  \"y \"\"{}\"\n", ["a", "b"][at / 2 % 2], at % 2);
    let text = "\"p\", \"q\", \"label\"\n".to_owned() + &(0..20).map(row).collect::<String>();
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!((plan.label, raw.width()), (Some((2, Why::Name)), 3));
    assert!(labels(&raw).starts_with("y \"0 y \"1"), "{}", labels(&raw));
    // Several, and beside other separators.
    for (separator, blanks) in [(",", "  "), (";", " "), ("|", "\t")] {
        let row = |at: usize| format!("{at}.5{separator}{blanks}\"a, \"\"{}\"\"\"\n", at % 2);
        let (_, raw) = load(&(0..20).map(row).collect::<String>(), Choices::default()).unwrap();
        assert!(labels(&raw).starts_with("a, \"0\""), "{}", labels(&raw));
    }
    let row = |at: usize| format!("{at}.5\tHe said, \"{}\"\n", at % 2);
    let (_, raw) = load(&(0..20).map(row).collect::<String>(), Choices::default()).unwrap();
    assert!(labels(&raw).starts_with("He said, \"0\""), "{}", labels(&raw));
    // Blanks in other places stay.
    let text: String = (0..20).map(|at| format!("{at}.5, x \"y\" {} \n", at % 2)).collect();
    let (_, raw) = load(&text, Choices::default()).unwrap();
    assert!(labels(&raw).starts_with("x \"y\" 0"), "{}", labels(&raw));
}

#[test]
fn another_column_that_is_named_as_labels_are_is_told() {
    let row = |at: usize| format!("{at}.5,{},{}\n", at % 2, ["setosa", "virginica"][at % 2]);
    let rows: String = (0..20).map(row).collect();
    let found = notes(&format!("a,target,species\n{rows}"));
    assert!(found[1].starts_with("\"species\" may be a label, too"), "{found:?}");
    assert_eq!(notes(&format!("a,target,kind\n{rows}")).len(), 1);
}

#[test]
fn rows_are_numbered_in_each_file() {
    let part = |from: usize| {
        let row = |at: usize| format!("{at},{}.5,{}\n", at + from, at % 2);
        file(&format!(",a,label\n{}", (0..20).map(row).collect::<String>()))
    };
    let plan = Plan::infer(&[part(0), part(7)], &Choices::default()).unwrap();
    assert_eq!(plan.columns[0].role, Role::Ignored);
}

#[test]
fn names_that_the_training_examples_did_not_have_are_told() {
    let (plan, _) = load(&rows(), Choices::default()).unwrap();
    let choices = Choices { labels: false, ..Choices::default() };
    let plan = plan.of_earlier();
    let warnings = |text: &str| Table::read(&[file(text)], &plan, &choices).unwrap().warnings;
    assert!(warnings("id,x\n1,2\n")[0].contains("names its columns"));
    assert_eq!(warnings("1,2\n"), [""; 0]);
}

#[test]
fn columns_that_all_are_left_out_are_named() {
    let text: String = (0..40).map(|at| format!("t{at},{}\n", at % 2)).collect();
    let error = load(&text, Choices::default()).unwrap_err();
    assert!(
        error.ends_with("found none in 2 columns; column 1 has 40 different texts and is left out")
    );
    let error = load("#1,a\n#2,b\n", Choices::default()).unwrap_err();
    assert!(error.contains("found lines that begin with # and no others"), "{error}");
}

#[test]
fn later_files_have_the_decimal_commas_of_the_first() {
    let rows: String = (0..20).map(|at| format!("{at},5;{};{}\n", at * 100, at % 2)).collect();
    let text = format!("a;b;label\n{rows}");
    let (plan, _) = load(&text, Choices::default()).unwrap();
    let error = read(&plan, "a;b\n3;850.000\n", false).unwrap_err();
    assert!(error.contains("without points between thousands in column 2"), "{error}");
    assert_eq!(floats(&read(&plan, "a,b\n3,850.5\n", false).unwrap()), [3.0, 850.5]);
    let files = [file(&text), TextFile::new("2.csv".into(), "a;b;label\n1;2.345;0\n".into(), None)];
    let plan = Plan::infer(&files, &Choices::default()).unwrap();
    let error = Table::read(&files, &plan, &Choices::default()).unwrap_err().to_string();
    assert!(error.starts_with("2.csv, line 2: expected numbers without points"), "{error}");
}

#[test]
fn columns_without_a_name_are_told_by_their_order() {
    let rows: String = (0..20).map(|at| format!("{at}.5,{},{}\n", at * 3, at % 2)).collect();
    let (plan, _) = load(&format!(",,species\n{rows}"), Choices::default()).unwrap();
    assert_eq!(floats(&read(&plan, "5.1,3.5\n1,2\n", false).unwrap()).len(), 4);
    let (plan, _) = load(&format!("a,,label\n{rows}"), Choices::default()).unwrap();
    assert_eq!(floats(&read(&plan, "label,,a\n0,2,1\n", false).unwrap()), [1.0, 2.0]);
    let error = read(&plan, "label,a\n0,1\n", false).unwrap_err();
    assert!(error.contains("no such name in the header"), "{error}");
}

#[test]
fn an_example_may_be_as_a_header_of_numbers() {
    let rows: String = (0..20).map(|at| format!("{},{},{}\n", at % 3, at % 5, at % 4)).collect();
    let text = format!("0,1,2\n{rows}0,1,2\n");
    assert_eq!(load(&text, Choices::default()).unwrap().1.len(), 21);
}

#[test]
fn an_unknown_label_has_its_own_file() {
    let rows: String = (0..20).map(|at| format!("{at}.5,{}\n", at % 2)).collect();
    let files = [file(&rows), TextFile::new("2.csv".into(), "1.5,0\n2.5,7\n".into(), None)];
    let plan = Plan::infer(&files, &Choices::default()).unwrap();
    let raw = Table::read(&files, &plan, &Choices::default()).unwrap().raw;
    let Places::Lines(lines) = &raw.places else { panic!("{:?}", raw.places) };
    assert_eq!((lines.file(19), lines.file(21)), (Some("some.csv"), Some("2.csv")));
    assert_eq!((lines.get(19), lines.get(21)), (20, 2));
    // A text that is missing is not where a number is.
    let texts = |missing: &str| {
        (0..20).map(|at| format!("{},{}\n", ["x", missing][at / 19], at % 2)).collect::<String>()
    };
    let files = [file(&texts("None")), TextFile::new("2.csv".into(), texts(""), None)];
    let choices = Choices { ignore: Some(&[]), ..Choices::default() };
    let error = Plan::infer(&files, &choices).unwrap_err().to_string();
    assert!(error.starts_with("2.csv, line 20: expected a value"), "{error}");
}

#[test]
fn headers_of_numbers_are_not_taken_by_place() {
    let row = |at: usize| format!("{}.5,{}.25,{},{}\n", at % 3, at, at % 5, ["a", "b"][at % 2]);
    let rows: String = (0..20).map(row).collect();
    let (plan, _) = load(&format!("400,410,420,species\n{rows}"), Choices::default()).unwrap();
    let error = read(&plan, "420,410,400\n1,2,3\n", false).unwrap_err();
    assert!(error.contains("found 420, 410, 400"), "{error}");
    // The name of the label tells.
    let found = read(&plan, "420,410,400,species\n1,2,3,a\n", false).unwrap();
    assert_eq!(floats(&found), [3.0, 2.0, 1.0]);
    // Pandas' own names.
    let error = read(&plan, "0,1,2\n1,2,3\n", false).unwrap_err();
    assert!(error.contains("expected a column \"400\""), "{error}");
    let (plan, _) = load(&rows, Choices::default()).unwrap();
    assert_eq!(floats(&read(&plan, "0,1,2\n1,2,3\n", false).unwrap()), [1.0, 2.0, 3.0]);
    assert_eq!(floats(&read(&plan, "0,1,3\n1,2,3\n", false).unwrap()).len(), 6);
}

#[test]
fn columns_that_may_be_others_are_refused() {
    let rows: String =
        (0..20).map(|at| format!("{},{}.5,{},{}\n", at + 1, at % 3, at % 7, at % 2)).collect();
    let (plan, _) = load(&rows, Choices::default()).unwrap();
    assert_eq!(plan.columns[0].role, Role::Ignored);
    // With the label, or with the numbers of the examples?
    let error = read(&plan, "1.5,2,1\n2.5,3,0\n", false).unwrap_err();
    assert!(error.contains("a header tells which ones are there"), "{error}");
    assert_eq!(floats(&read(&plan, "1.5,2\n", false).unwrap()), [1.5, 2.0]);
    assert_eq!(floats(&read(&plan, "1,1.5,2,0\n", false).unwrap()), [1.5, 2.0]);
}

#[test]
fn rows_that_are_numbered_twice_or_with_gaps() {
    let part = |step: usize| {
        let row = |at: usize| format!("{},{}.5,{}\n", at * step, at + step, at % 2);
        file(&format!("id,a,label\n{}", (0..20).map(row).collect::<String>()))
    };
    let plan = Plan::infer(&[part(3), part(2)], &Choices::default()).unwrap();
    assert_eq!(plan.columns[0].role, Role::Ignored);
    let row = |at: usize| format!("{at},{},{}.5,{}\n", at + 1000, at % 3, at % 2);
    let text = format!(",id,a,label\n{}", (0..20).map(row).collect::<String>());
    let (plan, raw) = load(&text, Choices::default()).unwrap();
    assert_eq!((raw.width(), plan.notes.len()), (1, 2));
}

#[test]
fn names_in_one_of_several_comments() {
    let rows: String = (0..20).map(|at| format!("{},{at}.5,{}\n", at % 2, at % 4)).collect();
    let label = |text: String| load(&text, Choices::default()).unwrap().0.label;
    let found = label(format!("# label,x,z\n# units: -,m,s\n{rows}"));
    assert_eq!(found, Some((0, Why::Name)));
    let tabs: String =
        (0..20).map(|at| format!("{at}\t{}\t{at}.5\t{}\n", at % 2, at % 4)).collect();
    assert_eq!(label(format!("#\tlabel\tx\tz\n{tabs}")), Some((1, Why::Name)));
    let blanks = rows.replace(',', " ");
    assert_eq!(label(format!("# label x z\n{blanks}")), Some((0, Why::Name)));
    // Training examples without names.
    let (plan, _) = load(&rows, Choices::default()).unwrap();
    let choices = Choices { labels: false, ..Choices::default() };
    let found = Table::read(&[file("#label,a,b\n1,2,3\n")], &plan.of_earlier(), &choices);
    assert!(found.unwrap().warnings[0].contains("names its columns"));
}
